"""Graph connectivity on graphs drawn by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import METRICS
from scrutiny.metrics.neighbors import ready_made

symmetric = METRICS.get("graph_connectivity")
directed = METRICS.get("graph_connectivity_directed")


def graph_of(edges, n_cells):
    ends = np.array(edges).T
    graph = sparse.coo_matrix((np.ones(len(edges)), ends), shape=(n_cells, n_cells))
    return (graph + graph.T).tocsr()


def test_each_label_counts_alike():
    """Label a: cells 0-1-2 joined, 3 joined to them only through label b (4); label b: 4, 5 apart. (3/4 + 1/2) / 2."""
    graph = graph_of([(0, 1), (1, 2), (2, 4), (4, 3)], 6)
    measured = symmetric(graph, np.array(list("aaaabb")))
    assert measured.details["per_label"] == {"a": 0.75, "b": 0.5}
    assert measured.value == 0.625


def test_a_label_of_one_cell_hangs_together():
    assert symmetric(graph_of([(0, 1)], 3), np.array(list("aab"))).value == 1


def test_one_label_is_enough():
    assert symmetric(graph_of([(0, 1), (2, 3)], 4), np.array(["a"] * 4)).value == 0.5


def test_integers_are_labels():
    assert symmetric(graph_of([(0, 1)], 3), np.array([7, 7, 10])).details["per_label"] == {"10": 1.0, "7": 1.0}


def test_a_one_way_chain_is_connected_only_when_directions_are_ignored():
    """Cells on a line with growing gaps: each one's nearest is the one before it, so no path leads up.

    scib-metrics gives the second number under the name of the first.
    """
    embedding = (1.5 ** np.arange(12.0))[:, None].astype(np.float32)
    e = Evidence({"embedding": embedding, "labels": np.array(["a"] * 12)})
    assert directed(e["neighbors"], e["labels"], k=2).value == pytest.approx(2 / 12)
    one_way = sparse.csr_matrix((np.ones(12), e["neighbors"].indices[:, 0], np.arange(13)), shape=(12, 12))
    assert symmetric((one_way + one_way.T).tocsr(), e["labels"]).value == 1


def test_directed_takes_14_others():
    """Two blobs of 15: within 14 others each blob is a clique of its own; with 15 others they meet."""
    embedding = np.concatenate([np.random.default_rng(0).normal(size=(15, 2)), np.random.default_rng(1).normal(size=(15, 2)) + 50])
    e = Evidence({"embedding": embedding.astype(np.float32), "labels": np.array(["a"] * 30)})
    assert e["graph_connectivity_directed"] == 0.5
    assert directed(e["neighbors"], e["labels"], k=16).value == 1


def test_ready_made_neighbors_serve():
    indices = np.array([[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]])
    near = ready_made(indices, np.ones((6, 2)))
    assert directed(near, np.array(list("aaabbb")), k=3).value == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(20, 80))
def test_order_and_names_do_not_matter_and_the_symmetric_graph_connects_more(seed, n_cells):
    rng = np.random.default_rng(seed)
    embedding, labels, order = rng.normal(size=(n_cells, 3)).astype(np.float32), rng.integers(0, 4, n_cells), rng.permutation(n_cells)
    straight = Evidence({"embedding": embedding, "labels": labels})
    permuted = Evidence({"embedding": embedding[order], "labels": np.char.add("x", np.char.mod("%d", 9 - labels))[order]})
    for metric in ("graph_connectivity", "graph_connectivity_directed"):
        assert 0 < straight[metric] <= 1
        assert permuted[metric] == pytest.approx(straight[metric])
    assert straight["graph_connectivity_directed"] <= straight["graph_connectivity"] + 1e-12
