"""The linear probe against scikit-learn, which finds the same optimum in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from scrutiny.metrics.logistic import fit_logistic


def made(n_labels: int, *, n_cells: int = 400, n_dims: int = 12):
    """Overlapping groups in correlated dimensions, of unequal sizes."""
    rng = np.random.default_rng(n_labels)
    codes = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n_cells - n_labels) * rng.integers(0, 2, n_cells - n_labels)])
    mixing = rng.normal(size=(n_dims, n_dims)) * np.linspace(3, 0.05, n_dims)[:, None]
    vectors = (rng.normal(size=(n_labels, n_dims))[codes] + rng.normal(size=(n_cells, n_dims))) @ mixing + 5
    return vectors.astype(np.float32), codes


def by_sklearn(vectors, codes, C):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000, tol=1e-9)).fit(vectors.astype(float), codes)


@pytest.mark.parametrize("n_labels", [2, 3, 7])
@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
def test_the_optimum_is_that_of_scikit_learn(n_labels, C):
    vectors, codes = made(n_labels)
    found, expected = fit_logistic(vectors, codes, C=C), by_sklearn(vectors, codes, C)
    wanted = expected.predict_proba(vectors.astype(float))
    assert np.abs(found.probabilities(vectors) - wanted).max() < 2e-3
    slopes = expected[-1].coef_
    least = -np.log(wanted[np.arange(len(codes)), codes]).mean() + (slopes**2).sum() / (2 * C * len(codes))
    assert found.loss == pytest.approx(least, abs=2e-6)
    assert found.n_trainable == slopes.size + len(slopes)


def test_with_one_scale_for_all_dimensions_they_keep_their_proportions():
    from sklearn.linear_model import LogisticRegression

    vectors, codes = made(3)
    centred = vectors - vectors.mean(0).astype(float)
    centred /= np.sqrt(centred.var(0).mean())
    wanted = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-9).fit(centred, codes).predict_proba(centred)
    assert np.abs(fit_logistic(vectors, codes, scale="all").probabilities(vectors) - wanted).max() < 2e-3


def test_dimensions_that_are_constant_or_repeated_do_no_harm():
    vectors, codes = made(3)
    odd = np.hstack([vectors, np.full((len(codes), 1), 7e6, np.float32), vectors[:, :1]])
    wanted = by_sklearn(odd, codes, 1.0).predict_proba(odd.astype(float))
    assert np.abs(fit_logistic(odd, codes).probabilities(odd) - wanted).max() < 2e-3


def test_groups_far_apart_are_told_surely_and_with_finite_slopes():
    vectors = np.repeat(np.eye(3, dtype=np.float32) * 100, 20, axis=0)
    codes = np.repeat(np.arange(3), 20)
    found = fit_logistic(vectors, codes)
    assert (found.scores(vectors).argmax(axis=1) == codes).all() and np.isfinite(found.slopes).all()


@pytest.mark.parametrize("n_dims", [100, 29, 31])
def test_more_dimensions_than_cells(n_dims):
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(30, n_dims)).astype(np.float32), np.arange(30) % 3
    wanted = by_sklearn(vectors, codes, 1.0).predict_proba(vectors.astype(float))
    assert np.abs(fit_logistic(vectors, codes).probabilities(vectors) - wanted).max() < 2e-3


def test_threads_change_no_digit(monkeypatch):
    from threadpoolctl import threadpool_limits

    from scrutiny.metrics import logistic

    monkeypatch.setattr(logistic, "ENTRIES_PER_BLOCK", 600)
    vectors, codes = made(3, n_cells=900)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(fit_logistic(vectors, codes).slopes)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("n_dims", [2, 50])
def test_vectors_that_are_all_the_same_give_the_shares_of_the_labels(n_dims):
    codes = np.repeat([0, 1, 2], [10, 5, 5])
    found = fit_logistic(np.full((20, n_dims), 3, np.float32), codes)
    np.testing.assert_allclose(found.probabilities(np.full((1, n_dims), 3.0)), [[0.5, 0.25, 0.25]], atol=1e-3)
