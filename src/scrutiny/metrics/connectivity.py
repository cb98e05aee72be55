"""Graph connectivity: whether the cells of a label hang together in the neighbour graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scrutiny.core.cards import MetricCard
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import Categories, categories
from .neighbors import GRAPH_NEIGHBORS, Neighbors


@metric(
    MetricCard(
        name="graph_connectivity",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Symmetric graph of the 15 nearest neighbours (counting the cell itself), euclidean; for each label the share of its cells "
        "in the largest connected component of its own cells; unweighted mean over labels.",
        source="Luecken et al. 2022 (scib graph_connectivity)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def graph_connectivity(connectivities: sparse.csr_matrix, labels: NDArray[Any]) -> Measured:
    """Mean share of a label's cells that hang together. It does not look at the batch: labels may fall apart for other reasons.

    Parameters
    ----------
    connectivities
        (n_cells, n_cells), symmetric; only where it is not 0 matters.
    labels
        (n_cells,).
    """
    return _largest_share(connectivities.tocoo(), categories(labels), connection="weak")


@metric(
    MetricCard(
        name="graph_connectivity_directed",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="As graph_connectivity on the directed graph from each cell to its 14 nearest others, with strong components (a path both "
        "ways). Lower than the symmetric form on the same cells.",
        source="scib-metrics graph_connectivity",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def graph_connectivity_directed(neighbors: Neighbors, labels: NDArray[Any], *, k: int = GRAPH_NEIGHBORS) -> Measured:
    """Mean share of a label's cells that reach each other along directed edges.

    Parameters
    ----------
    neighbors
        Neighbours of every cell.
    labels
        (n_cells,).
    k
        Neighbours, counting the cell itself.
    """
    ends = neighbors.first(k - 1).indices
    n_cells = len(ends)
    edges = (np.ones(ends.size, bool), (np.repeat(np.arange(n_cells), ends.shape[1]), ends.ravel()))
    return _largest_share(sparse.coo_matrix(edges, shape=(n_cells, n_cells)), categories(labels), connection="strong")


def _largest_share(graph: sparse.coo_matrix, labels: Categories, *, connection: str) -> Measured:
    """Mean over labels of (cells in the largest component) / cells, once the edges between labels are taken away."""
    inside = labels.codes[graph.row] == labels.codes[graph.col]
    kept = sparse.csr_matrix((graph.data[inside], (graph.row[inside], graph.col[inside])), shape=graph.shape)
    _, component = connected_components(kept, directed=True, connection=connection)
    pairs, sizes = np.unique(np.column_stack([labels.codes, component]), axis=0, return_counts=True)
    largest = np.zeros(labels.n)
    np.maximum.at(largest, pairs[:, 0], sizes)
    values = largest / labels.sizes
    return Measured(float(values.mean()), details={"per_label": dict(zip(labels.names.tolist(), values.tolist()))})
