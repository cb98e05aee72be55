"""Samples keep the make-up of the data, always draw the same cells, and say that they are samples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.core.dataset import from_arrays
from scrutiny.data.sample import sample, shares
from scrutiny.data.synth import planted


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 500), min_size=1, max_size=12), share=st.floats(0.01, 1.0))
def test_shares_are_proportional_to_less_than_one_cell(sizes, share):
    total = max(1, int(share * sum(sizes)))
    dealt = shares(sizes, total)
    assert dealt.sum() == total
    assert (np.abs(dealt - np.array(sizes) * total / sum(sizes)) < 1).all()
    assert (dealt <= sizes).all()


def test_largest_remainder_by_hand():
    assert shares([47, 16, 37], 10).tolist() == [5, 1, 4]  # quotas 4.7, 1.6, 3.7: the two .7 come before the .6


def test_each_label_in_each_batch_keeps_its_share():
    data = planted(n_cells=1200, n_genes=20)
    drawn = sample(data, 300)
    assert drawn.obs.value_counts().tolist() == [50] * 6
    assert drawn.n_cells == 300
    assert drawn.notes[-1] == "Everything here rests on a sample of 300 of 1,200 cells, proportional to label in each batch."
    where = pd.Index(data.cell_ids).get_indexer(drawn.cell_ids)
    assert (np.diff(where) > 0).all(), "file order is kept"
    assert (drawn.values != data.values[where]).nnz == 0


def test_the_content_is_the_seed():
    data = planted(n_cells=200, n_genes=20)
    assert sample(data, 50).fingerprint == sample(data, 50).fingerprint
    other = planted(n_cells=200, n_genes=20, seed=1)
    assert set(sample(data, 50).cell_ids) != set(sample(other, 50).cell_ids)


def test_small_data_are_not_sampled():
    data = planted(n_cells=50)
    assert sample(data, 50) is data


@pytest.mark.parametrize(("roles", "words"), [({}, "cells."), ({"batch": "batch"}, "cells, proportional to batch.")])
def test_data_without_labels(roles, words):
    source = planted(n_cells=100, n_genes=20)
    data = from_arrays("cells", source.values, source.obs, source.genes, roles=roles)
    assert sample(data, 30).notes[-1] == f"Everything here rests on a sample of 30 of 100 {words}"


def test_what_is_too_rare_for_the_sample_is_named():
    source = planted(n_cells=400, n_genes=20)
    obs = source.obs.assign(cell_type=["rare", *["common"] * 399], batch="one")
    data = from_arrays("cells", source.values, obs, source.genes, roles=source.roles)
    assert sample(data, 20).notes[-1] == "The sample has no cell of the label rare: too rare."
