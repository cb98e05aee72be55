"""The Dataset: cells by genes with ids, roles, a declared scale and organism. Never changed, only derived from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from .errors import InputError, NotApplicable
from .keys import digest_of_array, digest_of_json, digest_of_strings
from .matrix import CsrMatrix, Matrix
from .ontology import LabelTerms


class Scale(StrEnum):
    """What the values of the matrix are."""

    COUNTS = "counts"
    """Non-negative integers: molecules or reads."""
    LOG = "log"
    """Non-negative reals after log1p of normalised counts."""
    SCALED = "scaled"
    """Reals of both signs: centred, standardised or regressed."""
    NORMALISED = "normalised"
    """Non-negative reals without log: TPM, CPM, expected counts."""


GENE_NAMES = ("symbol", "ensembl_id")
"""Columns of var that methods and tasks may look genes up by."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells by genes with named roles.

    Attributes
    ----------
    name
        Short name, used in tables and file names.
    matrix
        Shape (n_cells, n_genes).
    obs
        Shape (n_cells, n_columns), indexed by unique cell id (str).
    var
        Shape (n_genes, n_columns), indexed by unique gene id (str); may have ``symbol`` and ``ensembl_id`` ('' where unknown).
    roles
        Which obs column plays which part, e.g. ``{"label": "cell_type", "batch": "donor"}``.
    scale, organism
        What the values are; "human", "mouse" or another lower-case name, "unknown" where nobody said.
    obsm
        Ready-made arrays of the file, name -> (n_cells, n_dims); scored on request, outside the fingerprint.
    facts
        What a reader of the report must know: ``label_origin`` (genotype, sorted, clustered, transferred, expert, unknown),
        ``source``, ``citation``, ``planted`` (what was planted), ``catalog`` (name in the catalogue, for the leakage answer), ``without``
        and ``hold_out`` (cells that the user left or held out: columns and values as JSON).
    notes
        What was done on the way here (cells dropped, sampled, duplicates summed), one sentence each, for the report.
    terms
        Which term of the Cell Ontology each label is, where somebody said; methods never see it.
    """

    name: str
    matrix: Matrix
    obs: pd.DataFrame
    var: pd.DataFrame
    roles: Mapping[str, str] = field(default_factory=dict)
    scale: Scale = Scale.COUNTS
    organism: str = "unknown"
    obsm: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    terms: LabelTerms | None = None

    def __post_init__(self) -> None:
        expected = (len(self.obs), len(self.var))
        if tuple(self.matrix.shape) != expected:
            raise InputError(f"{self.name}: the matrix is {self.matrix.shape}, the tables have {expected[0]} cells and {expected[1]} genes")
        for what, index in (("cell", self.obs.index), ("gene", self.var.index)):
            if not index.is_unique:
                twice = index[index.duplicated()][0]
                raise InputError(f"{self.name}: {what} ids must be unique; '{twice}' occurs more than once")
        for role, column in self.roles.items():
            if column not in self.obs:
                raise InputError(missing_column(self.name, role, column, self.obs.columns))

    @property
    def n_cells(self) -> int:
        return len(self.obs)

    @property
    def n_genes(self) -> int:
        return len(self.var)

    @property
    def cell_ids(self) -> NDArray[np.str_]:
        return self.obs.index.to_numpy(str)

    @property
    def genes(self) -> NDArray[np.str_]:
        return self.var.index.to_numpy(str)

    @property
    def values(self) -> sparse.csr_matrix:
        """The matrix (n_cells, n_genes) as CSR float32 in memory. For data larger than memory use ``matrix.chunks()``."""
        return self.matrix.to_csr()

    def has(self, role: str) -> bool:
        return role in self.roles

    def role(self, name: str) -> NDArray[np.str_]:
        """Values of a role as strings, shape (n_cells,). Integer codes are categories, never numbers.

        Raises
        ------
        NotApplicable
            If the data set has no such role.
        """
        if name not in self.roles:
            has = f"(it has {sorted(self.roles)})"
            raise NotApplicable(f"'{self.name}' has no column in the role '{name}' {has}; name one with {flag_of(name)}")
        return self.obs[self.roles[name]].astype(str).to_numpy(str)

    def take(self, rows: NDArray[np.integer]) -> Dataset:
        """These cells, in this order."""
        return replace(
            self,
            matrix=self.matrix.take_rows(rows),
            obs=self.obs.iloc[rows],
            obsm={name: array[rows] for name, array in self.obsm.items()},
        )

    def take_genes(self, columns: NDArray[np.integer]) -> Dataset:
        return replace(self, matrix=self.matrix.take_columns(columns), var=self.var.iloc[columns])

    def with_roles(self, **roles: str | None) -> Dataset:
        """The same cells with these roles set; ``None`` takes a role away (its column stays)."""
        merged = {**self.roles, **roles}
        return replace(self, roles={role: column for role, column in merged.items() if column is not None})

    def hide(self, *roles: str) -> Dataset:
        """Without these roles and their columns, and without every obs column that no other role uses.

        Other columns may copy the hidden one (``cell_type`` and ``cell_type_ontology_term_id``), and clusterings or obsm
        arrays may be made from it, so only the columns of the roles that stay are kept. With the label go the terms of the labels.
        """
        left = {role: column for role, column in self.roles.items() if role not in roles}
        hidden = {self.roles[role] for role in roles if role in self.roles}
        kept = [c for c in self.obs.columns if c in left.values() and c not in hidden]
        terms = None if "label" in roles else self.terms
        return replace(self, obs=self.obs[kept], roles={r: c for r, c in left.items() if c in kept}, obsm={}, terms=terms)

    @cached_property
    def fingerprint(self) -> str:
        """Key of values, ids, genes, scale and organism. Obs columns and further gene names are keyed apart."""
        ids = [digest_of_strings(self.cell_ids), digest_of_strings(self.genes)]
        return digest_of_json([self.matrix.digest, *ids, str(self.scale), self.organism])

    @cached_property
    def gene_names_key(self) -> str:
        """Key of the columns of ``var`` that genes may be looked up by (`GENE_NAMES`); '' and absent are the same."""
        columns = {column: self.var[column].astype(str) for column in GENE_NAMES if column in self.var}
        return digest_of_json({column: digest_of_strings(names) for column, names in columns.items() if (names != "").any()})

    def column_key(self, roles: Iterable[str]) -> str:
        """Key of the values of these roles, those that are there; names of columns do not matter."""
        return digest_of_json({r: digest_of_strings(self.role(r)) for r in sorted(set(roles)) if r in self.roles})

    def obsm_key(self, name: str) -> str:
        """Key of one ready-made array. Raises InputError with near matches if there is none of that name."""
        if name not in self.obsm:
            near = difflib.get_close_matches(name, list(self.obsm)) or sorted(self.obsm)
            raise InputError(f"'{self.name}' has no array '{name}' in obsm; there is {near or 'none at all'}")
        return digest_of_array(self.obsm[name])


def flag_of(role: str) -> str:
    """The option of the command line that names the column of a role."""
    return f"--{role} COLUMN" if role in ("label", "batch", "donor") else f"--role {role}=COLUMN"


def missing_column(dataset: str, role: str, column: str, columns: Iterable[Any]) -> str:
    """The message for a column that is not there: near matches first, then what there is."""
    names = [str(c) for c in columns]
    lowered = {n.lower(): n for n in names}
    near = [lowered[n] for n in difflib.get_close_matches(column.lower(), list(lowered), cutoff=0.5)]
    shown = f"did you mean {near}?" if near else f"the columns are {names[:30]}"
    return f"'{dataset}' has no column '{column}' for the role '{role}'; {shown}"


def from_arrays(
    name: str, values: Any, obs: pd.DataFrame, genes: Iterable[str], *, roles: Mapping[str, str] | None = None, **more: Any
) -> Dataset:
    """A Dataset from a (n_cells, n_genes) array or sparse matrix; ``more`` are further fields of `Dataset`."""
    var = pd.DataFrame(index=pd.Index([str(g) for g in genes], name="gene"))
    obs = obs.set_axis(obs.index.astype(str), axis=0)
    return Dataset(name, CsrMatrix(values), obs, var, dict(roles or {}), **more)
