"""What models share that have a vector and a prediction for every gene of every cell, whether it is expressed or not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset
from scrutiny.methods.entries import Entries, Zeros, entries_of
from scrutiny.nets.inference import Part

from .genes import Matched


def mean_over_cells(parts: Iterable[Part]) -> NDArray[np.float32]:
    """Mean of values (n_cells, n_genes, n_dims) that come cell by cell: (n_genes, n_dims), in the memory of one part and the sum."""
    total, n_cells = np.float64(0), 0
    for rows, values in parts:
        total, n_cells = total + values.sum(axis=0, dtype=np.float64), n_cells + len(rows)
    return np.asarray(total / n_cells, dtype=np.float32)


def without(known: sparse.csr_matrix, gone: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Counts (n_cells, n_genes) without those of the stored ones, (n_stored,), that are gone."""
    left = known.copy()  # its indices too: they are moved in place
    left.data[gone] = 0
    left.eliminate_zeros()
    return left


def known_entries(query: Dataset, matched: Matched, *, hide: float, seed: int, zeros: Zeros) -> Entries:
    """The entries of the genes that a model knows: those that a cell expresses, and others; see `entries_of`."""
    return entries_of((counts.known for counts in matched.counts(query)), query.cell_ids, hide=hide, seed=seed, zeros=zeros)
