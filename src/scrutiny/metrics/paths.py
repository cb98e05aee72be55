"""LISI on graph distances, as scib has it: neighbours by the shortest path over the weights of the graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .categories import Categories, several
from .distances import marked_columns, row_blocks
from .mixing import PERPLEXITY, lisi, perplexity_weights, scaled_mixing, scaled_separation
from .neighbors import N_NEIGHBORS

MAX_CELLS = 20_000
"""Paths from every cell: the work grows with the square of the cells."""

PROBES = 64
"""Cells whose paths are followed to the end, to see how far the others must be followed."""


class PathNeighbors(NamedTuple):
    """The 90 other cells with the shortest paths from each cell."""

    indices: NDArray[np.int32]
    """(n_cells, 90) nearest first."""
    weights: NDArray[np.float64]
    """(n_cells, 90) of perplexity 30 by length of path, adding up to 1."""
    complete: NDArray[np.bool_]
    """(n_cells,) whether 90 other cells can be reached at all; the row counts only then."""


@derived("path_neighbors")
def path_neighbors(connectivities: sparse.csr_matrix) -> PathNeighbors:
    """Neighbours by shortest path, the weights of the edges added up as if they were lengths (so a weak edge is a short one).

    That is the definition of scib, kept to give its numbers; `neighbors` are the nearest cells in the ordinary sense.

    Parameters
    ----------
    connectivities
        (n_cells, n_cells), symmetric, weights above 0.

    Raises
    ------
    NotApplicable
        If there are more than 20,000 cells, or no more than 90.
    """
    n_cells = connectivities.shape[0]
    if not N_NEIGHBORS < n_cells <= MAX_CELLS:
        raise NotApplicable(f"graph LISI is for {N_NEIGHBORS + 1} to {MAX_CELLS:,} cells; there are {n_cells:,}")
    reach = _usual_reach(connectivities)
    indices, lengths = np.zeros((n_cells, N_NEIGHBORS), np.int32), np.full((n_cells, N_NEIGHBORS), np.inf)
    for rows in row_blocks(n_cells, n_cells):
        here = np.arange(rows.start, rows.stop)
        indices[rows], lengths[rows] = _nearest_by_path(connectivities, here, reach)
        short = here[np.isinf(lengths[rows, -1])]
        if len(short):
            indices[short], lengths[short] = _nearest_by_path(connectivities, short, np.inf)
    complete = np.isfinite(lengths[:, -1])
    weights = np.zeros_like(lengths)
    if complete.any():
        weights[complete] = perplexity_weights(lengths[complete], perplexity=PERPLEXITY)
    return PathNeighbors(indices, weights, complete)


def _usual_reach(graph: sparse.csr_matrix) -> float:
    """Length of path within which nearly every cell finds its 90 neighbours."""
    probes = np.unique(np.linspace(0, graph.shape[0] - 1, PROBES).astype(int))
    lengths = np.partition(dijkstra(graph, indices=probes), N_NEIGHBORS, axis=1)[:, N_NEIGHBORS]
    lengths = lengths[np.isfinite(lengths)]
    return float(np.quantile(lengths, 0.99)) if len(lengths) else np.inf


def _nearest_by_path(graph: sparse.csr_matrix, rows: NDArray[np.intp], reach: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The nearest others within ``reach``, equal paths in the order of their index; length inf where there are no more."""
    lengths = dijkstra(graph, indices=rows, limit=reach)
    lengths[np.arange(len(rows)), rows] = np.inf
    reached, filled = marked_columns(np.isfinite(lengths))
    spare = max(0, N_NEIGHBORS - filled.shape[1])
    reached, filled = (np.pad(array, ((0, 0), (0, spare))) for array in (reached, filled))
    lengths = np.where(filled, np.take_along_axis(lengths, reached, axis=1), np.inf)
    order = np.argsort(lengths, axis=1, kind="stable")[:, :N_NEIGHBORS]
    return np.take_along_axis(reached, order, axis=1), np.take_along_axis(lengths, order, axis=1)


def path_lisi(paths: PathNeighbors, of: Categories) -> NDArray[np.float64]:
    """LISI (n_cells,) over neighbours by path; 1 for cells that reach fewer than 90 others, as in scib."""
    values = np.ones(len(paths.complete))
    values[paths.complete] = lisi(paths.indices[paths.complete], paths.weights[paths.complete], of)
    return values


@metric(
    MetricCard(
        name="clisi_graph",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="As clisi over the 90 other cells with the shortest paths over the weights of the 15-neighbour graph (weights added up as "
        "if they were lengths, as scib does); cells that reach fewer than 90 others count as 1. Up to 20,000 cells.",
        source="Luecken et al. 2022 (scib clisi_graph)",
    )
)
def clisi_graph(path_neighbors: PathNeighbors, labels: NDArray[Any]) -> Measured:
    """Whether neighbourhoods in the graph hold one label only (1) or all of them (0).

    Raises
    ------
    NotApplicable
        If there is one label.
    """
    by_label = several(labels, "label")
    return scaled_separation(path_lisi(path_neighbors, by_label), by_label.n, {})


@metric(
    MetricCard(
        name="ilisi_graph",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="As ilisi over the 90 other cells with the shortest paths over the weights of the 15-neighbour graph (weights added up as "
        "if they were lengths, as scib does); cells that reach fewer than 90 others count as 1. Up to 20,000 cells.",
        source="Luecken et al. 2022 (scib ilisi_graph)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def ilisi_graph(path_neighbors: PathNeighbors, batch: NDArray[Any]) -> Measured:
    """Whether neighbourhoods in the graph hold all batches (1) or one only (0).

    Raises
    ------
    NotApplicable
        If there is one batch.
    """
    by_batch = several(batch, "batch")
    return scaled_mixing(path_lisi(path_neighbors, by_batch), by_batch.n, {})
