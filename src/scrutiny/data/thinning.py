"""Fewer molecules of the same cells: what would have been counted had they been sequenced less deeply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError

from .draws import cell_generator


def thin(counts: sparse.csr_matrix, share: float, *, seed: int, cell_ids: NDArray[np.str_]) -> sparse.csr_matrix:
    """Keep each molecule with the probability ``share``: binomial counts, drawn by (seed, cell id).

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR of whole numbers; not changed.
    cell_ids
        (n_cells,).

    Returns
    -------
    sparse.csr_matrix
        (n_cells, n_genes) float32, nowhere above ``counts``.

    Raises
    ------
    InputError
        If the share is not above 0 and at most 1, or counts are not whole numbers.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of molecules to keep is {share}; expected above 0 and at most 1")
    whole = molecules(counts)
    kept = np.empty(counts.nnz, np.float32)
    for cell, start, stop in zip(cell_ids, counts.indptr, counts.indptr[1:], strict=False):
        kept[start:stop] = cell_generator(seed, cell).binomial(whole[start:stop], share)
    thinned = sparse.csr_matrix((kept, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    thinned.eliminate_zeros()
    return thinned


def molecules(counts: sparse.csr_matrix) -> NDArray[np.int64]:
    """The stored counts (n_stored,). Raises InputError if they are not whole numbers."""
    whole = counts.data.astype(np.int64)
    if (whole != counts.data).any():
        raise InputError("only whole counts can be thinned; these hold fractions")
    return whole
