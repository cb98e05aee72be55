"""What models share that have a vector and a prediction for every gene of every cell, whether it is expressed or not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

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
    rows, columns = np.indices(predicted.shape).reshape(2, -1)
    entries = {"predicted": predicted.ravel(), "true": true.ravel(), "hidden": hidden.ravel(), "quantity": quantity}
    return Reconstruction(query.cell_ids, matched.gene_ids, rows.astype(np.int64), columns.astype(np.int64), **entries)
