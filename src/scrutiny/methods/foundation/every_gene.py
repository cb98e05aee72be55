"""What models share that have a vector and a prediction for every gene of every cell, whether it is expressed or not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset
from scrutiny.core.outputs import Reconstruction
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
    left = sparse.csr_matrix((np.where(gone, 0, known.data), known.indices, known.indptr), known.shape)
    left.eliminate_zeros()
    return left


def reconstruction_of_every_gene(
    query: Dataset,
    matched: Matched,
    *,
    predicted: NDArray[np.float32],
    true: NDArray[np.float32],
    hidden: NDArray[np.bool_],
    quantity: str,
) -> Reconstruction:
    """One entry for every cell and every gene that the model knows, from arrays (n_cells, n_matched)."""
    rows, columns = np.indices(predicted.shape).reshape(2, -1).astype(np.int64, copy=False)
    entries = (predicted.ravel(), true.ravel(), hidden.ravel())
    return Reconstruction(query.cell_ids, matched.gene_ids, rows, columns, *entries, quantity)
