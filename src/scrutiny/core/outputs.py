"""What the verbs of methods return: arrays with ids, checked and reordered before anybody uses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .alignment import found, found_all
from .errors import ContractError, Misaligned
from .labels import LabelPrediction

BLOCK = 4096
"""Cells handed to a writer at a time."""


@dataclass(frozen=True, eq=False)
class CellEmbedding:
    """One vector per cell: values (n_cells, n_dims) float32, cell_ids (n_cells,) str."""

    values: NDArray[np.float32]
    cell_ids: NDArray[np.str_]

    @property
    def n_dims(self) -> int:
        return int(self.values.shape[1])

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The values in order, `BLOCK` cells at a time: for writers that need not hold all of them."""
        return (self.values[start : start + BLOCK] for start in range(0, len(self.values), BLOCK))

    def aligned_to(self, cell_ids: NDArray[np.str_]) -> CellEmbedding:
        """The same vectors in the asked order, as C-contiguous float32.

        Raises
        ------
        Misaligned
            If the ids are not exactly the asked ones, each once.
        ContractError
            If the values are not a finite two-dimensional array with at least one column.
        """
        values = np.asarray(self.values)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ContractError(f"an embedding must be (n_cells, n_dims) with n_dims >= 1; found shape {values.shape}")
        if len(values) != len(self.cell_ids):
            raise Misaligned(f"{len(values)} rows but {len(self.cell_ids)} cell ids")
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=1).sum())
            raise ContractError(f"{bad} of {len(values)} cells have values that are not finite as float32")
        where = found_all(self.cell_ids, cell_ids)
        return CellEmbedding(np.ascontiguousarray(values[where]), np.asarray(cell_ids))

    def of_cells(self, cell_ids: NDArray[np.str_]) -> CellEmbedding:
        """The vectors of some of the cells, in the asked order. Raises Misaligned if one is not there."""
        if np.array_equal(self.cell_ids, cell_ids):
            return self
        return CellEmbedding(self.values[found(self.cell_ids, cell_ids)], np.asarray(cell_ids))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a cache keeps."""
        return {"values": self.values, "cell_ids": np.asarray(self.cell_ids, str)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CellEmbedding:
        return cls(arrays["values"], arrays["cell_ids"])


@dataclass(frozen=True, eq=False)
class GeneEmbedding:
    """One vector per gene: values (n_genes, n_dims) float32, gene_ids (n_genes,) str as the data call them.

    Genes that the model does not know are left out.
    """

    values: NDArray[np.float32]
    gene_ids: NDArray[np.str_]


QUANTITIES = ("bin", "log count", "log-odds of being expressed", "rank")
"""What a `Reconstruction` may be of."""
ROUNDING = 1e-3
"""Relative error of a sum of weights in float32."""
FROM_CELL = "from the cell embedding"
"""Name of a further prediction that is made from the vector of the cell alone."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a model predicts for genes of cells, on its own scale, beside what is true; one entry per cell and gene.

    Attributes
    ----------
    cell_ids, gene_ids
        (n_cells,) and (n_genes,) str.
    rows, columns
        (n_entries,) integers, index into ``cell_ids`` and ``gene_ids``.
    predicted, true
        (n_entries,) float32, in units of ``quantity``.
    hidden
        (n_entries,) bool: the value was not shown to the model. Those of a cell are drawn at random among its entries.
    quantity
        One of `QUANTITIES`. "bin": of expression, as the model bins it. "log count": a logarithm of 1 + the count after division by depth
        or median, the model's own. "log-odds of being expressed": ``true`` is 0 or 1. "rank": place of the gene among the ranked genes
        of its cell that the model is given, (place - 1/2) / number of genes, 0 to 1 from the first to the last.
    also
        Name to other predictions (n_entries,) float32 of the same entries, such as `FROM_CELL`.
    weight
        (n_entries,) float32, where entries stand for all genes of a cell: 1, and more for zeros, of which a sample is listed. The weights
        of a cell add up to the number of genes. None: an entry stands for itself, and nothing is said of other genes.
    """

    cell_ids: NDArray[np.str_]
    gene_ids: NDArray[np.str_]
    rows: NDArray[np.integer]
    columns: NDArray[np.integer]
    predicted: NDArray[np.float32]
    true: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    quantity: str
    also: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    weight: NDArray[np.float32] | None = None

    @property
    def n_cells(self) -> int:
        return len(self.cell_ids)

    def aligned_to(self, cell_ids: NDArray[np.str_]) -> Reconstruction:
        """The same entries for the cells in the asked order, sorted by cell and gene.

        Raises
        ------
        Misaligned
            If the ids are not exactly the asked ones, each once.
        ContractError
            If entries are not of these cells and genes, occur twice or are not finite, or nobody knows the quantity.
        """
        self._check()
        return self._of(found_all(self.cell_ids, cell_ids), cell_ids)

    def of_cells(self, cell_ids: NDArray[np.str_]) -> Reconstruction:
        """The entries of some of the cells, in the asked order. Raises Misaligned if one is not there."""
        return self if np.array_equal(self.cell_ids, cell_ids) else self._of(found(self.cell_ids, cell_ids), cell_ids)

    def part(self, rows: NDArray[np.integer]) -> Reconstruction:
        """The entries of the cells at these rows."""
        return self._of(np.asarray(rows), self.cell_ids[rows])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a cache keeps; the entries must be sorted by cell, as `aligned_to` returns them."""
        lengths = np.bincount(self.rows, minlength=self.n_cells)
        entries = {"predicted": self.predicted, "true": self.true, "hidden": self.hidden, "columns": self.columns}
        arrays = {"cell_ids": self.cell_ids, "gene_ids": self.gene_ids, "lengths": lengths, "quantity": np.array(self.quantity), **entries}
        also = {f"also {name}": values for name, values in self.also.items()}
        return {**arrays, **also, **({"weight": self.weight} if self.weight is not None else {})}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Reconstruction:
        rows = np.repeat(np.arange(len(arrays["lengths"]), dtype=np.int32), arrays["lengths"])
        plain = {name: arrays[name] for name in ("cell_ids", "gene_ids", "columns", "predicted", "true", "hidden")}
        also = {name.removeprefix("also "): values for name, values in arrays.items() if name.startswith("also ")}
        return cls(rows=rows, quantity=str(arrays["quantity"]), also=also, weight=arrays.get("weight"), **plain)

    @property
    def _numbers(self) -> dict[str, NDArray[np.float32]]:
        """All arrays of numbers (n_entries,) by name."""
        weight = {} if self.weight is None else {"weight": self.weight}
        return {"predicted": self.predicted, "true": self.true, **{f"also '{name}'": x for name, x in self.also.items()}, **weight}

    def _check(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ContractError(f"a reconstruction of the quantity '{self.quantity}' was returned; expected one of {QUANTITIES}")
        lengths = {name: np.shape(x) for name, x in {"columns": self.columns, "hidden": self.hidden, **self._numbers}.items()}
        if odd := {name: shape for name, shape in lengths.items() if shape != (len(self.rows),)}:
            raise ContractError(f"there are {len(self.rows)} rows of entries, but the shapes are {odd}; expected one number an entry")
        for what, index, ids in (("rows", self.rows, self.cell_ids), ("columns", self.columns, self.gene_ids)):
            if len(index) and not 0 <= index.min() <= index.max() < len(ids):
                raise ContractError(f"{what} run from {index.min()} to {index.max()}; expected numbers below {len(ids)}, that of the ids")
        if not pd.Index(self.gene_ids).is_unique:
            raise ContractError("a gene id occurs more than once in the reconstruction")
        for name, values in self._numbers.items():
            if n_bad := int((~np.isfinite(values)).sum()):
                raise ContractError(f"{n_bad} of {len(values)} entries of {name} are not finite")
        if self.weight is not None and len(self.weight):
            self._check_weights(self.weight)

    def _check_weights(self, weight: NDArray[np.float32]) -> None:
        if weight.min() <= 0:
            raise ContractError(f"an entry has the weight {weight.min():g}; expected numbers above 0")
        of_cell = np.bincount(self.rows, weight, self.n_cells)
        odd = np.flatnonzero((of_cell > 0) & (np.abs(of_cell / len(self.gene_ids) - 1) > ROUNDING))
        if len(odd):
            found = f"the entries of cell '{self.cell_ids[odd[0]]}' stand for {of_cell[odd[0]]:g} genes"
            raise ContractError(f"{found}; expected all {len(self.gene_ids)}, or no weights")
        strange = np.flatnonzero((weight != 1) & (self.true != 0))
        if len(strange):
            raise ContractError(f"an entry with a weight other than 1 has the true value {self.true[strange[0]]:g}; it may stand for zeros")

    def _of(self, where: NDArray[np.integer], cell_ids: NDArray[np.str_]) -> Reconstruction:
        """The entries of the cells at ``where``, sorted. Raises ContractError if one occurs twice."""
        place = np.full(self.n_cells, -1, dtype=np.int32)
        place[where] = np.arange(len(where))
        rows = place[self.rows]
        at = rows.astype(np.int64) * len(self.gene_ids) + self.columns
        kept: Any = slice(None) if (rows >= 0).all() else np.flatnonzero(rows >= 0)
        if (np.diff(at[kept]) <= 0).any():
            kept = np.flatnonzero(rows >= 0)
            kept = kept[np.argsort(at[kept], kind="stable")]
        twice = np.flatnonzero(np.diff(at[kept]) == 0)
        if len(twice):
            row, column = divmod(int(at[kept][twice[0]]), len(self.gene_ids))
            raise ContractError(f"gene '{self.gene_ids[column]}' of cell '{cell_ids[row]}' occurs more than once in the reconstruction")
        cut = {"predicted": self.predicted, "true": self.true}
        return Reconstruction(
            np.asarray(cell_ids),
            np.asarray(self.gene_ids),
            rows[kept],
            np.asarray(self.columns, np.int32)[kept],
            **{name: np.asarray(values, np.float32)[kept] for name, values in cut.items()},
            hidden=np.asarray(self.hidden, bool)[kept],
            quantity=self.quantity,
            also={name: np.asarray(values, np.float32)[kept] for name, values in self.also.items()},
            weight=None if self.weight is None else np.asarray(self.weight, np.float32)[kept],
        )


Output = CellEmbedding | Reconstruction | LabelPrediction
OUTPUTS: Mapping[str, type[Output]] = {
    "embed": CellEmbedding,
    "reconstruct": Reconstruction,
    "deepen": Reconstruction,
    "predict_labels": LabelPrediction,
}
"""Verb to what it returns."""
MARKS: Mapping[str, type[Output]] = {"predicted": Reconstruction, "probabilities": LabelPrediction, "values": CellEmbedding}
"""Array that an output of the kind has, and no other kind."""


def output_from(arrays: Mapping[str, NDArray[Any]]) -> Output:
    """The output that these arrays were made from by `to_arrays`."""
    return next(kind for mark, kind in MARKS.items() if mark in arrays).from_arrays(arrays)
