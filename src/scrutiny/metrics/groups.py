"""Sums of distances to labels and batches: one pass over all pairs of cells that serves every euclidean silhouette."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.registry import derived

from .categories import Categories, categories
from .distances import Points, exact_distances, over_blocks, points_of, row_blocks, squared_distances

ALL_CELLS = 50_000
"""Up to here every cell is measured; above, a sample of them against all cells."""

SAMPLE = 20_000
"""Cells measured where there are more than `ALL_CELLS`."""

CLOSE = 1e-4
"""Squared distances under this share of the squared length are computed again: float32 products left them too few digits."""


class GroupDistances(NamedTuple):
    """Sums of euclidean distances from the measured cells to the cells of every label and batch."""

    rows: NDArray[np.intp]
    """(n_rows,) the measured cells: all of them, or a sample that is random within each label."""
    to_label: NDArray[np.float32]
    """(n_rows, n_labels) sums over the cells of a label."""
    to_batch: NDArray[np.float32]
    """(n_rows, n_batches) sums over the cells of a batch."""
    within_label: NDArray[np.float32]
    """(n_rows, n_batches) sums over the cells of a batch that have the label of the row."""
    labels: Categories
    batch: Categories


@derived("group_distances")
def group_distances(
    embedding: NDArray[np.floating], labels: NDArray[Any] | None = None, batch: NDArray[Any] | None = None
) -> GroupDistances:
    """Add up the distances from every cell to all cells, label by label and batch by batch, in one pass.

    The cells are put in the order of label and batch, so a group is a run of columns and its sum costs one addition a distance.
    Above 50,000 cells, 20,000 of them (at least 30 of every label, seed 0) are measured, still against all cells.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels, batch
        (n_cells,). Without them all cells have the same.
    """
    same = np.zeros(len(embedding), int)
    by_label, by_batch = categories(same if labels is None else labels), categories(same if batch is None else batch)
    order = np.lexsort((by_batch.codes, by_label.codes))
    label, in_batch = by_label.codes[order], by_batch.codes[order]
    starts = np.flatnonzero((np.diff(label, prepend=-1) != 0) | (np.diff(in_batch, prepend=-1) != 0))
    group_label, group_batch = label[starts], in_batch[starts]
    batchwise = np.argsort(group_batch, kind="stable")
    points, measured = points_of(embedding[order]), _measured(by_label, label)
    to_label, to_batch, within_label = (np.zeros((len(measured), c.n), np.float32) for c in (by_label, by_batch, by_batch))

    def add_up(part: slice) -> None:
        sums = np.add.reduceat(_distances(points, measured[part]), starts, axis=1)
        to_label[part] = _merged(sums, group_label)
        to_batch[part] = _merged(sums[:, batchwise], group_batch[batchwise])
        own_label = label[measured[part]]
        for this in np.unique(own_label):
            here, groups = np.flatnonzero(own_label == this), np.flatnonzero(group_label == this)
            within_label[np.ix_(part.start + here, group_batch[groups])] = sums[np.ix_(here, groups)]

    over_blocks(add_up, row_blocks(len(measured), len(label)))
    return GroupDistances(order[measured], to_label, to_batch, within_label, by_label, by_batch)


def _measured(labels: Categories, in_order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions of the cells to measure among cells ordered by label: all, or each label by its share but at least 30 of it."""
    if len(in_order) <= ALL_CELLS:
        return np.arange(len(in_order))
    rng = np.random.default_rng(0)
    quota = np.maximum(np.ceil(SAMPLE * labels.sizes / len(in_order)).astype(int), 30)
    runs = np.split(np.arange(len(in_order)), np.cumsum(labels.sizes)[:-1])
    return np.concatenate([np.sort(rng.choice(run, min(n, len(run)), replace=False)) for run, n in zip(runs, quota)])


def _distances(points: Points, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Distances (n_rows, n_cells) by products in float32; those of close cells exactly."""
    block = squared_distances(points, rows)
    close_row, close_column = np.divmod(np.flatnonzero(block <= CLOSE * points.squares[rows, None]), block.shape[1])
    np.sqrt(np.maximum(block, 0, out=block), out=block)
    block[close_row, close_column] = exact_distances(points, rows[close_row], close_column[:, None])[:, 0]
    return block


def _merged(sums: NDArray[np.float32], category: NDArray[np.intp]) -> NDArray[np.float32]:
    """Add up neighbouring columns of one category; every category occurs, in ascending order."""
    return np.add.reduceat(sums, np.flatnonzero(np.diff(category, prepend=-1)), axis=1)
