"""Splits are even, and the same for the same generator."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.data.splits import hold_out, stratified_folds

LABELS = st.lists(st.sampled_from("abcd"), min_size=5, max_size=120).map(np.array)


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, n_folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_are_even_in_all_and_in_each_label(labels, n_folds, seed):
    folds = stratified_folds(labels, n_folds, np.random.default_rng(seed))
    for part in (np.ones(len(labels), dtype=bool), *(labels == label for label in np.unique(labels))):
        sizes = np.bincount(folds[part], minlength=n_folds)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, stratified_folds(labels, n_folds, np.random.default_rng(seed)))


def test_folds_are_dealt_at_random():
    labels = np.repeat(["a", "b"], 50)
    assert (stratified_folds(labels, 5, np.random.default_rng(0)) != stratified_folds(labels, 5, np.random.default_rng(1))).any()


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, share=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_held_out_cells_leave_every_label_on_both_sides(labels, share, seed):
    held = hold_out(labels, share, np.random.default_rng(seed))
    for label in np.unique(labels):
        n, n_held = (labels == label).sum(), held[labels == label].sum()
        assert n_held == (0 if n == 1 else min(max(round(share * n), 1), n - 1))
