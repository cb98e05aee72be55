"""Scales are told from values; counts come back from logarithms only where that is proven."""

import numpy as np
import pytest
from scipy import sparse

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError
from scrutiny.data.prepare import log_normalise
from scrutiny.data.recover import recover_counts
from scrutiny.data.scale import ValueFacts, check_declared, detect_scale, survey
from scrutiny.data.synth import planted


def test_facts_leave_zeros_out_and_add_up_over_arrays():
    facts = survey([np.array([0, 1, 2.5]), np.array([[-1, np.nan], [np.inf, 0]])])
    assert facts == ValueFacts(n=5, not_finite=2, negative=1, fractional=1, largest=2.5)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1, 2, 40], Scale.COUNTS),
        (np.array([1, 2, 40], dtype=np.uint16), Scale.COUNTS),
        ([0.7, 3.2, 9.1], Scale.LOG),
        ([0.7, 3.2, 900.1], Scale.NORMALISED),
        ([-0.7, 3.2, 900.1], Scale.SCALED),
    ],
)
def test_scales(values, scale):
    assert detect_scale(survey([np.array(values)]), "X").scale is scale


def test_unlogged_values_that_happen_to_be_small_may_be_declared_so():
    check_declared(Scale.NORMALISED, survey([np.array([0.5, 3.0])]), "X")
    with pytest.raises(InputError, match="declared as centred or standardised values, but .* as in log-normalised values"):
        check_declared(Scale.SCALED, survey([np.array([0.5, 3.0])]), "X")


def test_counts_come_back_exactly():
    counts = planted(n_cells=80).values
    for target in (1e4, 1e6, 123.4):
        logged = log_normalise(counts, np.asarray(counts.sum(axis=1)).ravel(), target)
        assert (recover_counts(logged) != counts).nnz == 0


def test_counts_come_back_from_three_decimals_and_with_empty_cells_and_stored_zeros():
    counts = planted(n_cells=80, depth=200).values.toarray()
    counts[5] = 0
    counts = sparse.csr_matrix(counts)
    logged = log_normalise(counts, np.asarray(counts.sum(axis=1)).ravel())
    logged.data = np.round(logged.data, 3)
    logged.data[7] = 0.0
    before = logged.copy()
    recovered = recover_counts(logged)
    assert np.flatnonzero((recovered != counts).toarray().ravel()).size == 1
    assert (logged != before).nnz == 0 and logged.nnz == before.nnz


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (lambda x: x * np.log10(np.e), "not proven to be logarithms of scaled counts: the largest distance from a whole number is"),
        (lambda x: x - 2.5, "found values that are negative"),
        (lambda x: np.round(x, 1), "use the file that has the raw counts"),
        (lambda x: x * 0, "all values are zero"),
        (lambda x: x + np.random.default_rng(0).uniform(0, 0.01, x.shape), "the logarithms computed again differ by up to"),
    ],
)
def test_anything_else_is_refused(damage, pattern):
    counts = planted(n_cells=80).values
    logged = log_normalise(counts, np.asarray(counts.sum(axis=1)).ravel())
    logged.data = damage(logged.data)
    with pytest.raises(InputError, match=pattern):
        recover_counts(logged)


def test_too_few_entries_prove_nothing():
    with pytest.raises(InputError, match=r"2 entries are above the smallest of their cell \(needed: 1000\)"):
        recover_counts(sparse.csr_matrix(np.log1p([[1.0, 2.0, 3.0]])))


def test_counts_of_real_cells_come_back(shared_data):
    import anndata

    counts = anndata.read_h5ad(shared_data / "pancreas_baron_human_mouse.h5ad").X
    assert (recover_counts(log_normalise(counts, np.asarray(counts.sum(axis=1)).ravel())) != counts).nnz == 0
