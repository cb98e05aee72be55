"""Leiden, Louvain, k-means and the scores on them: hand-sized cases, planted groups, determinism, cases that cannot be scored."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.metrics.agreement import adjusted_rand_index, contingency, normalized_mutual_information
from scrutiny.metrics.categories import categories
from scrutiny.metrics.clustering import ClusterSweep
from scrutiny.metrics.communities import leiden_partition, louvain_partition

PARTITIONS = (leiden_partition, louvain_partition)


def blobs(seed=0, n_cells=150, n_labels=3, n_dims=5, spread=8.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_cells) % n_labels
    embedding = rng.normal(0, spread, (n_labels, n_dims))[labels] + rng.normal(size=(n_cells, n_dims))
    return Evidence(
        {"embedding": embedding.astype(np.float32), "labels": labels.astype(str), "batch": rng.integers(0, 2, n_cells).astype(str)}
    )


def two_cliques(size=5, bridge=0.1):
    graph = np.kron(np.eye(2), np.ones((size, size))) - np.eye(2 * size)
    graph[0, size] = graph[size, 0] = bridge
    return sparse.csr_matrix(graph)


def swept(*assignments):
    return ClusterSweep(np.arange(1, len(assignments) + 1) / 5, np.array(assignments, np.int32), "by hand")


columns = st.integers(2, 60).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * 2))


@given(columns)
@settings(max_examples=200, deadline=None)
def test_nmi_and_ari_equal_scikit_learn(pair):
    labels, clusters = (np.array(column) for column in pair)
    table = contingency(categories(labels), clusters)
    assert normalized_mutual_information(table) == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-12)
    assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-12)


@given(columns, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_names_and_order_do_not_matter(pair, random):
    labels, clusters = (np.array(column) for column in pair)
    order, renamed = random.sample(range(len(labels)), len(labels)), np.array(random.sample(range(6), 6))
    table = contingency(categories(labels), clusters)
    other = contingency(categories([f"type {i}" for i in labels[order]]), renamed[clusters[order]])
    for score in (normalized_mutual_information, adjusted_rand_index):
        assert score(other) == pytest.approx(score(table), abs=1e-12)


def test_ari_of_many_cells_does_not_overflow():
    table = np.array([[2_000_000, 0], [0, 3_000_000]])
    assert adjusted_rand_index(table) == 1.0
    assert adjusted_rand_index(table[:, ::-1]) == 1.0


def test_the_best_resolution_by_nmi_is_picked_and_the_first_of_equals_wins():
    """Against aabb: one cluster has NMI 0, abcc 2 ln 2 / (ln 2 + 1.5 ln 2) = 0.8 and ARI 4/7, the labels themselves 1."""
    labels = np.array(list("aabb"))
    e = Evidence({"leiden": swept([0, 0, 0, 0], [0, 1, 2, 2], [7, 7, 7, 7]), "labels": labels})
    measured = e.measure("nmi_leiden")
    assert measured.value == pytest.approx(0.8)
    assert measured.details == {"resolution": 0.4, "n_clusters": 3, "nmi_by_resolution": [0, 0.8, 0], "engine": "by hand"}
    assert e["ari_leiden"] == pytest.approx(4 / 7)
    perfect = Evidence({"louvain": swept([0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]), "labels": labels})
    assert (perfect["nmi_louvain"], perfect["ari_louvain"]) == (1.0, 1.0)
    assert perfect.measure("ari_louvain").details["resolution"] == 0.4


def test_isolated_f1_takes_the_best_cluster_of_all_resolutions():
    """c is in batch 1 only. Clusters {c, c, b} and {c, c}: F1 0.8 and 1."""
    labels, batch = np.array(list("aabbbcc")), np.array(list("1212111"))
    first, second = [0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 1, 1]
    measured = Evidence({"leiden": swept(first), "labels": labels, "batch": batch}).measure("isolated_f1")
    assert measured.value == pytest.approx(0.8)
    assert measured.details == {"per_label": {"c": pytest.approx(0.8)}}
    assert Evidence({"leiden": swept(first, second), "labels": labels, "batch": batch})["isolated_f1"] == 1.0


def test_isolated_f1_is_the_mean_over_isolated_labels():
    labels, batch = np.array(list("aabbccdd")), np.array(list("12121133"))
    clusters = swept([0, 0, 0, 0, 1, 1, 2, 3])
    assert Evidence({"leiden": clusters, "labels": labels, "batch": batch})["isolated_f1"] == pytest.approx((1 + 2 / 3) / 2)


def test_no_isolated_label_is_not_applicable():
    labels, clusters = np.array(list("aabb")), swept([0, 0, 1, 1])
    with pytest.raises(NotApplicable, match="all 2 batches"):
        Evidence({"leiden": clusters, "labels": labels, "batch": np.array(list("1212"))})["isolated_f1"]
    with pytest.raises(NotApplicable, match="batch"):
        Evidence({"leiden": clusters, "labels": labels, "batch": np.array(list("1111"))})["isolated_f1"]


@pytest.mark.parametrize("metric", ["nmi_leiden", "ari_leiden", "nmi_louvain", "ari_louvain", "nmi_kmeans", "ari_kmeans"])
def test_planted_groups_are_found_and_a_shuffle_is_not(metric):
    e = blobs()
    assert e[metric] == pytest.approx(1.0)
    shuffled = Evidence({**e.given, "labels": np.random.default_rng(1).permutation(e["labels"])})
    assert abs(shuffled[metric]) < 0.15


@pytest.mark.parametrize("metric", ["nmi_leiden", "ari_louvain", "nmi_kmeans", "avg_bio"])
def test_one_label_is_not_applicable(metric):
    with pytest.raises(NotApplicable, match="label"):
        Evidence({**blobs().given, "labels": np.full(150, "T")})[metric]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_two_cliques_are_two_communities(partition):
    found = partition(two_cliques(), 1.0)
    assert found.dtype == np.int32
    assert sorted(np.bincount(found)) == [5, 5]
    assert len(set(found[:5])) == 1


@pytest.mark.parametrize("partition", PARTITIONS)
def test_a_higher_resolution_gives_more_communities(partition):
    """Two cliques of 5, total weight 40.2: together they lose (20.1/40.2)^2 x 2 of modularity times the resolution, and gain 0.2/40.2."""
    graph = two_cliques()
    assert [partition(graph, resolution).max() + 1 for resolution in (0.005, 1.0, 20.0)] == [1, 2, 10]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_a_cell_without_edges_is_a_community_of_its_own(partition):
    graph = sparse.block_diag([two_cliques(), np.zeros((1, 1))]).tocsr()
    found = partition(graph, 1.0)
    assert (found == found[-1]).sum() == 1


def test_louvain_uses_the_weights_it_is_given():
    """A ring of four with two heavy edges falls into the heavy pairs."""
    ring = np.array([[0, 9, 0, 1], [9, 0, 1, 0], [0, 1, 0, 9], [1, 0, 9, 0]], float)
    found = louvain_partition(sparse.csr_matrix(ring), 1.0)
    assert found[0] == found[1] != found[2] == found[3]


def test_louvain_does_not_change_the_graph():
    graph = two_cliques()
    before = graph.copy()
    louvain_partition(graph, 1.0)
    assert (graph != before).nnz == 0


def test_the_louvain_sweep_ignores_weights():
    e = blobs(spread=1.0)
    scaled = e["connectivities"].copy()
    scaled.data = np.random.default_rng(0).uniform(0.1, 1, len(scaled.data)).astype(np.float32)
    np.testing.assert_array_equal(Evidence({"connectivities": scaled})["louvain"].assignments, e["louvain"].assignments)


@pytest.mark.parametrize("name", ["leiden", "louvain"])
def test_a_graph_without_edges_is_not_applicable(name):
    with pytest.raises(NotApplicable, match="no edge"):
        Evidence({"connectivities": sparse.csr_matrix((5, 5), dtype=np.float32)})[name]


@pytest.mark.parametrize("name", ["leiden", "louvain", "kmeans"])
def test_the_number_of_threads_and_global_seeds_change_nothing(name):
    results = []
    for n_threads in (1, 2, 4):
        np.random.seed(n_threads)
        with threadpool_limits(n_threads):
            found = blobs(spread=1.0)[name]
        results.append(found if name == "kmeans" else found.assignments)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    e = blobs()
    e["leiden"], e["louvain"], e["kmeans"]
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_sweeps_have_their_resolutions():
    e = blobs()
    np.testing.assert_allclose(e["leiden"].resolutions, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    assert e["louvain"].assignments.shape == (20, 150)
    assert e["louvain"].resolutions[[0, -1]].tolist() == [0.1, 2.0]
    assert e["leiden"].engine.startswith("graspologic-native 1.")


def test_k_means_of_equal_cells_says_nothing():
    e = Evidence({"embedding": np.ones((12, 2), np.float32), "labels": np.array(list("abc") * 4)})
    assert e["nmi_kmeans"] == e["ari_kmeans"] == 0.0


def test_reading_the_cards_loads_no_clustering_library():
    code = "import sys; from scrutiny.metrics import clustering, probes, overall, conservation; "
    code += "print([m for m in ('numba', 'sklearn', 'igraph', 'leidenalg', 'graspologic_native') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
