"""The regression of each label against the others, beside scikit-learn on the dense values, and the recipe on planted genes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.data.prepare import fit_scaling, log_values, shifted_chunks
from scrutiny.methods.annotation.celltypist import Celltypist, Standardised, one_against_others


def cells(n_cells=120, n_genes=60, seed=0, labels=("b", "a", "c")):
    """Counts in which each label has five genes of its own, twice as high as in the others."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n_cells) % len(labels)
    means = rng.gamma(2.0, 1.0, n_genes) * np.ones((n_cells, 1))
    for code in range(len(labels)):
        means[np.ix_(codes == code, range(5 * code, 5 * code + 5))] *= 3
    ids = [f"c{seed}-{i}" for i in range(n_cells)]
    obs = pd.DataFrame({"type": np.array(labels)[codes]}, index=ids)
    return from_arrays("planted", sparse.csr_matrix(rng.poisson(means)), obs, [f"g{i}" for i in range(n_genes)], roles={"label": "type"})


def test_the_regression_is_that_of_scikit_learn_on_dense_standardised_values():
    from sklearn.linear_model import LogisticRegression

    data, columns = cells(), np.arange(60)
    scaling = fit_scaling(data, columns)
    shifted = sparse.vstack([chunk.values for chunk in shifted_chunks(data, columns, scaling)], format="csr").astype(np.float32)
    codes = np.unique(data.role("label"), return_inverse=True)[1]
    found = one_against_others(Standardised(shifted, scaling), codes, alpha=0.01, n_iterations=500)
    values = log_values(data, columns).toarray()
    dense = np.clip((values - values.mean(axis=0)) / values.std(axis=0, ddof=1), -10, 10)
    np.testing.assert_allclose(shifted.toarray() + scaling.of_zero, dense, atol=1e-4)
    for code in range(3):
        theirs = LogisticRegression(C=1 / (0.01 * 120), tol=1e-8, max_iter=5000).fit(dense, codes == code)
        np.testing.assert_allclose(found.slopes[:, code], theirs.coef_[0], atol=2e-3)
        assert found.intercepts[code] == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_planted_genes_are_chosen_and_labels_told():
    method = Celltypist(top_genes=5).fit(cells(), seed=0)
    planted = {f"g{i}" for i in range(15)}
    assert len(planted & set(method._genes)) >= 10 and len(method._genes) <= 15, "by chance 15 of 60 genes hold 4 of them"
    query = cells(seed=1)
    found = method.predict_labels(query.hide("label")).aligned_to(query.cell_ids)
    assert (found.labels == query.role("label")).mean() > 0.75, "a third by chance"
    assert method.n_trainable == len(method._genes) * 3 + 3


def test_clusters_of_the_query_vote():
    query = cells(n_cells=300, seed=1)
    method = Celltypist(majority_voting=True)
    found = method.fit(cells(), seed=0).predict_labels(query.hide("label"))
    assert method.card.together and not Celltypist().card.together
    assert len(np.unique(found.probabilities, axis=0)) < 100, "cells of a cluster are told the same"
    assert (found.labels == query.role("label")).mean() > 0.5


def test_cells_without_a_label_are_left_out_and_one_label_is_too_few():
    data = cells()
    some = data.obs["type"].where(np.arange(120) < 90, "")
    method = Celltypist(top_genes=5).fit(replace(data, obs=data.obs.assign(type=some)), seed=0)
    alone = Celltypist(top_genes=5).fit(data.take(np.arange(90)), seed=0)
    np.testing.assert_array_equal(method._found.slopes, alone._found.slopes)
    with pytest.raises(NotApplicable, match="at least two"):
        Celltypist().fit(data.take(np.arange(0, 120, 3)), seed=0)


def test_lacking_genes_are_named():
    method = Celltypist().fit(cells(), seed=0)
    with pytest.raises(InputError, match="lacks 10 of the 60 genes"):
        method.predict_labels(cells(seed=1).take_genes(np.arange(50)))
