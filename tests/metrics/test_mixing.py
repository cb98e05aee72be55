"""LISI, purity and entropy: hand-sized cases, what cannot be scored, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.metrics.categories import categories
from scrutiny.metrics.mixing import lisi, perplexity_weights
from scrutiny.metrics.paths import path_lisi, path_neighbors

ON_NEIGHBORS = ("clisi", "ilisi", "knn_purity", "batch_entropy")


def evidence(embedding, labels, batch):
    return Evidence({"embedding": np.asarray(embedding, np.float32), "labels": np.asarray(labels), "batch": np.asarray(batch)})


def random_case(seed=0, n_cells=150, n_labels=3, n_batches=2):
    rng = np.random.default_rng(seed)
    labels, batch = rng.integers(0, n_labels, n_cells), rng.integers(0, n_batches, n_cells)
    return (5 * np.eye(n_labels)[labels] + rng.normal(size=(n_cells, n_labels))).astype(np.float32), labels.astype(str), batch.astype(str)


class TestWeights:
    def test_they_have_the_perplexity_asked_for(self):
        distances = np.sort(np.random.default_rng(0).gamma(4, size=(50, 90)), axis=1)
        weights = perplexity_weights(distances, perplexity=30)
        entropy = -(weights * np.log(weights)).sum(axis=1)
        np.testing.assert_allclose(np.exp(entropy), 30, rtol=2e-5)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        assert (np.diff(weights, axis=1) <= 0).all()

    def test_equal_distances_weigh_the_same(self):
        np.testing.assert_allclose(perplexity_weights(np.full((2, 90), 7.0), perplexity=30), 1 / 90)

    def test_neither_unit_nor_offset_matters(self):
        """exp(-beta d) / sum is the same for d + c, and beta takes up the unit: distances far from 0 do not underflow."""
        distances = np.sort(np.random.default_rng(0).gamma(4, size=(20, 90)), axis=1)
        plain = perplexity_weights(distances, perplexity=30)
        np.testing.assert_allclose(perplexity_weights(100 * distances + 1e5, perplexity=30), plain, atol=1e-5)


def test_lisi_counts_the_categories():
    """Inverse Simpson by hand: shares 1/2, 1/2 give 2; 3/4, 1/4 give 1.6; 1 gives 1."""
    of = categories(list("aabb"))
    indices = np.array([[0, 2, 1, 3], [0, 1, 0, 3], [2, 3, 2, 3]])
    np.testing.assert_allclose(lisi(indices, np.full((3, 4), 0.25), of), [2, 1.6, 1])


def test_separate_labels_and_mixed_batches_score_1():
    """Three far blobs of 100 identical cells, two batches by turns: every neighbourhood has one label and both batches."""
    embedding, labels, batch = np.repeat(100 * np.eye(3), 100, axis=0), np.repeat(list("abc"), 100), np.tile(list("xy"), 150)
    e = evidence(embedding, labels, batch)
    assert e["clisi"] == pytest.approx(1)
    assert e["ilisi"] == pytest.approx(1, abs=1e-3)
    assert e["knn_purity"] == 1
    assert e["batch_entropy"] == pytest.approx(1, abs=1e-3)


def test_separate_batches_score_0():
    embedding, batch = np.repeat([[0.0], [100.0]], 120, axis=0), np.repeat(["x", "y"], 120)
    e = evidence(embedding, np.tile(["a", "b"], 120), batch)
    assert (e["ilisi"], e["batch_entropy"]) == pytest.approx((0, 0))


def test_purity_looks_at_15_others():
    """Cells on a line, the label changes at 20: cell i < 20 has its 15 nearest others, counted by hand for the two ends."""
    e = evidence(np.arange(40.0)[:, None] ** 1.01, np.repeat(["a", "b"], 20), np.tile(["x", "y"], 20))
    per_cell = e.measure("knn_purity").per_cell
    assert per_cell[0] == 1
    assert per_cell[19] == pytest.approx(8 / 15)  # gaps grow with the index: 8 nearest to the left, 7 to the right
    assert e["knn_purity"] == pytest.approx(per_cell.mean())


def test_entropy_of_three_to_one():
    """91 cells, each with all others as neighbours, a quarter of them in batch y: H(1/4, 3/4) / log 2 is about 0.81."""
    batch = np.array(["y"] * 23 + ["x"] * 68)
    e = evidence(np.arange(91.0)[:, None], np.tile(list("ab"), 46)[:91], batch)
    share = np.where(batch == "y", 22, 23) / 90
    expected = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    np.testing.assert_allclose(e.measure("batch_entropy").per_cell, expected)


class TestNotApplicable:
    @pytest.mark.parametrize("metric", ["clisi", "knn_purity", "clisi_graph"])
    def test_one_label(self, metric):
        embedding, labels, batch = random_case()
        with pytest.raises(NotApplicable, match="at least two different values of 'label'; all 150 cells have 'a'"):
            evidence(embedding, np.full_like(labels, "a"), batch)[metric]

    @pytest.mark.parametrize("metric", ["ilisi", "batch_entropy", "ilisi_graph"])
    def test_one_batch(self, metric):
        embedding, labels, batch = random_case()
        with pytest.raises(NotApplicable, match="at least two different values of 'batch'; all 150 cells have 'x'"):
            evidence(embedding, labels, np.full_like(batch, "x"))[metric]

    def test_few_cells(self):
        e = evidence(*random_case(n_cells=9))
        with pytest.raises(NotApplicable, match="LISI needs at least 10 cells; there are 9"):
            e["ilisi"]
        with pytest.raises(NotApplicable, match="91 to 20,000 cells; there are 9"):
            e["ilisi_graph"]
        assert 0 <= e["knn_purity"] <= 1

    def test_a_third_of_the_neighbors_is_the_perplexity_of_few_cells(self):
        assert 0 <= evidence(*random_case(n_cells=30))["clisi"] <= 1


class TestPaths:
    def ring(self, n_cells, weight=0.5):
        """Each cell joined to the next by one edge: the 90 nearest are the 45 on each side."""
        here = np.arange(n_cells)
        graph = sparse.coo_matrix((np.full(n_cells, weight, np.float32), (here, (here + 1) % n_cells)), shape=(n_cells, n_cells))
        return (graph + graph.T).tocsr()

    def test_a_ring(self):
        found = path_neighbors(self.ring(200))
        assert found.complete.all()
        assert set(found.indices[0]) == {*range(1, 46), *range(155, 200)}

    def test_a_cell_that_reaches_too_few_counts_as_1(self):
        graph = sparse.block_diag([self.ring(150), self.ring(30)]).tocsr()
        found = path_neighbors(graph)
        assert found.complete.sum() == 150
        assert (path_lisi(found, categories(np.arange(180) % 2))[150:] == 1).all()

    def test_nothing_reaches_enough(self):
        found = path_neighbors(sparse.block_diag([self.ring(50), self.ring(50)]).tocsr())
        assert (path_lisi(found, categories(np.arange(100) % 2)) == 1).all()

    def test_tiny_weights_are_edges_too(self):
        """scib means to lift weights that are all but 0 and does not, as it asks an array whether it `is False`."""
        graph = self.ring(200)
        graph.data[:40] = np.finfo(np.float32).tiny
        found = path_neighbors(graph)
        assert found.complete.all()
        assert np.isfinite(found.weights).all()
        assert (path_lisi(found, categories(np.arange(200) % 2)) > 1.9).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(20, 120))
def test_order_and_names_do_not_matter_and_bounds_hold(seed, n_cells):
    embedding, labels, batch = random_case(seed, n_cells)
    labels[:2], batch[:2] = ["0", "1"], ["0", "1"]
    order = np.random.default_rng(seed).permutation(n_cells)
    straight = evidence(embedding, labels, batch)
    permuted = evidence(embedding[order], labels[order], batch[order])
    renamed = evidence(embedding, np.char.add("z", np.char.mod("%d", 9 - labels.astype(int))), batch.astype(int))
    for metric in ON_NEIGHBORS:
        assert 0 <= straight[metric] <= 1
        assert permuted[metric] == pytest.approx(straight[metric], abs=1e-6)
        assert renamed[metric] == pytest.approx(straight[metric], abs=1e-9)
