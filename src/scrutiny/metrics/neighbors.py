"""Nearest neighbours of every cell, and the weighted graph made of them. One search serves all metrics of an embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import derived

from .search import Neighbors, search

N_NEIGHBORS = 90
"""Three times the perplexity of LISI, the widest neighbourhood that a metric asks for."""

GRAPH_NEIGHBORS = 15
"""Neighbours of the weighted graph, counting the cell itself as scanpy does."""


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
        If there are fewer than 3 cells, or all are the same: none is then nearer than another.
    """
    if (embedding == embedding[:1]).all():
        raise NotApplicable(f"all {len(embedding)} cells have the same embedding, so none is nearer than another")
    return nearest(embedding, N_NEIGHBORS)


def nearest(embedding: NDArray[np.floating], k: int) -> Neighbors:
    """The ``k`` nearest other cells of every cell of an embedding (n_cells, n_dims), fewer if there are not so many.

    Cells at equal distances come in a random order (seed 0): files are often sorted by type, and the order of the file would hand a
    collapsed embedding the neighbours that it lacks.

    Raises
    ------
    NotApplicable
        If there are fewer than 3 cells.
    """
    n_cells = len(embedding)
    if n_cells < 3:
        raise NotApplicable(f"neighbours need at least 3 cells; there are {n_cells}")
    order = np.random.default_rng(0).permutation(n_cells)
    found = search(embedding[order], min(k, n_cells - 1))
    back = np.argsort(order)
    return found._replace(indices=order[found.indices[back]].astype(np.int32), distances=found.distances[back])


def ready_made(indices: NDArray[np.integer], distances: NDArray[np.floating]) -> Neighbors:
    """Neighbours that somebody else has searched, e.g. scanpy's, to be given in place of `neighbors`.

    Parameters
    ----------
    indices
        (n_cells, k) row numbers, in any order; the cell itself may be among them and is left out.
    distances
        (n_cells, k) euclidean.

    Raises
    ------
    InputError
        If the two do not fit together, a row number is out of range or twice in a row, a distance is negative or not a number, or
        only some of the rows hold the cell itself.
    """
    indices, distances = np.asarray(indices), np.asarray(distances, np.float32)
    n_cells = len(indices)
    if indices.ndim != 2 or indices.shape != distances.shape:
        raise InputError(f"neighbours must be two arrays (n_cells, k) of one shape; found {indices.shape} and {distances.shape}")
    if not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0 or indices.max() >= n_cells:
        raise InputError(f"indices of neighbours must be row numbers from 0 to {n_cells - 1}; found {indices.min()} to {indices.max()}")
    if not (np.isfinite(distances) & (distances >= 0)).all():
        raise InputError("distances of neighbours must be finite and not negative")
    if (np.diff(np.sort(indices, axis=1), axis=1) == 0).any():
        raise InputError("a cell is twice among the neighbours of another one")
    itself = indices == np.arange(n_cells)[:, None]
    if itself.any() and not itself.any(axis=1).all():
        raise InputError(f"{int(itself.any(axis=1).sum())} of {n_cells} rows hold the cell itself; either all or none must")
    others = (n_cells, indices.shape[1] - int(itself.any()))
    indices, distances = indices[~itself].reshape(others), distances[~itself].reshape(others)
    order = np.lexsort((indices, distances), axis=1)
    return Neighbors(np.take_along_axis(indices, order, axis=1).astype(np.int32), np.take_along_axis(distances, order, axis=1), recall=None)


@derived("connectivities")
def connectivities(neighbors: Neighbors) -> sparse.csr_matrix:
    """Weighted graph of the 15 nearest neighbours (counting the cell itself), as scanpy and UMAP make it.

    Every cell gives the weight exp(-(d - rho) / sigma) to its neighbours, with rho the smallest distance above 0 and sigma such
    that the weights add up to log2(15); the two directions a, b of an edge are joined as a + b - ab.

    Parameters
    ----------
    neighbors
        Nearest others of every cell; 14 of them are used.

    Returns
    -------
    csr_matrix
        (n_cells, n_cells) float32, symmetric, weights in (0, 1], no self loops.

    References
    ----------
    McInnes et al., UMAP, arXiv:1802.03426, section 3.1.
    """
    nearest = neighbors.first(GRAPH_NEIGHBORS - 1)
    n_cells, k = nearest.indices.shape
    weights = _membership(nearest.distances.astype(np.float64), target=np.log2(k + 1)).astype(np.float32)
    ends = np.arange(0, n_cells * k + 1, k)
    directed = sparse.csr_matrix((weights.ravel(), nearest.indices.ravel(), ends), shape=(n_cells, n_cells))
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
