"""Thinning of molecules: binomial, never more than there was, and the same for a cell wherever it stands."""

import numpy as np
import pytest
from scipy import sparse, stats

from scrutiny.core.errors import InputError
from scrutiny.data.thinning import thin


def counts(values):
    return sparse.csr_matrix(np.asarray(values, dtype=np.float32))


@pytest.fixture
def many():
    """One cell a row, all alike: a gene of 10 molecules, one of 1, one of 0 and one of 40."""
    ids = np.array([f"cell {i}" for i in range(4000)])
    return counts(np.tile([10, 1, 0, 40], (4000, 1))), ids


def test_kept_molecules_are_binomial(many):
    given, ids = many
    found = thin(given, 0.2, seed=0, cell_ids=ids).toarray()
    assert (found <= given.toarray()).all() and not found[:, 2].any()
    for column, n in ((0, 10), (1, 1), (3, 40)):
        seen = np.bincount(found[:, column].astype(int), minlength=n + 1)
        expected = 4000 * stats.binom.pmf(np.arange(n + 1), n, 0.2)
        common = expected >= 5
        observed = np.append(seen[common], seen[~common].sum())
        assert stats.chisquare(observed, np.append(expected[common], expected[~common].sum() + 1e-9)).pvalue > 0.001
    assert abs(np.corrcoef(found[:, 0], found[:, 3])[0, 1]) < 4 / np.sqrt(4000)  # genes are thinned independently


def test_a_cell_is_thinned_alike_wherever_it_stands(many):
    given, ids = many
    whole = thin(given, 0.5, seed=1, cell_ids=ids)
    some = np.array([17, 3, 3999])
    assert np.array_equal(thin(given[some], 0.5, seed=1, cell_ids=ids[some]).toarray(), whole[some].toarray())
    assert not np.array_equal(thin(given, 0.5, seed=2, cell_ids=ids).toarray(), whole.toarray())


def test_all_is_kept_of_all_and_nothing_is_changed(many):
    given, ids = many
    before = given.copy()
    assert (thin(given, 1.0, seed=0, cell_ids=ids) != before).nnz == 0
    thin(given, 0.1, seed=0, cell_ids=ids)
    assert (given != before).nnz == 0 and np.array_equal(given.indices, before.indices)


@pytest.mark.parametrize("share", [0.0, 1.2, -0.1])
def test_odd_shares_are_refused(share):
    with pytest.raises(InputError, match="share of molecules"):
        thin(counts([[1]]), share, seed=0, cell_ids=np.array(["a"]))


def test_fractions_are_refused():
    with pytest.raises(InputError, match="whole counts"):
        thin(counts([[1.5]]), 0.2, seed=0, cell_ids=np.array(["a"]))
