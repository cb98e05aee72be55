"""Search for nearest neighbours: exact, or in those lists of near cells that hold nearly all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable

from .distances import ROUNDING, Points, exact_distances, marked_columns, over_blocks, points_of, row_blocks, squared_distances

EXACT_CELLS = 50_000
"""Up to here all distances are looked at."""

CELLS_PER_LIST = 1000

WANTED_RECALL = 0.98
"""Share of the true neighbours that the lists must hold; never under 0.95 allowing for the sample it is measured on."""

QUERIES = 1000
"""Cells whose true neighbours are searched exactly, to learn how many lists are needed."""


class Neighbors(NamedTuple):
    """Nearest other cells: the cell itself is left out, the nearest comes first, equal distances in the order of their index."""

    indices: NDArray[np.int32]
    """(n_cells, k)."""
    distances: NDArray[np.float32]
    """(n_cells, k) euclidean."""
    recall: float | None = 1.0
    """Share of the true neighbours that are among them, as measured on a sample of cells; None where they were given ready-made."""

    @property
    def k(self) -> int:
        return self.indices.shape[1]

    def first(self, k: int) -> Neighbors:
        """The ``k`` nearest, or all others where there are no more than ``k``.

        Raises
        ------
        NotApplicable
            If fewer were given ready-made.
        """
        k = min(k, len(self.indices) - 1)
        if self.k < k:
            raise NotApplicable(f"needs {k} neighbours of every cell; the ready-made ones are {self.k}")
        return self if self.k == k else Neighbors(self.indices[:, :k], self.distances[:, :k], self.recall)

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of a score must know of them: nothing where the search was exact."""
        return {} if self.recall == 1.0 else {"neighbors": "ready-made" if self.recall is None else "approximate", "recall": self.recall}


class Lists(NamedTuple):
    """The cells dealt into lists of near ones, and where to look for the neighbours of the cells of each list."""

    members: list[NDArray[np.intp]]
    """Cells of each list, ascending."""
    by_distance: NDArray[np.intp]
    """(n_lists, n_lists) lists by the distance of their centres, each list itself first."""
    list_of: NDArray[np.intp]
    """(n_cells,)."""


def search(embedding: NDArray[np.floating], k: int) -> Neighbors:
    """The ``k`` nearest other cells of every cell of an embedding (n_cells, n_dims); ``k`` is under n_cells.

    Up to 50,000 cells the answer is exact. Above, cells are dealt into lists of about 1,000 by k-means (seed 0), and each is
    compared with the cells of the nearest lists only: as many lists as hold 98% of the true neighbours of 1,000 cells.
    """
    n_cells = len(embedding)
    points = points_of(embedding)
    indices, distances = np.empty((n_cells, k), np.int32), np.empty((n_cells, k), np.float32)

    def fill(rows: NDArray[np.intp], columns: NDArray[np.intp] | None) -> None:
        indices[rows], distances[rows] = _nearest_among(points, rows, columns, k)

    if n_cells <= EXACT_CELLS:
        over_blocks(lambda part: fill(np.arange(part.start, part.stop), None), row_blocks(n_cells, n_cells))
        return Neighbors(indices, distances)
    lists = _lists_of(points)
    n_lists, recall = _lists_needed(points, lists, k)
    for rows, near in zip(lists.members, lists.by_distance):
        enough = np.searchsorted(np.cumsum([len(lists.members[i]) for i in near]), k, side="right") + 1
        columns = np.sort(np.concatenate([lists.members[i] for i in near[: max(n_lists, enough)]]))
        over_blocks(lambda part, rows=rows, columns=columns: fill(rows[part], columns), row_blocks(len(rows), len(columns)))
    return Neighbors(indices, distances, recall)


def _nearest_among(
    points: Points, rows: NDArray[np.intp], columns: NDArray[np.intp] | None, k: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Exact neighbours of some cells among others (ascending, the cells themselves included; None: all).

    Products in float32 pick the candidates, differences in float64 put them in order. Every cell that may be among the ``k``
    nearest within the rounding error of the products is a candidate.
    """
    block = squared_distances(points, rows, columns)
    block[np.arange(len(rows)), rows if columns is None else np.searchsorted(columns, rows)] = np.inf
    reach = np.array([np.partition(row, k - 1)[k - 1] for row in block])  # by row: the copy is small, and its memory used again
    reach += 2 * ROUNDING * (2 * points.squares[rows] + np.abs(reach))
    candidates, filled = marked_columns(block <= reach[:, None])
    candidates = candidates if columns is None else columns[candidates]
    distances = np.where(filled, exact_distances(points, rows, candidates), np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _lists_of(points: Points) -> Lists:
    """Deal the cells into lists by k-means on 64 cells a list."""
    from sklearn.cluster import MiniBatchKMeans

    centred, n_cells = points.factors[:, :-2], len(points.raw)
    n_lists = n_cells // CELLS_PER_LIST
    some = np.random.default_rng(0).choice(n_cells, min(64 * n_lists, n_cells), replace=False)
    kmeans = MiniBatchKMeans(n_lists, random_state=0, batch_size=4096, max_iter=20, n_init=1).fit(centred[np.sort(some)])
    found, list_of = np.unique(kmeans.predict(centred), return_inverse=True)
    centres = kmeans.cluster_centers_[found].astype(np.float64)
    gaps = np.square(centres).sum(axis=1) - 2 * centres @ centres.T
    np.fill_diagonal(gaps, -np.inf)
    members = np.split(np.argsort(list_of, kind="stable"), np.cumsum(np.bincount(list_of))[:-1])
    return Lists(members, np.argsort(gaps, axis=1, kind="stable"), list_of)


def _lists_needed(points: Points, lists: Lists, k: int) -> tuple[int, float]:
    """How many lists hold 98% of the true neighbours of a sample of cells, and the share that they hold."""
    queries = np.sort(np.random.default_rng(1).choice(len(points.raw), QUERIES, replace=False))
    lists_before = np.empty((QUERIES, k), np.intp)
    rank = np.argsort(lists.by_distance, axis=1)

    def look_up(part: slice) -> None:
        rows = queries[part]
        truth, _ = _nearest_among(points, rows, None, k)
        lists_before[part] = rank[lists.list_of[rows][:, None], lists.list_of[truth]]

    over_blocks(look_up, row_blocks(QUERIES, len(points.raw)))
    held = np.cumsum(np.bincount(lists_before.ravel(), minlength=len(rank))) / lists_before.size
    n_lists = int(np.searchsorted(held, WANTED_RECALL)) + 1
    return n_lists, float(held[n_lists - 1])
