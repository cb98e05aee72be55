"""Where a data set of a study comes from, and what is done with it before anything is scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset, missing_column
from scrutiny.core.errors import InputError
from scrutiny.data.catalog import load as load_from_catalog
from scrutiny.data.label_terms import read_terms_table, with_terms
from scrutiny.data.ontology import read_ontology
from scrutiny.data.ontology_release import fetched_ontology
from scrutiny.data.propose import with_proposed_roles
from scrutiny.data.quality import keep_good
from scrutiny.data.read import read
from scrutiny.data.sample import N_CELLS, sample

from .plan import Scored

SPLIT = "held out"
"""Column that is made of what the user holds out."""


@dataclass(frozen=True)
class Source:
    """A file, or an entry of the catalogue, and how it is read.

    Attributes
    ----------
    path
        Any file that `scrutiny.data.read.read` knows; a folder of downloads for an entry of the catalogue.
    catalog
        Name in the catalogue; '' for a file.
    labels
        Columns to score against, one Run each. Cells that lack a value in any of them are left out.
    roles
        Further columns: ``{"batch": "donor", "pseudotime": "time"}``.
    propose
        Whether roles that nobody named may be taken from columns that look like it. The notes say so.
    cells
        A larger data set is sampled to so many; None: all cells.
    without
        Column -> values; the cells that have one of them are left out first.
    hold_out
        Column -> values; the cells that have one of them are what tasks that learn labels hold out (role ``split``), in place of a batch.
    facts
        What the user knows, e.g. ``{"label_origin": "sorted"}``.
    ontology
        The Cell Ontology: an OBO file, or a folder of tables (see `scrutiny.data.ontology.read_ontology`); None: the fetched official
        file, if there is one.
    terms
        Table of ``label`` and ``cl_id``, for labels that do not go by the name of their term.
    """

    path: Path | None = None
    catalog: str = ""
    labels: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    layer: str | None = None
    scale: str | None = None
    organism: str | None = None
    propose: bool = False
    cells: int | None = N_CELLS
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hold_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    ontology: Path | None = None
    terms: Path | None = None

    def load(self) -> Scored:
        """Read, check the columns, leave out bad cells, sample.

        Raises
        ------
        InputError
            If the file or a column is not what it should be.
        """
        data = _held_out(_left_out(self.whole(), self.without), self.hold_out)
        chosen = {name: json.dumps(values) for name, values in (("without", self.without), ("hold_out", self.hold_out)) if values}
        data = replace(data, facts={**data.facts, **chosen}) if chosen else data
        labels = self.labels or ((data.roles["label"],) if data.has("label") else ())
        for column in labels[1:]:
            data = keep_good(data.with_roles(label=column))
        data = keep_good(data.with_roles(label=labels[0]) if labels else data)
        data = sample(data, self.cells) if self.cells is not None else data
        return Scored(self._with_terms(data, labels) if labels else data, labels)

    def whole(self) -> Dataset:
        """All cells as they are in the file, with their roles: nothing is left out or sampled."""
        return self._with_roles(self._read())

    def _read(self) -> Dataset:
        if self.catalog:
            data = load_from_catalog(self.catalog, folder=self.path)
            return replace(data, name=self.name or data.name)
        if self.path is None:
            raise InputError("a data set needs a 'path' or a name in the 'catalog'")
        return read(self.path, name=self.name, layer=self.layer, scale=self.scale, organism=self.organism)

    def _with_terms(self, data: Dataset, labels: tuple[str, ...]) -> Dataset:
        """With the terms of the labels, if there is an ontology to take them from."""
        ontology = read_ontology(self.ontology) if self.ontology is not None else fetched_ontology()
        if ontology is None and self.terms is not None:
            raise InputError(f"the table {self.terms} names terms, but there is no ontology: `scrutiny ontology fetch`, or name a file")
        if ontology is None:
            return data
        return with_terms(data, labels, ontology, read_terms_table(self.terms, ontology) if self.terms is not None else None)

    def _with_roles(self, data: Dataset) -> Dataset:
        roles = {**self.roles, **({"label": self.labels[0]} if self.labels else {})}
        for role, column in [*roles.items(), *(("label", column) for column in self.labels)]:
            if column not in data.obs:
                raise InputError(missing_column(data.name, role, column, data.obs.columns))
        asked = {"layer": self.layer} if self.layer else {}
        named = replace(data.with_roles(**roles), facts={**data.facts, **asked, **self.facts})
        return with_proposed_roles(named) if self.propose else named


def _left_out(data: Dataset, without: Mapping[str, tuple[str, ...]]) -> Dataset:
    """Without the cells that have one of these values in a column. Raises InputError if there is no such column or value."""
    for column, values in without.items():
        gone = _with_value(data, "without", column, values)
        note = f"{gone.sum():,} of {data.n_cells:,} cells were left out: their '{column}' is {' or '.join(values)}."
        data = replace(data.take(np.flatnonzero(~gone)), notes=(*data.notes, note))
    return data


def _held_out(data: Dataset, hold_out: Mapping[str, tuple[str, ...]]) -> Dataset:
    """With the role ``split``, if values are named. Raises InputError without such a column or value, or if no cell is left."""
    if not hold_out:
        return data
    held = np.zeros(data.n_cells, dtype=bool)
    for column, values in hold_out.items():
        held |= _with_value(data, "hold_out", column, values)
    what = " or ".join(f"{column} = {value}" for column, values in hold_out.items() for value in values)
    if held.all():
        raise InputError(f"all cells of '{data.name}' are held out ({what}); leave some to learn from")
    note = f"Held out where labels are learnt: {held.sum():,} of {data.n_cells:,} cells ({what})."
    obs = data.obs.assign(**{SPLIT: np.where(held, "query", "train")})
    return replace(data, obs=obs, notes=(*data.notes, note)).with_roles(split=SPLIT)


def _with_value(data: Dataset, asked: str, column: str, values: tuple[str, ...]) -> NDArray[np.bool_]:
    """Cells (n_cells,) that have one of these values in a column. Raises InputError if there is no such column or value."""
    if column not in data.obs:
        raise InputError(missing_column(data.name, asked, column, data.obs.columns))
    found = data.obs[column].astype(str).to_numpy(str)
    if odd := sorted({*values} - {*found.tolist()}):
        what = {"without": "left out", "hold_out": "held out"}[asked]
        raise InputError(f"cells whose '{column}' is '{odd[0]}' are to be {what}, but '{data.name}' has {sorted({*found.tolist()})[:20]}")
    return np.isin(found, values)
