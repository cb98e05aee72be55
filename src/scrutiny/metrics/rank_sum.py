"""Rank sums of sparse values: which genes are higher in a group of cells than in all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def rank_sum_scores(values: sparse.spmatrix, groups: NDArray[np.integer]) -> NDArray[np.float64]:
    """Normal approximation z of the Wilcoxon rank-sum test, each group against all other cells, corrected for ties.

    Parameters
    ----------
    values
        (n_cells, n_genes) sparse, not negative; zeros tie below everything and are never laid out.
    groups
        (n_cells,) group of each cell, from 0 without gaps.

    Returns
    -------
    ndarray
        (n_genes, n_groups) above 0 where the group is higher; 0 for a gene with one value only, and where all cells are of one group.

    References
    ----------
    Mann and Whitney, Ann. Math. Stat. 18 (1947); without continuity correction, as scanpy does.
    """
    from scipy.stats import rankdata

    columns = sparse.csc_matrix(values)
    n_cells, n_genes = columns.shape
    sizes = np.bincount(groups).astype(np.float64)
    sums, ties = np.empty((n_genes, len(sizes))), np.empty(n_genes)
    for gene in range(n_genes):
        entries = slice(columns.indptr[gene], columns.indptr[gene + 1])
        shown, cells = columns.data[entries], columns.indices[entries]
        above = shown > 0
        shown, cells = shown[above], cells[above]
        n_zeros = n_cells - len(shown)
        excess = rankdata(shown) + n_zeros - (n_zeros + 1) / 2  # over the rank that zeros share
        sums[gene] = np.bincount(groups[cells], excess, minlength=len(sizes)) + sizes * (n_zeros + 1) / 2
        repeats = np.unique(shown, return_counts=True)[1].astype(np.float64)
        ties[gene] = (repeats**3 - repeats).sum() + float(n_zeros) ** 3 - n_zeros
    spread = np.outer(1 - ties / (float(n_cells) ** 3 - n_cells), sizes * (n_cells - sizes) * (n_cells + 1) / 12)
    difference = sums - sizes * (n_cells + 1) / 2
    return np.divide(difference, np.sqrt(spread), out=np.zeros_like(sums), where=spread > 1e-9)
