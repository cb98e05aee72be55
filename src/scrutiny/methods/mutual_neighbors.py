"""Batch correction by mutual nearest neighbours, in a space of few dimensions.

Cells of two batches that are among each other's nearest neighbours are taken for cells of one state, so the vectors between them
show the batch effect there. Written from the description of fastMNN: Haghverdi et al. 2018, Nature Biotechnology 36:421, and the
book *Orchestrating Single-Cell Analysis*, chapter on integration.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

K = 20
"""Neighbours in each direction, and pairs that a cell's correction is smoothed over."""
REACH = 3.0
"""The kernel ends at so many times the median distance to the ``K`` nearest pairs."""


class Pairs(NamedTuple):
    """Mutual nearest neighbours: cell ``left[i]`` of one set belongs with cell ``right[i]`` of the other."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]


def correct(values: NDArray[np.floating], batches: NDArray[np.str_], *, k: int = K) -> NDArray[np.float64]:
    """Bring every batch to the largest one, one after another by falling size (equal sizes by name).

    Parameters
    ----------
    values
        (n_cells, n_dims) coordinates, e.g. principal components; not changed.
    batches
        (n_cells,) batch of each cell.

    Returns
    -------
    ndarray
        (n_cells, n_dims) float64, rows as given. The largest batch loses only its spread along the batch vectors.
    """
    corrected = values.astype(np.float64)
    names, sizes = np.unique(batches, return_counts=True)
    first, *others = names[np.argsort(-sizes, kind="stable")]
    merged = np.flatnonzero(batches == first)
    for name in others:
        rows = np.flatnonzero(batches == name)
        corrected[merged], corrected[rows] = _joined(corrected[merged], corrected[rows], k)
        merged = np.concatenate([merged, rows])
    return corrected


def mutual_pairs(left: NDArray[np.floating], right: NDArray[np.floating], *, k: int = K) -> Pairs:
    """All pairs of a cell of ``left`` (n_left, n_dims) and one of ``right`` that are among each other's ``k`` nearest."""
    of_left = _nearest(right, left, k).indices
    of_right = _nearest(left, right, k).indices
    forth = np.repeat(np.arange(len(left)), of_left.shape[1]) * len(right) + of_left.ravel()
    back = of_right.ravel() * len(right) + np.repeat(np.arange(len(right)), of_right.shape[1])
    return Pairs(*np.divmod(np.intersect1d(forth, back), len(right)))


def _joined(reference: NDArray[np.float64], target: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = mutual_pairs(reference, target, k=k)
    across = (reference[pairs.left] - target[pairs.right]).mean(axis=0)
    length = np.linalg.norm(across)
    if length > 0:
        reference, target = (_flattened(part, across / length) for part in (reference, target))
    return reference, target + _smoothed(target, pairs, reference[pairs.left] - target[pairs.right], k)


def _flattened(values: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the spread along the batch vector: what varies there within a batch would turn into a false correction."""
    along = values @ direction
    return values + np.outer(along.mean() - along, direction)


def _smoothed(target: NDArray[np.float64], pairs: Pairs, vectors: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Correction (n_target, n_dims) of every cell: mean of the nearest paired cells' vectors under a tricube kernel."""
    anchors, of_anchor, n_pairs = np.unique(pairs.right, return_inverse=True, return_counts=True)
    mean_vectors = np.zeros((len(anchors), target.shape[1]))
    np.add.at(mean_vectors, of_anchor, vectors)
    mean_vectors /= n_pairs[:, None]
    distances, indices = _nearest(target[anchors], target, k)
    bandwidth = REACH * np.median(distances, axis=1, keepdims=True)
    share = np.divide(distances, bandwidth, out=np.zeros_like(distances), where=bandwidth > 0)
    weights = (1 - np.minimum(share, 1) ** 3) ** 3
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ij,ijk->ik", weights, mean_vectors[indices])


class _Found(NamedTuple):
    distances: NDArray[np.float64]
    indices: NDArray[np.intp]


def _nearest(among: NDArray[np.floating], of: NDArray[np.floating], k: int) -> _Found:
    """The ``k`` cells of ``among`` nearest to each cell of ``of``, both (n_of, k); fewer where there are not so many."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(k, len(among)), algorithm="brute").fit(among)
    return _Found(*search.kneighbors(of))
