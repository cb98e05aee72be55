"""What the verbs of methods return: arrays with ids, checked and reordered before anybody uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import ContractError, Misaligned

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
        index = pd.Index(self.cell_ids).astype(str)
        if not index.is_unique:
            raise Misaligned(f"cell id '{index[index.duplicated()][0]}' occurs more than once in the embedding")
        where = index.get_indexer(pd.Index(cell_ids).astype(str))
        if (where < 0).any() or len(index) != len(cell_ids):
            lacking = [str(c) for c in np.asarray(cell_ids)[where < 0][:3]]
            missing = f"{int((where < 0).sum())} of the asked cells are missing {lacking}"
            raise Misaligned(f"the embedding has {len(index)} cells, {len(cell_ids)} were asked for; {missing}")
        return CellEmbedding(np.ascontiguousarray(values[where]), np.asarray(cell_ids))

    def of_cells(self, cell_ids: NDArray[np.str_]) -> CellEmbedding:
        """The vectors of some of the cells, in the asked order. Raises Misaligned if one is not there."""
        if np.array_equal(self.cell_ids, cell_ids):
            return self
        where = pd.Index(self.cell_ids).get_indexer(pd.Index(cell_ids))
        if (where < 0).any():
            raise Misaligned(f"the embedding lacks {int((where < 0).sum())} of the asked cells, e.g. '{cell_ids[where < 0][0]}'")
        return CellEmbedding(self.values[where], np.asarray(cell_ids))


@dataclass(frozen=True, eq=False)
class GeneEmbedding:
    """One vector per gene: values (n_genes, n_dims) float32, gene_ids (n_genes,) str as the data call them.

    Genes that the model does not know are left out.
    """

    values: NDArray[np.float32]
    gene_ids: NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a model predicts for genes of cells, on its own scale, beside what is true; one entry per cell and gene.

    Attributes
    ----------
    cell_ids, gene_ids
        (n_cells,) and (n_genes,) str.
    rows, columns
        (n_entries,) int64, index into ``cell_ids`` and ``gene_ids``.
    predicted, true
        (n_entries,) float32, in units of ``quantity``.
    hidden
        (n_entries,) bool: the value was not shown to the model.
    quantity
        "bin", "log count", "log-odds of being expressed" (``true`` is 0 or 1), "rank" (predicted: expected place of the gene), or
        "log-probability of the gene at its place" in the ranking (natural logarithm; ``true`` is 0, the log-probability of what is there).
    """

    cell_ids: NDArray[np.str_]
    gene_ids: NDArray[np.str_]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    predicted: NDArray[np.float32]
    true: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    quantity: str
