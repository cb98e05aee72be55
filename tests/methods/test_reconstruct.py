"""Baselines and controls that predict expression: by hand on tiny cells, and against numpy and sklearn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.data.prepare import log_values
from scrutiny.data.synth import planted
from scrutiny.methods.entries import entries_of
from scrutiny.methods.linear import ScaledPca
from scrutiny.methods.means import AnotherCell, GeneMean, OverallMean, partners

CELLS = planted(120, 60, label_effect=1.5).hide("label")
TRAIN, QUERY = CELLS.take(np.arange(80)), CELLS.take(np.arange(80, 120))
LOG = log_values(CELLS, np.arange(60)).toarray()


def tiny(values):
    """Log values as they are: cells a, b ... and genes x, y, z."""
    obs = pd.DataFrame(index=list("abcdefgh"[: len(values)]))
    return from_arrays("tiny", np.array(values, float), obs, "xyz", scale=Scale.LOG)


# Entries ---------------------------------------------------------------------------------------------------------------------------------


def drawn(chunks=None, ids=None, **options):
    values = QUERY.values
    chunks = [values[:25], values[25:]] if chunks is None else chunks
    return entries_of(chunks, QUERY.cell_ids if ids is None else ids, **{"hide": 0.0, "seed": 0, **options})


def test_every_expressed_gene_and_as_many_others_are_asked():
    found, expressed = drawn(), QUERY.values.toarray() > 0
    for row, (start, stop) in enumerate(zip(found.ends, found.ends[1:], strict=False)):
        own = slice(start, stop)
        assert np.array_equal(found.columns[own][found.expressed[own]], np.flatnonzero(expressed[row]))
        n, others = expressed[row].sum(), (~expressed[row]).sum()
        zeros = found.columns[own][~found.expressed[own]]
        assert len(zeros) == min(n, others) and not expressed[row, zeros].any()
        assert (np.diff(found.columns[own]) > 0).all()
        assert found.weight[own].sum() == pytest.approx(60)
    assert (found.weight[found.expressed] == 1).all() and (found.weight[~found.expressed] >= 1).all()


def test_all_others_or_none_of_them():
    every, none = drawn(zeros="all"), drawn(zeros="none")
    assert len(every.columns) == QUERY.n_cells * 60 and (every.weight == 1).all()
    assert none.expressed.all() and none.weight is None and len(none.columns) == QUERY.values.nnz
    with pytest.raises(InputError, match="zeros is 'some'"):
        drawn(zeros="some")


def test_draws_belong_to_a_cell_and_zeros_do_not_follow_the_seed():
    first, backwards = drawn(hide=0.3), drawn([QUERY.values[::-1]], QUERY.cell_ids[::-1], hide=0.3)
    last = slice(backwards.ends[-2], backwards.ends[-1])
    assert np.array_equal(first.columns[: first.ends[1]], backwards.columns[last])
    assert np.array_equal(first.hidden[: first.ends[1]], backwards.hidden[last])
    other = drawn(hide=0.3, seed=1)
    assert np.array_equal(first.columns, other.columns) and not np.array_equal(first.hidden, other.hidden)


@pytest.mark.parametrize("hide", [0.15, 0.5])
def test_the_share_is_hidden_of_the_expressed_and_of_the_others(hide):
    found = drawn(hide=hide)
    rows = np.repeat(np.arange(QUERY.n_cells), found.lengths)
    for kind in (found.expressed, ~found.expressed):
        counts, gone = np.bincount(rows, kind, QUERY.n_cells), np.bincount(rows, kind & found.hidden, QUERY.n_cells)
        assert np.array_equal(gone, [round(hide * n) for n in counts])
    whole = found.hidden_in(3, 5, 60)
    assert whole.shape == (2, 60) and whole.sum() == found.hidden[found.ends[3] : found.ends[5]].sum()


def test_a_cell_without_counts_has_no_entries():
    values = QUERY.values.tolil()
    values[2] = 0
    found = drawn([sparse.csr_matrix(values)])
    assert found.lengths[2] == 0 and found.lengths[3] > 0


# Methods ---------------------------------------------------------------------------------------------------------------------------------


def test_the_gene_mean_of_tiny_cells():
    method = GeneMean().fit(tiny([[1, 0, 2], [3, 0, 0]]), seed=0)
    found = method.reconstruct(tiny([[0, 5, 6], [7, 0, 0]]))
    assert found.quantity == "log count"
    for row, column, true, predicted in zip(found.rows, found.columns, found.true, found.predicted, strict=True):
        assert true == [[0, 5, 6], [7, 0, 0]][row][column] and predicted == [2, 0, 1][column]
    assert found.weight[found.rows == 1].tolist() == ([1, 2] if found.columns[found.rows == 1][0] == 0 else [2, 1])


def test_a_gene_that_was_not_in_training_is_0():
    method = GeneMean().fit(tiny([[1, 0, 2], [3, 0, 0]]).take_genes(np.array([2])), seed=0)
    found = method.reconstruct(tiny([[4, 5, 6]]))
    assert found.predicted.tolist() == [0, 0, 1]


def test_the_overall_mean_is_one_number():
    found = OverallMean().fit(TRAIN, seed=0).reconstruct(QUERY, hide=0.2, truth={"label": np.array([])})
    np.testing.assert_allclose(found.predicted, LOG[:80].mean(), rtol=1e-5)


def test_another_cell_is_one_of_the_query_and_never_the_same():
    found = AnotherCell().fit(TRAIN, seed=3).reconstruct(QUERY)
    other = partners(QUERY.cell_ids, 3)
    assert (other != np.arange(40)).all() and len(set(other)) == 40
    np.testing.assert_allclose(found.predicted, LOG[80:][other][found.rows, found.columns], rtol=1e-6)
    with pytest.raises(NotApplicable, match="takes two"):
        AnotherCell().fit(TRAIN, seed=0).reconstruct(QUERY.take(np.array([0])))


def test_pca_predicts_by_least_squares_from_its_components():
    method = ScaledPca(n_dims=8).fit(TRAIN, seed=0)
    found = method.reconstruct(QUERY)
    scores = [np.column_stack([np.ones(part.n_cells), method.embed(part).values]) for part in (TRAIN, QUERY)]
    wanted = scores[1] @ np.linalg.lstsq(scores[0], LOG[:80], rcond=None)[0]
    np.testing.assert_allclose(found.predicted, wanted[found.rows, found.columns], atol=1e-4)
    np.testing.assert_allclose(found.true, LOG[80:][found.rows, found.columns], rtol=1e-6)


def test_pca_enters_hidden_genes_as_0():
    method = ScaledPca(n_dims=8).fit(TRAIN, seed=2)
    found = method.reconstruct(QUERY, hide=0.5)
    shown = LOG[80:].copy()
    shown[found.rows[found.hidden], found.columns[found.hidden]] = 0
    scores = method.embed(replace(QUERY, matrix=from_arrays("shown", shown, QUERY.obs, QUERY.genes).matrix, scale=Scale.LOG)).values
    both = np.column_stack([np.ones(80), method.embed(TRAIN).values])
    wanted = np.column_stack([np.ones(40), scores]) @ np.linalg.lstsq(both, LOG[:80], rcond=None)[0]
    np.testing.assert_allclose(found.predicted, wanted[found.rows, found.columns], atol=1e-4)


def test_pca_finds_what_a_few_programmes_make():
    """Log counts of rank 3 and little noise are predicted almost wholly, where the gene mean misses them."""
    rng = np.random.default_rng(0)
    values = np.maximum(0, 3 + rng.normal(size=(150, 3)) @ rng.normal(size=(3, 50)) / 3 + 0.02 * rng.normal(size=(150, 50)))
    data = from_arrays("low rank", values, pd.DataFrame(index=[f"c{i}" for i in range(150)]), [f"g{i}" for i in range(50)], scale=Scale.LOG)
    train, query = data.take(np.arange(100)), data.take(np.arange(100, 150))
    of_pca, of_mean = (method.fit(train, seed=0).reconstruct(query) for method in (ScaledPca(5), GeneMean()))
    assert np.square(of_pca.predicted - of_pca.true).mean() < 0.02 * np.square(of_mean.predicted - of_mean.true).mean()


@pytest.mark.parametrize("method", [GeneMean, OverallMean, AnotherCell, ScaledPca])
def test_scaled_values_are_no_log_counts(method):
    scaled = replace(CELLS, scale=Scale.SCALED)
    with pytest.raises(NotApplicable, match="scaled values"):
        method().fit(scaled, seed=0).reconstruct(scaled)
