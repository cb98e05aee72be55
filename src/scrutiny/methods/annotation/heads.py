"""Heads that tell labels by what is near: class centroids, cells, clusters. Nothing is trained."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.metrics.logistic import softmax
from scrutiny.metrics.neighbors import GRAPH_NEIGHBORS, connectivities, nearest

from .reading import HeadCard, ReadsEmbedding

FEWEST_FOR_A_GRAPH = 3
"""With fewer cells there is nothing to cluster."""


class NearestCells(ReadsEmbedding):
    """Vote of the nearest labelled cells, euclidean, one vote each; see `Reading` for how it is used.

    No more cells vote than a label has on average: with fewer labelled cells than voters, all of them would vote on every cell.
    """

    card = HeadCard("knn", "vote of the 15 nearest training cells", version="2", space={"k": (5, 15, 50)})

    def __init__(self, k: int = 15) -> None:
        self.k = k

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        from sklearn.neighbors import KNeighborsClassifier

        k = max(1, min(self.k, len(vectors) // len(np.unique(labels))))
        self._model = KNeighborsClassifier(k, algorithm="brute").fit(vectors, labels)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict_proba(vectors)

    n_trainable = 0


class NearestCentroid(ReadsEmbedding):
    """Label of the nearest class centroid, euclidean.

    The probability of a label is the softmax of -distance² / t. The temperature t makes the labels of the training cells likeliest, each
    cell being left out of the centroid of its own label.
    """

    card = HeadCard("centroid", "nearest class centroid", seconds_per_1000_cells=0.02)

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self._centroids = np.stack([vectors[codes == code].mean(axis=0, dtype=np.float64) for code in range(len(names))])
        self._temperature = _temperature(self._squares(vectors), codes, sizes)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return softmax(-self._squares(vectors) / self._temperature)

    @property
    def n_trainable(self) -> int:
        return int(self._centroids.size + 1)

    def _squares(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared distances (n_cells, n_labels) to the centroids, taken around their middle, where products lose no digits."""
        middle = self._centroids.mean(axis=0)
        cells, centroids = vectors - middle, self._centroids - middle
        squares = np.square(cells).sum(axis=1)[:, None] + np.square(centroids).sum(axis=1) - 2 * cells @ centroids.T
        return np.maximum(squares, 0.0)


def _temperature(squares: NDArray[np.float64], codes: NDArray[np.integer], sizes: NDArray[np.integer]) -> float:
    """What the squared distances (n_cells, n_labels) to centroids are divided by, so that the labels of the cells are likeliest.

    Cells that are alone with their label have no centroid without them; where all are, half the mean square between them has to do.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    rows = np.flatnonzero(sizes[codes] > 1)
    typical = float(squares.mean()) or 1.0
    if not len(rows):
        return typical / 2
    own = codes[rows]
    without = squares[rows]
    without[np.arange(len(rows)), own] *= np.square(sizes[own] / (sizes[own] - 1))  # the centroid of the others is as much farther

    def loss(log_temperature: float) -> float:
        scores = -without / (typical * np.exp(log_temperature))
        return float((logsumexp(scores, axis=1) - scores[np.arange(len(rows)), own]).mean())

    return typical * float(np.exp(minimize_scalar(loss, bounds=(-10, 5), method="bounded").x))


class ClusterTransfer(ReadsEmbedding):
    """Cluster the query, then give each cluster the label that most of the training cells nearest to its cells have.

    Clusters are those of Leiden at resolution 1 on the weighted graph of 15 neighbours; of each cell the 15 nearest training cells vote.
    The probability of a label is its share of the votes of the whole cluster, so all cells of a cluster are told the same.
    """

    card = HeadCard("cluster", "clusters of the query, labelled by the training cells nearest to them", together=True)

    def __init__(self, resolution: float = 1.0) -> None:
        self.resolution = resolution

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        self._votes = NearestCells().fit(vectors, labels, seed=seed)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        votes, clusters = self._votes.probabilities(vectors), clusters_of(vectors, self.resolution)
        shares = np.zeros((clusters.max() + 1, votes.shape[1]))
        np.add.at(shares, clusters, votes)
        return (shares / shares.sum(axis=1, keepdims=True))[clusters]

    n_trainable = 0


def clusters_of(vectors: NDArray[np.floating], resolution: float) -> NDArray[np.int32]:
    """Leiden communities (n_cells,) from 0 of the weighted graph of 15 neighbours; each cell by itself where there are under three."""
    from scrutiny.metrics.communities import leiden_partition  # compiles, so only where there is something to cluster

    if len(vectors) < FEWEST_FOR_A_GRAPH:
        return np.arange(len(vectors), dtype=np.int32)
    return leiden_partition(connectivities(nearest(vectors, GRAPH_NEIGHBORS - 1)), resolution)
