"""Do clusters find the types, if merging near kin is a small error? Rand index and mutual information that heed the Cell Ontology."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .clustering import K_MEANS
from .term_similarity import lin
from .type_graph_ontology import TypesOfCells

CLUSTERS = "Cells whose label is a Cell Ontology term of at least 5 cells; labels of one term are one type. " + K_MEANS
LIKE = "s is the Lin similarity of two types (see similarity_lin). "


class TypesInClusters(NamedTuple):
    """How types and clusters meet."""

    table: NDArray[np.float64]
    """(n_types, n_clusters) share of all cells; no row or column is empty."""
    alike: NDArray[np.float64]
    """(n_types, n_types) Lin similarity, 1 for a type and itself."""
    n_cells: int
    details: dict[str, Any]


@derived("types_in_clusters")
def types_in_clusters(kmeans: NDArray[np.integer], types_of_cells: TypesOfCells) -> TypesInClusters:
    """Count the cells of each type in each cluster.

    Parameters
    ----------
    kmeans
        (n_cells,) clusters.
    types_of_cells
        Of the cells.
    """
    types = types_of_cells
    clusters, codes = np.unique(kmeans[types.rows], return_inverse=True)
    shape = len(types.listed), len(clusters)
    counts = np.bincount(types.codes * shape[1] + codes, minlength=shape[0] * shape[1]).reshape(shape)
    return TypesInClusters(counts / counts.sum(), lin(types.ontology, types.listed), len(types.rows), types.details)


@metric(
    MetricCard(
        name="ari_ontology",
        family="ontology",
        better="higher",
        low=-1.0,
        high=1.0,
        recipe=CLUSTERS + LIKE + "A pair of cells in one cluster costs 1 - s, a pair of one type in two clusters costs 1. 1 - (cost of the "
        "clusters / cost to be expected of clusters of the same sizes drawn at random). With s = 0 for different types this is the "
        "adjusted Rand index.",
        source="ours, after Hubert and Arabie 1985",
    )
)
def ari_ontology(types_in_clusters: TypesInClusters) -> Measured:
    """Adjusted Rand index of clusters and types in which merging near kin costs little: 0 by chance, 1 for the types themselves.

    Raises
    ------
    NotApplicable
        If clusters drawn at random would cost nothing.
    """
    found = types_in_clusters
    table, n = found.table, found.n_cells
    by_type, by_cluster = table.sum(axis=1), table.sum(axis=0)

    def pairs(shares: NDArray[np.float64]) -> float:
        """Share of the pairs of different cells that have the same group."""
        return float((shares * (shares * n - 1)).sum() / (n - 1))

    unlike = 1 - found.alike
    together, same = pairs(by_cluster), pairs(by_type)
    unlike_together = float(np.einsum("ac,ab,bc->", table, unlike, table) * n / (n - 1))
    unlike_at_all = float(by_type @ unlike @ by_type * n / (n - 1))
    cost = unlike_together + same - pairs(table.ravel())
    expected = together * unlike_at_all + (1 - together) * same
    if expected <= 0:
        raise NotApplicable("clusters drawn at random would cost nothing: all cells are in one cluster and of one type")
    return Measured(float(np.clip(1 - cost / expected, -1, 1)), details=found.details)


@metric(
    MetricCard(
        name="nmi_ontology",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CLUSTERS
        + LIKE
        + "With shares p of the types, the entropy that heeds likeness is H = - sum_i p_i ln(sum_j s_ij p_j). Homogeneity = 1 - (mean "
        "over clusters of their H, weighted by size) / H of all; completeness = 1 - H(clusters given type) / H(clusters), Shannon. "
        "Their harmonic mean. With s = 0 for different types this is nmi with the arithmetic mean (the V-measure).",
        source="ours: entropy of Leinster and Cobbold 2012 (order 1) in the V-measure of Rosenberg and Hirschberg 2007",
    )
)
def nmi_ontology(types_in_clusters: TypesInClusters) -> Measured:
    """Normalised mutual information of clusters and types in which merging near kin loses little.

    Raises
    ------
    NotApplicable
        If the types are all but the same.
    """
    found = types_in_clusters
    table = found.table
    by_type, by_cluster = table.sum(axis=1), table.sum(axis=0)
    whole = _heeding(by_type, found.alike)
    if whole <= 0:
        raise NotApplicable("the types are so alike that there is nothing to tell apart")
    left = sum(share * _heeding(table[:, code] / share, found.alike) for code, share in enumerate(by_cluster))
    nothing = np.eye(len(by_cluster))
    of_clusters = _heeding(by_cluster, nothing)
    spread = sum(share * _heeding(table[code] / share, nothing) for code, share in enumerate(by_type))
    homogeneity = min(max(1 - left / whole, 0.0), 1.0)
    completeness = min(max(1 - spread / of_clusters, 0.0), 1.0) if of_clusters > 0 else 1.0
    total = homogeneity + completeness
    details = {**found.details, "homogeneity": round(homogeneity, 4), "completeness": round(completeness, 4)}
    return Measured(float(2 * homogeneity * completeness / total) if total > 0 else 0.0, details=details)


def _heeding(shares: NDArray[np.float64], alike: NDArray[np.float64]) -> float:
    """Entropy of shares (n,) of groups that are alike (n, n): - sum p ln(alike p)."""
    there = shares > 0
    return float(-(shares[there] * np.log((alike @ shares)[there])).sum())
