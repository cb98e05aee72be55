"""Raw counts back from log-normalised values, only where it can be proven that they are the counts."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scrutiny.core.errors import InputError

LARGEST_RESIDUAL = 0.12
"""Largest allowed distance of a recovered count from a whole number. Values that are no counts come within it 24 % of the time."""
LARGEST_LOG_ERROR = 1e-3
"""Largest allowed difference of the log values computed again; files often keep three decimals."""
FEWEST_ENTRIES = 1000
"""With fewer entries above the smallest of their cell, chance could pass the test."""


def recover_counts(logged: sparse.csr_matrix) -> sparse.csr_matrix:
    """Counts from values ``log(1 + count * factor_of_the_cell)``.

    In each cell the smallest entry must have been a count of 1, so dividing ``expm1`` of all entries by it gives the counts. That is
    accepted only if every entry comes out within 0.12 of a whole number and if the logarithms computed again from the whole numbers
    are the given ones to within 0.001. Counts of a cell that share a common factor come out divided by it; this cannot be seen.

    Parameters
    ----------
    logged
        (n_cells, n_genes) CSR, natural logarithm, every gene of a cell scaled by the same factor; not changed.

    Returns
    -------
    sparse.csr_matrix
        (n_cells, n_genes) float32 whole numbers at the same places.

    Raises
    ------
    InputError
        If the values are not proven to be logarithms of scaled counts.
    """
    logged = sparse.csr_matrix(logged, copy=True)
    logged.eliminate_zeros()
    if not np.isfinite(logged.data).all() or (logged.data < 0).any():
        raise InputError("counts can only be recovered from log1p of normalised counts; found values that are negative or not finite")
    sizes = np.diff(logged.indptr)
    filled = np.flatnonzero(sizes)
    unlogged = np.expm1(logged.data.astype(np.float64))
    first = logged.indptr[:-1][filled]
    if not len(filled):
        raise InputError("counts cannot be recovered: all values are zero")
    ratios = unlogged / np.repeat(np.minimum.reduceat(unlogged, first), sizes[filled])
    counts = np.rint(ratios)
    factors = np.add.reduceat(unlogged, first) / np.add.reduceat(counts, first)
    errors = np.abs(np.log1p(counts * np.repeat(factors, sizes[filled])) - logged.data)
    residual, error, n_telling = float(np.abs(ratios - counts).max()), float(errors.max()), int((counts > 1).sum())
    if residual >= LARGEST_RESIDUAL or error >= LARGEST_LOG_ERROR or n_telling < FEWEST_ENTRIES:
        raise InputError(
            f"these values are not proven to be logarithms of scaled counts: the largest distance from a whole number is {residual:.3g} "
            f"(allowed: under {LARGEST_RESIDUAL}), the logarithms computed again differ by up to {error:.2g} (allowed: under "
            f"{LARGEST_LOG_ERROR}), {n_telling} entries are above the smallest of their cell (needed: {FEWEST_ENTRIES}); "
            "use the file that has the raw counts"
        )
    return sparse.csr_matrix((counts.astype(np.float32), logged.indices, logged.indptr), shape=logged.shape)
