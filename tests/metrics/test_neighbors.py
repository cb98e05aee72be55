"""Nearest neighbours and their graph: exactness, ties, few cells, lists, ready-made ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.metrics import search
from scrutiny.metrics.neighbors import connectivities, nearest, neighbors, ready_made


def brute_force(points, k):
    """Neighbours by all distances in float64, equal ones in the order of their index."""
    distances = cdist(points.astype(float), points.astype(float))
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def cloud(n_cells, n_dims=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n_cells, n_dims)).astype(np.float32)


@pytest.mark.parametrize("shift", [0, 1e3])
def test_search_equals_brute_force(shift):
    points = cloud(300) + np.float32(shift)
    indices, distances = brute_force(points, 90)
    found = neighbors(points)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    assert (found.indices.dtype, found.distances.dtype, found.recall) == (np.int32, np.float32, 1.0)


def test_a_tight_pair_far_from_the_others_is_told_apart():
    """Products in float32 round squared distances near 1e6 to about 0.1; the neighbours are 1e-2 apart."""
    points = np.concatenate([cloud(50) * 1e-2 + 1000, cloud(50, seed=1) * 1e-2 - 1000]).astype(np.float32)
    np.testing.assert_array_equal(nearest(points, 10).indices, brute_force(points, 10)[0])


def test_equal_distances_come_in_a_random_order_that_is_always_the_same():
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2).astype(np.float32)
    twice = np.concatenate([grid, grid])
    found = nearest(twice, 20)
    np.testing.assert_allclose(found.distances, brute_force(twice, 20)[1], atol=1e-6)
    assert (found.indices != brute_force(twice, 20)[0]).any()
    np.testing.assert_array_equal(found.indices, nearest(twice, 20).indices)


def test_identical_cells_are_at_distance_0():
    found = nearest(np.full((8, 3), 0.1, np.float32), 3)
    assert all(len(set(row)) == 3 and cell not in row for cell, row in enumerate(found.indices.tolist()))
    assert (found.distances == 0).all()


def test_a_collapsed_embedding_is_not_handed_neighbors_by_the_order_of_the_file():
    """299 of 300 cells in one place, the file sorted by type: chance is a third, and the first rows are all of one type."""
    points, labels = np.zeros((300, 2), np.float32), np.repeat(["A", "B", "C"], 100)
    points[0] = 1
    near = nearest(points, 15).indices
    assert abs((labels[near] == labels[:, None]).mean() - 1 / 3) < 0.05


@pytest.mark.parametrize(("n_cells", "k"), [(3, 2), (90, 89), (91, 90), (92, 90)])
def test_few_cells_have_fewer_neighbors(n_cells, k):
    assert neighbors(cloud(n_cells)).indices.shape == (n_cells, k)


def test_two_cells_are_too_few():
    with pytest.raises(NotApplicable, match="at least 3 cells; there are 2"):
        neighbors(cloud(2))


def test_an_embedding_that_collapsed_has_no_neighbors():
    """Ties follow the order of the file, so its batches would look mixed or not by how the file is sorted."""
    with pytest.raises(NotApplicable, match="all 100 cells have the same embedding"):
        neighbors(np.full((100, 3), 0.1, np.float32))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n_cells=st.integers(4, 60))
def test_the_order_of_cells_does_not_matter(seed, n_cells):
    points, order = cloud(n_cells, seed=seed), np.random.default_rng(seed).permutation(n_cells)
    straight, permuted = nearest(points, 5), nearest(points[order], 5)
    np.testing.assert_array_equal(order[permuted.indices], straight.indices[order])
    np.testing.assert_array_equal(permuted.distances, straight.distances[order])


class TestLists:
    """The search above 50,000 cells, at a size where the truth is cheap."""

    @pytest.fixture
    def small_lists(self, monkeypatch):
        monkeypatch.setattr(search, "EXACT_CELLS", 500)
        monkeypatch.setattr(search, "CELLS_PER_LIST", 50)

    @pytest.mark.parametrize("spread", [0.0, 6.0])
    def test_recall_is_what_it_says(self, small_lists, spread):
        rng = np.random.default_rng(0)
        points = (rng.normal(size=(8, 6))[rng.integers(0, 8, 2000)] * spread + rng.normal(size=(2000, 6))).astype(np.float32)
        truth, _ = brute_force(points, 30)
        found = nearest(points, 30)
        recall = np.mean([np.isin(t, f).mean() for t, f in zip(truth, found.indices)])
        assert found.recall >= 0.98
        assert recall >= 0.97
        assert found.facts == {"neighbors": "approximate", "recall": found.recall}

    def test_lists_smaller_than_k_are_joined(self, small_lists):
        far = np.concatenate([cloud(1200), cloud(3) + 500]).astype(np.float32)
        found = nearest(far, 90)
        assert found.indices.shape == (1203, 90)
        np.testing.assert_array_equal(found.indices[-3:, :2], brute_force(far, 90)[0][-3:, :2])


class TestConnectivities:
    def test_weights_add_up_to_log2_of_15_before_the_union(self):
        """One-sided weights (UMAP's smooth kNN distances): the nearest has weight 1, all add up to log2(15)."""
        from scrutiny.metrics.neighbors import _membership

        weights = _membership(neighbors(cloud(200)).distances[:, :14].astype(float), target=np.log2(15))
        np.testing.assert_allclose(weights.sum(axis=1), np.log2(15), atol=1e-5)
        assert (weights[:, 0] == 1).all()

    def test_the_graph_is_symmetric_without_self_loops(self):
        graph = connectivities(neighbors(cloud(200)))
        assert abs(graph - graph.T).max() < 1e-7
        assert graph.diagonal().sum() == 0
        assert (graph.data > 0).all() and (graph.data <= 1).all()

    def test_identical_cells_have_weight_1(self):
        graph = connectivities(nearest(np.zeros((20, 2), np.float32), 14))
        assert (graph.data == 1).all()

    def test_few_cells_are_all_joined(self):
        assert connectivities(neighbors(cloud(5))).nnz == 20


class TestReadyMade:
    """Neighbours of other tools: sorted, without the cell itself, and refused where they cannot be right."""

    def test_the_cell_itself_is_left_out_and_the_rest_sorted(self):
        truth = nearest(cloud(40), 14)
        itself = np.column_stack([np.arange(40), truth.indices[:, ::-1]])
        found = ready_made(itself, np.column_stack([np.zeros(40), truth.distances[:, ::-1]]))
        np.testing.assert_array_equal(found.indices, truth.indices)
        np.testing.assert_array_equal(found.distances, truth.distances)
        assert found.facts == {"neighbors": "ready-made", "recall": None}

    @pytest.mark.parametrize(
        ("indices", "distances", "message"),
        [
            ([[1], [0]], [[1.0, 1.0], [1.0, 1.0]], "of one shape"),
            ([[2], [0]], [[1.0], [1.0]], "from 0 to 1"),
            ([[1.0], [0.0]], [[1.0], [1.0]], "row numbers"),
            ([[1], [0]], [[-1.0], [1.0]], "not negative"),
            ([[1], [0]], [[np.nan], [1.0]], "finite"),
            ([[1, 1], [0, 0], [0, 1]], np.ones((3, 2)), "twice"),
            ([[0], [0]], [[0.0], [1.0]], "1 of 2 rows hold the cell itself"),
        ],
    )
    def test_what_cannot_be_right_is_refused(self, indices, distances, message):
        with pytest.raises(InputError, match=message):
            ready_made(np.array(indices), np.array(distances))

    def test_too_few_are_not_applicable_and_others_serve(self):
        points, batch = cloud(200), np.arange(200) % 2
        near = nearest(points, 20)
        evidence = Evidence({"embedding": points, "labels": batch, "batch": batch, "neighbors": ready_made(near.indices, near.distances)})
        assert evidence["knn_purity"] == Evidence({"embedding": points, "labels": batch})["knn_purity"]
        with pytest.raises(NotApplicable, match="needs 90 neighbours of every cell; the ready-made ones are 20"):
            evidence["ilisi"]

    def test_a_part_of_the_cells_searches_its_own(self):
        points = cloud(100)
        near = nearest(points, 20)
        part = Evidence({"embedding": points, "neighbors": ready_made(near.indices, near.distances)}).part(np.arange(40))
        assert part["neighbors"].indices.shape == (40, 39)
