"""Do clusters of the embedding find the labels? Leiden and Louvain sweeps, k-means, and the labels that few batches have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .agreement import adjusted_rand_index, contingency, normalized_mutual_information
from .categories import Categories, categories, several
from .distances import over_blocks
from .silhouettes import isolated_labels

LEIDEN_RESOLUTIONS = np.arange(1, 11) / 5
LOUVAIN_RESOLUTIONS = np.arange(1, 21) / 10

LEIDEN_SWEEP = (
    "Leiden (modularity, graspologic-native, 3 iterations, seed 0) at resolutions 0.2, 0.4 ... 2.0 on the weighted graph of 15 "
    "neighbours counting the cell itself; "
)
LOUVAIN_SWEEP = (
    "Louvain (modularity, of 5 visiting orders the one of highest modularity, seed 0) at resolutions 0.1, 0.2 ... 2.0 on the graph of "
    "15 neighbours counting the cell itself, every edge with weight 1; "
)
K_MEANS = "k-means, k = number of labels, best of 10 k-means++ starts, seed 0, float64, no scaling; "
NMI = "mutual information of clusters and labels over the mean of their entropies"
ARI = "adjusted Rand index of clusters and labels"


class ClusterSweep(NamedTuple):
    """One clustering per resolution."""

    resolutions: NDArray[np.float64]
    """(n_resolutions,) ascending."""
    assignments: NDArray[np.int32]
    """(n_resolutions, n_cells) clusters from 0."""
    engine: str
    """What clustered, with its version."""


@derived("leiden")
def leiden(connectivities: sparse.csr_matrix) -> ClusterSweep:
    """Leiden clusterings of the weighted graph at ten resolutions, 0.2 to 2.0.

    Parameters
    ----------
    connectivities
        (n_cells, n_cells) symmetric.

    Raises
    ------
    NotApplicable
        If the graph has no edge.
    """
    from .communities import leiden_partition

    return sweep(leiden_partition, connectivities, LEIDEN_RESOLUTIONS, f"graspologic-native {version('graspologic-native')}")


@derived("louvain")
def louvain(connectivities: sparse.csr_matrix) -> ClusterSweep:
    """Louvain clusterings of the graph without its weights at twenty resolutions, 0.1 to 2.0.

    Parameters
    ----------
    connectivities
        (n_cells, n_cells) symmetric; every edge counts as 1.

    Raises
    ------
    NotApplicable
        If the graph has no edge.
    """
    from .communities import louvain_partition

    unweighted = connectivities.copy()
    unweighted.data = np.ones_like(unweighted.data)
    return sweep(louvain_partition, unweighted, LOUVAIN_RESOLUTIONS, "scrutiny, best of 5 starts")


def sweep(
    partition: Callable[[sparse.csr_matrix, float], NDArray[np.int32]],
    graph: sparse.csr_matrix,
    resolutions: NDArray[np.float64],
    engine: str,
) -> ClusterSweep:
    """Cluster the graph (n_cells, n_cells) at every resolution; each on a thread of its own, so the result is that of one thread.

    Raises
    ------
    NotApplicable
        If the graph has no edge.
    """
    if not graph.nnz:
        raise NotApplicable(f"the graph of {graph.shape[0]} cells has no edge, so there is nothing to cluster")
    found = ClusterSweep(resolutions, np.empty((len(resolutions), graph.shape[0]), np.int32), engine)

    def cluster(one: slice) -> None:
        found.assignments[one] = partition(graph, float(resolutions[one.start]))

    over_blocks(cluster, (slice(i, i + 1) for i in range(len(resolutions))))
    return found


@derived("kmeans")
def kmeans(embedding: NDArray[np.floating], labels: NDArray[Any]) -> NDArray[np.int32]:
    """Clusters (n_cells,) of k-means with as many of them as there are labels: the best of ten starts.

    Ten starts and not the one of scib-metrics, because a single one may end in a poor optimum (ARI 0.998 against 0.535 on the same
    cells, where the lower ARI has the better optimum). In float64 and on one thread, so that machines agree.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    k = several(labels, "label").n
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than labels: then there are fewer clusters
        return KMeans(k, n_init=10, random_state=0).fit_predict(embedding.astype(np.float64)).astype(np.int32)


@metric(
    MetricCard(
        name="nmi_leiden",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=LEIDEN_SWEEP + NMI + ", the highest over the resolutions (the first of equals).",
        source="Luecken et al. 2022 (scib cluster_optimal_resolution, nmi)",
        label_tuned=True,
    )
)
def nmi_leiden(leiden: ClusterSweep, labels: NDArray[Any]) -> Measured:
    """Agreement of the labels with the Leiden clustering that suits them best; the resolution picked is in the details.

    Parameters
    ----------
    leiden
        Clusterings of the cells.
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels.
    """
    return _highest_nmi(leiden, several(labels, "label"))


@metric(
    MetricCard(
        name="ari_leiden",
        family="cell types",
        better="higher",
        low=-0.5,
        high=1.0,
        recipe=LEIDEN_SWEEP + ARI + " at the resolution of nmi_leiden (not the highest ARI).",
        source="Luecken et al. 2022 (scib cluster_optimal_resolution, ari)",
        label_tuned=True,
    )
)
def ari_leiden(leiden: ClusterSweep, labels: NDArray[Any]) -> Measured:
    """Adjusted Rand index of the clustering that `nmi_leiden` picks. It may jump where two resolutions have almost the same NMI.

    Parameters
    ----------
    leiden
        Clusterings of the cells.
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels.
    """
    return _ari_at_highest_nmi(leiden, several(labels, "label"))


@metric(
    MetricCard(
        name="nmi_louvain",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=LOUVAIN_SWEEP + NMI + ", the highest over the resolutions (the first of equals).",
        source="Kedzierska et al. 2025 (scib 1.0.4 opt_louvain)",
        label_tuned=True,
    )
)
def nmi_louvain(louvain: ClusterSweep, labels: NDArray[Any]) -> Measured:
    """Agreement of the labels with the Louvain clustering that suits them best; the resolution picked is in the details.

    Parameters
    ----------
    louvain
        Clusterings of the cells.
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels.
    """
    return _highest_nmi(louvain, several(labels, "label"))


@metric(
    MetricCard(
        name="ari_louvain",
        family="cell types",
        better="higher",
        low=-0.5,
        high=1.0,
        recipe=LOUVAIN_SWEEP + ARI + " at the resolution of nmi_louvain (not the highest ARI).",
        source="Kedzierska et al. 2025 (scib 1.0.4 opt_louvain)",
        label_tuned=True,
    )
)
def ari_louvain(louvain: ClusterSweep, labels: NDArray[Any]) -> Measured:
    """Adjusted Rand index of the clustering that `nmi_louvain` picks. It may jump where two resolutions have almost the same NMI.

    Parameters
    ----------
    louvain
        Clusterings of the cells.
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels.
    """
    return _ari_at_highest_nmi(louvain, several(labels, "label"))


@metric(
    MetricCard(
        name="nmi_kmeans",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=K_MEANS + NMI + ".",
        source="scib-metrics nmi_ari_cluster_labels_kmeans, with ten starts; scikit-learn KMeans",
    )
)
def nmi_kmeans(kmeans: NDArray[np.int32], labels: NDArray[Any]) -> float:
    """Agreement of the labels with k-means clusters: nothing is tuned, but the number of labels is given.

    Parameters
    ----------
    kmeans
        (n_cells,) clusters.
    labels
        (n_cells,).
    """
    return normalized_mutual_information(contingency(categories(labels), kmeans))


@metric(
    MetricCard(
        name="ari_kmeans",
        family="cell types",
        better="higher",
        low=-0.5,
        high=1.0,
        recipe=K_MEANS + ARI + ".",
        source="scib-metrics nmi_ari_cluster_labels_kmeans, with ten starts; scikit-learn KMeans",
    )
)
def ari_kmeans(kmeans: NDArray[np.int32], labels: NDArray[Any]) -> float:
    """Adjusted Rand index of the labels and k-means clusters: nothing is tuned, but the number of labels is given.

    Parameters
    ----------
    kmeans
        (n_cells,) clusters.
    labels
        (n_cells,).
    """
    return adjusted_rand_index(contingency(categories(labels), kmeans))


@metric(
    MetricCard(
        name="isolated_f1",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="For each label that occurs in the fewest batches, the highest F1 of one cluster against the label over all clusters of: "
        + LEIDEN_SWEEP
        + "mean over these labels. Not applicable where every label is in every batch.",
        source="Luecken et al. 2022 (scib isolated_labels, cluster=True)",
        label_tuned=True,
    )
)
def isolated_f1(leiden: ClusterSweep, labels: NDArray[Any], batch: NDArray[Any]) -> Measured:
    """How well one cluster can pick out a label that few batches have. A label of a handful of cells makes no cluster of its own.

    Parameters
    ----------
    leiden
        Clusterings of the cells.
    labels, batch
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there is one batch, or every label is in every batch.
    """
    by_label = categories(labels)
    isolated = isolated_labels(by_label, several(batch, "batch"))
    tables = (contingency(by_label, clusters) for clusters in leiden.assignments)
    best = np.max([_f1_of_best_cluster(table)[isolated] for table in tables], axis=0)
    per_label = {str(name): float(f1) for name, f1 in zip(by_label.names[isolated], best)}
    return Measured(float(best.mean()), details={"per_label": per_label})


def _f1_of_best_cluster(table: NDArray[np.integer]) -> NDArray[np.float64]:
    """F1 (n_labels,) of the cluster that fits each label best, from cells (n_labels, n_clusters)."""
    return (2 * table / (table.sum(axis=1, keepdims=True) + table.sum(axis=0))).max(axis=1)


class Pick(NamedTuple):
    """The clustering of highest NMI."""

    clusters: NDArray[np.int32]
    """(n_cells,)."""
    nmi: float
    details: dict[str, Any]


def _pick(sweep: ClusterSweep, labels: Categories) -> Pick:
    values = [normalized_mutual_information(contingency(labels, clusters)) for clusters in sweep.assignments]
    best = int(np.argmax(np.round(values, 12)))  # the same clusters under other numbers differ in the last digit
    details = {
        "resolution": float(sweep.resolutions[best]),
        "n_clusters": len(np.unique(sweep.assignments[best])),
        "nmi_by_resolution": [round(value, 6) for value in values],
        "engine": sweep.engine,
    }
    return Pick(sweep.assignments[best], values[best], details)


def _highest_nmi(sweep: ClusterSweep, labels: Categories) -> Measured:
    picked = _pick(sweep, labels)
    return Measured(picked.nmi, details=picked.details)


def _ari_at_highest_nmi(sweep: ClusterSweep, labels: Categories) -> Measured:
    picked = _pick(sweep, labels)
    return Measured(adjusted_rand_index(contingency(labels, picked.clusters)), details=picked.details)
