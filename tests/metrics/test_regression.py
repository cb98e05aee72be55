"""Principal component regression against scikit-learn, integer batches, and what leaves nothing to explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import METRICS
from scrutiny.metrics.categories import categories
from scrutiny.metrics.regression import explained_share

pcr = METRICS.get("pcr_batch")
comparison = METRICS.get("pcr_comparison")


def random_case(seed=0, n_cells=200, n_dims=10, n_batches=3):
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, n_batches, n_cells)
    return (rng.normal(size=(n_cells, n_dims)) * np.linspace(2, 1, n_dims) + batch[:, None] * 0.7).astype(np.float32), batch


def by_regression(embedding, design, n_components):
    """The definition itself: PCA, R2 of every component on the design, weighed by the variance of the component."""
    pca = PCA(n_components, svd_solver="full").fit(embedding.astype(float))
    scores = pca.transform(embedding.astype(float))
    r2 = [LinearRegression().fit(design, s).score(design, s) for s in scores.T]
    return (pca.explained_variance_ @ r2) / pca.explained_variance_.sum()


@pytest.mark.parametrize(
    ("n_cells", "n_dims", "n_components"), [(200, 10, 50), (200, 80, 50), (60, 150, 50), (30, 90, 50), (100, 20, 5), (20, 60, 5)]
)
def test_equal_to_a_regression_of_every_component(n_cells, n_dims, n_components):
    embedding, batch = random_case(n_cells=n_cells, n_dims=n_dims)
    expected = by_regression(embedding, np.eye(3)[batch], min(n_components, n_cells, n_dims))
    assert explained_share(embedding, categories(batch), n_components=n_components) == pytest.approx(expected, rel=1e-6)


def test_integer_batches_are_categories_not_a_number():
    """scib takes an integer column as continuous: means 0, 3, 0 in batches 0, 1, 2 would explain nothing."""
    batch = np.repeat([0, 1, 2], 40)
    embedding = np.where(batch == 1, 3.0, 0.0)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(120, 1))
    as_a_number = by_regression(embedding, batch[:, None], 1)
    assert as_a_number < 0.01
    assert pcr(embedding, batch) > 0.99
    assert pcr(embedding, batch) == pcr(embedding, np.array(["c", "a", "b"])[batch])


def test_the_extremes():
    batch = np.repeat(["x", "y"], 50)
    assert pcr(np.where(batch == "x", 1.0, -1.0)[:, None], batch) == pytest.approx(1)
    assert pcr(np.tile([1.0, -1.0], 50)[:, None], batch) == pytest.approx(0)


def test_a_far_offset_does_not_matter():
    embedding, batch = random_case()
    assert pcr(embedding.astype(float) + 1e5, batch) == pytest.approx(pcr(embedding, batch), rel=1e-6)


class TestComparison:
    def test_what_is_gone(self):
        before, batch = random_case()
        after = before - 0.7 * batch[:, None]
        measured = comparison(after, before, batch)
        assert measured.value == pytest.approx(1 - pcr(after, batch) / pcr(before, batch))
        assert measured.value > 0.9

    def test_more_than_before_is_clipped_and_said(self):
        before, batch = random_case()
        measured = comparison(before + batch[:, None].astype(np.float32), before, batch)
        assert measured.value == 0
        assert measured.details["unclipped"] < 0

    def test_the_same_is_0(self):
        embedding, batch = random_case()
        assert comparison(embedding, embedding, batch).value == 0


class TestNotApplicable:
    def test_one_batch(self):
        embedding, batch = random_case()
        with pytest.raises(NotApplicable, match="different values of 'batch'; all 200 cells have '0'"):
            pcr(embedding, np.zeros_like(batch))

    def test_identical_cells(self):
        with pytest.raises(NotApplicable, match="all 200 cells have the same embedding"):
            pcr(np.full((200, 3), 0.1, np.float32), random_case()[1])

    def test_nothing_to_remove(self):
        batch = np.repeat(["x", "y"], 50)
        with pytest.raises(NotApplicable, match="explains nothing of the unintegrated data"):
            comparison(np.arange(100.0)[:, None], np.tile([1.0, -1.0], 50)[:, None], batch)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(8, 60), n_dims=st.integers(1, 70))
def test_order_names_and_rotation_do_not_matter_and_bounds_hold(seed, n_cells, n_dims):
    embedding, batch = random_case(seed, n_cells, n_dims)
    batch[:2] = [0, 1]
    rng = np.random.default_rng(seed)
    order, rotation = rng.permutation(n_cells), np.linalg.qr(rng.normal(size=(n_dims, n_dims)))[0]
    value = pcr(embedding, batch)
    assert 0 <= value <= 1
    assert pcr(embedding[order], (9 - batch)[order]) == pytest.approx(value, abs=1e-9)
    assert pcr(embedding @ rotation, batch) == pytest.approx(value, abs=1e-6)
