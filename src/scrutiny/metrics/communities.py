"""Communities of a graph by modularity, Leiden and Louvain: seeded, the same on any number of threads, without copyleft code."""

from __future__ import annotations

from typing import NamedTuple

import graspologic_native
import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

LEIDEN_ITERATIONS = 3
"""After two the modularity is settled to four digits; the third is what finds clusters of a handful of cells, so rare labels."""

LOUVAIN_STARTS = 5
"""Louvain depends on the order in which it visits the cells. The best of five reaches the modularity of the other engines; it does not
settle which of two almost equally good partitions is found, so scores of it keep a spread (see docs/METRICS.md)."""


class Partition(NamedTuple):
    communities: NDArray[np.int32]
    """(n_nodes,) from 0 without gaps."""
    modularity: float
    """Sum over communities of (weight inside / total weight) - resolution (strength / total strength)^2."""


def leiden_partition(graph: sparse.csr_matrix, resolution: float, *, seed: int = 0) -> NDArray[np.int32]:
    """Communities (n_nodes,) of an undirected weighted graph by Leiden, from 0 without gaps.

    Parameters
    ----------
    graph
        (n_nodes, n_nodes) symmetric, with at least one edge.
    resolution
        Above 0; a higher one gives more communities.

    References
    ----------
    Traag, Waltman and van Eck, Scientific Reports 9:5233 (2019).
    """
    _, of_node = graspologic_native.leiden_csr(
        graph.indptr.astype(np.int64),
        graph.indices.astype(np.int32),
        graph.data.astype(np.float64),
        graph.shape[0],
        resolution=resolution,
        iterations=LEIDEN_ITERATIONS,
        use_modularity=True,
        seed=seed,
    )
    return np.fromiter((of_node[node] for node in range(graph.shape[0])), np.int32, graph.shape[0])


def louvain_partition(graph: sparse.csr_matrix, resolution: float, *, seed: int = 0) -> NDArray[np.int32]:
    """Communities (n_nodes,) of an undirected weighted graph by Louvain: of five random orders the one of highest modularity.

    Parameters
    ----------
    graph
        (n_nodes, n_nodes) symmetric, with at least one edge.
    resolution
        Above 0; a higher one gives more communities.

    References
    ----------
    Blondel et al., J. Stat. Mech. P10008 (2008); the queue of nodes to visit is that of Traag et al. 2019.
    """
    starts = (_louvain_once(graph, resolution, np.random.default_rng([seed, start])) for start in range(LOUVAIN_STARTS))
    return max(starts, key=lambda found: found.modularity).communities


def _louvain_once(graph: sparse.csr_matrix, resolution: float, rng: np.random.Generator) -> Partition:
    """Move nodes until none gains, make each community one node, and again until nothing moves."""
    communities = np.arange(graph.shape[0], dtype=np.int32)
    graph = graph.astype(np.float64)
    while True:
        strength = np.asarray(graph.sum(axis=1)).ravel()
        moved = _move_nodes(graph.indptr, graph.indices, graph.data, strength, rng.permutation(len(strength)), resolution)
        names, moved = np.unique(moved, return_inverse=True)
        communities = moved[communities].astype(np.int32)
        if len(names) == len(strength):
            total = strength.sum()
            return Partition(communities, float(graph.diagonal().sum() / total - resolution * np.square(strength / total).sum()))
        member = sparse.csr_matrix((np.ones(len(moved)), (np.arange(len(moved)), moved)))
        graph = (member.T @ graph @ member).tocsr()


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _move_nodes(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    weights: NDArray[np.float64],
    strength: NDArray[np.float64],
    order: NDArray[np.int64],
    resolution: float,
) -> NDArray[np.int64]:
    """Put every node into the neighbouring community of highest modularity, starting alone, until no node gains by moving.

    Nodes wait in a ring ``queue``; when a node moves, its neighbours in other communities join the queue again.
    """
    n_nodes = len(strength)
    community = np.arange(n_nodes)
    total = strength.copy()
    scale = resolution / strength.sum()
    link = np.zeros(n_nodes)
    queue, waiting = order.copy(), np.ones(n_nodes, np.bool_)
    head, n_waiting = 0, n_nodes
    while n_waiting:
        node = queue[head]
        head, n_waiting = (head + 1) % n_nodes, n_waiting - 1
        waiting[node] = False
        edges = range(indptr[node], indptr[node + 1])
        home, pull = community[node], strength[node] * scale
        for edge in edges:
            if indices[edge] != node:
                link[community[indices[edge]]] += weights[edge]
        total[home] -= strength[node]
        best, gain = home, link[home] - pull * total[home] + 1e-10
        for edge in edges:
            candidate = community[indices[edge]]
            if link[candidate] - pull * total[candidate] > gain:
                best, gain = candidate, link[candidate] - pull * total[candidate]
        for edge in edges:
            link[community[indices[edge]]] = 0.0
        total[best] += strength[node]
        if best != home:
            community[node] = best
            for edge in edges:
                neighbor = indices[edge]
                if not waiting[neighbor] and community[neighbor] != best:
                    queue[(head + n_waiting) % n_nodes] = neighbor
                    n_waiting += 1
                    waiting[neighbor] = True
    return community
