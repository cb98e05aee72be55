"""Nearest neighbours of every cell, and the weighted graph made of them. One search serves all metrics of an embedding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived

from .distances import ROUNDING, Points, exact_distances, over_blocks, points_of, row_blocks, squared_distances

N_NEIGHBORS = 90
"""Three times the perplexity of LISI, the widest neighbourhood that a metric asks for."""

GRAPH_NEIGHBORS = 15
"""Neighbours of the weighted graph, counting the cell itself as scanpy does."""


class Neighbors(NamedTuple):
    """Nearest other cells: the cell itself is left out, the nearest comes first, equal distances in the order of their index."""

    indices: NDArray[np.int32]
    """(n_cells, k)."""
    distances: NDArray[np.float32]
    """(n_cells, k) euclidean."""

    @property
    def k(self) -> int:
        return self.indices.shape[1]


@derived("neighbors")
def neighbors(embedding: NDArray[np.floating]) -> Neighbors:
    """The 90 nearest other cells of every cell, all others where there are no more than 90.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).

    Raises
    ------
    NotApplicable
        If there are fewer than 3 cells.
    """
    return nearest(embedding, N_NEIGHBORS)


def nearest(embedding: NDArray[np.floating], k: int) -> Neighbors:
    """The ``k`` nearest other cells of every cell of an embedding (n_cells, n_dims), fewer if there are not so many.

    Raises
    ------
    NotApplicable
        If there are fewer than 3 cells.
    """
    n_cells = len(embedding)
    if n_cells < 3:
        raise NotApplicable(f"neighbours need at least 3 cells; there are {n_cells}")
    k = min(k, n_cells - 1)
    points = points_of(embedding)
    found = Neighbors(np.empty((n_cells, k), np.int32), np.empty((n_cells, k), np.float32))

    def search(rows: slice) -> None:
        found.indices[rows], found.distances[rows] = _nearest_of_block(points, rows, k)

    over_blocks(search, row_blocks(n_cells, n_cells))
    return found


def _nearest_of_block(points: Points, rows: slice, k: int) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Exact neighbours of some rows: float32 products pick the candidates, float64 differences put them in order.

    Every cell that may be among the ``k`` nearest within the rounding error of the products is a candidate.
    """
    here = np.arange(rows.start, rows.stop)
    block = squared_distances(points, rows)
    block[here - rows.start, here] = np.inf
    reach = np.partition(block, k - 1, axis=1)[:, k - 1]
    reach += 2 * ROUNDING * (2 * points.squares[rows] + np.abs(reach))
    row, column = np.divmod(np.flatnonzero(block <= reach[:, None]), block.shape[1])
    n_candidates = np.bincount(row, minlength=len(here))
    filled = np.arange(n_candidates.max()) < n_candidates[:, None]
    candidates = np.zeros(filled.shape, np.intp)
    candidates[filled] = column
    distances = np.where(filled, exact_distances(points, here, candidates), np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)


@derived("connectivities")
def connectivities(neighbors: Neighbors) -> sparse.csr_matrix:
    """Weighted graph of the 15 nearest neighbours (counting the cell itself), as scanpy and UMAP make it.

    Every cell gives the weight exp(-(d - rho) / sigma) to its neighbours, with rho the smallest distance above 0 and sigma such
    that the weights add up to log2(15); the two directions a, b of an edge are joined as a + b - ab.

    Parameters
    ----------
    neighbors
        Neighbours with at least 14 columns, or all other cells.

    Returns
    -------
    csr_matrix
        (n_cells, n_cells) float32, symmetric, weights in (0, 1], no self loops.

    References
    ----------
    McInnes et al., UMAP, arXiv:1802.03426, section 3.1.
    """
    k = min(GRAPH_NEIGHBORS - 1, neighbors.k)
    n_cells = len(neighbors.indices)
    weights = _membership(neighbors.distances[:, :k].astype(np.float64), target=np.log2(k + 1))
    ends = np.arange(0, n_cells * k + 1, k)
    directed = sparse.csr_matrix((weights.astype(np.float32).ravel(), neighbors.indices[:, :k].ravel(), ends), shape=(n_cells, n_cells))
    transposed = directed.T.tocsr()
    graph = (directed + transposed - directed.multiply(transposed)).tocsr()
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _membership(distances: NDArray[np.float64], *, target: float) -> NDArray[np.float64]:
    """Weights (n_cells, k) of neighbours at these distances (the cell itself left out), each row adding up to ``target``.

    Where no sigma reaches the target (too many neighbours at rho or nearer), sigma stops at a thousandth of the mean distance.
    """
    above = np.where(distances > 0, distances, np.inf).min(axis=1)
    rho = np.where(np.isfinite(above), above, 0.0)
    beyond = np.maximum(distances - rho[:, None], 0.0)
    sigma = _sigma(beyond, target)
    own = distances.sum(axis=1) / (distances.shape[1] + 1)
    sigma = np.maximum(sigma, 1e-3 * np.where(rho > 0, own, own.mean()))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(beyond > 0, np.exp(-beyond / sigma[:, None]), 1.0)


def _sigma(beyond: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """Bisect for sum(exp(-beyond / sigma)) = target, row by row: 64 halvings, done within 1e-5."""
    low, sigma, high = np.zeros(len(beyond)), np.ones(len(beyond)), np.full(len(beyond), np.inf)
    open_rows = np.arange(len(beyond))
    for _ in range(64):
        excess = np.exp(-beyond[open_rows] / sigma[open_rows, None]).sum(axis=1) - target
        unsettled = np.abs(excess) >= 1e-5
        open_rows, excess = open_rows[unsettled], excess[unsettled]
        if not len(open_rows):
            break
        too_wide = excess > 0
        high[open_rows[too_wide]] = sigma[open_rows[too_wide]]
        low[open_rows[~too_wide]] = sigma[open_rows[~too_wide]]
        bounded = np.isfinite(high[open_rows])
        sigma[open_rows] = np.where(bounded, (low[open_rows] + high[open_rows]) / 2, 2 * sigma[open_rows])
    return sigma
