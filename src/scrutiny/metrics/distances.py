"""Euclidean distances between all cells, in blocks of rows that fit in the cache and run on all allowed threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

ENTRIES_PER_BLOCK = 2_000_000
"""Distances held at once by a thread: 8 MB as float32, what stays in the cache."""

ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""Bound on the error of a squared distance from float32 products, as a share of the squared lengths of the two points."""


class Points(NamedTuple):
    """Cells ready for distances by matrix products, which lose digits far from the origin, so the mean is taken away first."""

    raw: NDArray[np.floating]
    """(n_cells, n_dims) as given, for exact distances of single pairs."""
    factors: NDArray[np.float32]
    """(n_cells, n_dims + 2): centred point, 1, squared length."""
    squares: NDArray[np.float32]
    """(n_cells,) squared length of the centred point."""


def points_of(embedding: NDArray[np.floating]) -> Points:
    """Points of an embedding (n_cells, n_dims)."""
    n_cells, n_dims = embedding.shape
    factors = np.ones((n_cells, n_dims + 2), np.float32)
    centred = factors[:, :n_dims]
    np.subtract(embedding, embedding.mean(axis=0, dtype=np.float64), out=centred, casting="same_kind")
    squares = np.einsum("ij,ij->i", centred, centred)
    factors[:, -1] = squares
    return Points(embedding, factors, squares)


def squared_distances(points: Points, rows: NDArray[np.integer], columns: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Squared distances (n_rows, n_columns) between cells (columns None: to all), off by at most `ROUNDING`; may be below 0.

    One product makes them: (-2x, |x|², 1) @ (y, 1, |y|²) = |x - y|².
    """
    left = points.factors[rows]
    left[:, :-2] *= -2
    left[:, -2:] = left[:, [-1, -2]]
    return left @ (points.factors if columns is None else points.factors[columns]).T


def exact_distances(points: Points, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
    """Distances (n_rows, k) from cells (n_rows,) to cells (n_rows, k), from differences in float64; equal points are at 0."""
    distances = np.empty(columns.shape)
    n_dims = points.raw.shape[1]
    step = max(1, ENTRIES_PER_BLOCK // (16 * n_dims * max(columns.shape[1], 1)))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = points.raw[columns[part]].astype(np.float64)
        difference -= points.raw[rows[part], None]
        np.einsum("ijk,ijk->ij", difference, difference, out=distances[part])
    return np.sqrt(distances, out=distances)


def marked_columns(marked: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Marked columns of every row, ascending, as (n_rows, most in a row), and which entries are filled (the rest is 0)."""
    row, column = np.divmod(np.flatnonzero(marked), marked.shape[1])
    count = np.bincount(row, minlength=len(marked))
    filled = np.arange(count.max()) < count[:, None]
    columns = np.zeros(filled.shape, np.intp)
    columns[filled] = column
    return columns, filled


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices over the rows, each of about `ENTRIES_PER_BLOCK` entries."""
    step = max(16, ENTRIES_PER_BLOCK // max(n_columns, 1))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def over_blocks(work: Callable[[slice], None], blocks: Iterator[slice]) -> None:
    """Call ``work`` on every block, on as many threads as BLAS is allowed; ``work`` writes to rows of its own only.

    BLAS itself speeds up the products alone, and they are a third of the work; so it gets one thread in each of ours.
    """
    with one_thread_each() as threads:
        for _ in threads.map(work, blocks):
            pass


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """As many threads as BLAS is allowed, each with a BLAS of one thread."""
    n_threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as threads:
        yield threads
