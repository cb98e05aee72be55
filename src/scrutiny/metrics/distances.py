"""Euclidean distances between all cells, in blocks of rows that fit in the cache and run on all allowed threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

ENTRIES_PER_BLOCK = 4_000_000
"""Distances held at once by a thread: 16 MB as float32."""

ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""Bound on the error of a squared distance from float32 products, as a share of the squared lengths of the two points."""


class Points(NamedTuple):
    """Cells ready for distances by matrix products.

    Products lose digits where points lie far from the origin, so ``centred`` has the mean taken away (in float64). ``raw`` gives
    the exact distance of single pairs.
    """

    raw: NDArray[np.floating]
    """(n_cells, n_dims) as given."""
    centred: NDArray[np.float32]
    """(n_cells, n_dims)."""
    squares: NDArray[np.float32]
    """(n_cells,) squared length of ``centred``."""

    @property
    def n_cells(self) -> int:
        return len(self.raw)


def points_of(embedding: NDArray[np.floating]) -> Points:
    """Points of an embedding (n_cells, n_dims)."""
    centred = (embedding - embedding.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return Points(embedding, centred, np.einsum("ij,ij->i", centred, centred))


def squared_distances(points: Points, rows: NDArray[np.integer] | slice, columns: NDArray[np.integer] | slice) -> NDArray[np.float32]:
    """Squared distances (n_rows, n_columns) float32, each off by at most `ROUNDING` times the squared lengths; may be below 0."""
    block = points.centred[rows] @ points.centred[columns].T
    block *= -2
    block += points.squares[rows][:, None]
    block += points.squares[columns]
    return block


def exact_distances(points: Points, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distances (n_pairs,) of single pairs of cells from their differences in float64; equal points are at 0."""
    distances = np.empty(len(rows))
    step = max(1, ENTRIES_PER_BLOCK // (4 * points.raw.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = np.subtract(points.raw[rows[part]], points.raw[columns[part]], dtype=np.float64)
        distances[part] = np.einsum("ij,ij->i", difference, difference)
    return np.sqrt(distances, out=distances)


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices over the rows, each of about `ENTRIES_PER_BLOCK` entries."""
    step = max(16, ENTRIES_PER_BLOCK // max(n_columns, 1))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def over_blocks(work: Callable[[slice], None], blocks: Iterator[slice]) -> None:
    """Call ``work`` on every block, on as many threads as BLAS is allowed; ``work`` writes to rows of its own only.

    BLAS itself speeds up the products alone, and they are a third of the work; so it gets one thread in each of ours.
    """
    n_threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as threads:
        for _ in threads.map(work, blocks):
            pass
