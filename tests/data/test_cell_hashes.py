"""A cell as one number: equal where the counts are equal, whatever the order and whatever is silent."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from scrutiny.data.cell_hashes import FEWEST_EXPRESSED, cell_hashes, gene_keys, mixed, panel_hashes

COUNTS = arrays(np.float32, (6, 8), elements=st.integers(0, 3).map(float))
KEYS = gene_keys([f"g{i}" for i in range(8)])


def hashes(counts, keys=KEYS):
    return cell_hashes(sparse.csr_matrix(counts), keys)


def test_the_mixing_is_that_of_splitmix64():
    """The first two numbers of the generator with seed 0, as its authors' code prints them (prng.di.unimi.it/splitmix64.c)."""
    state = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    assert [hex(n) for n in mixed(state)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


@given(COUNTS)
def test_cells_agree_exactly_where_their_counts_do(counts):
    found = hashes(counts)
    same = (counts[:, None, :] == counts[None, :, :]).all(axis=2)
    np.testing.assert_array_equal(found[:, None] == found[None, :], same)


@given(COUNTS, st.permutations(range(8)))
def test_the_order_of_genes_plays_no_part_and_silent_genes_add_nothing(counts, order):
    found = hashes(counts)
    np.testing.assert_array_equal(hashes(counts[:, order], KEYS[list(order)]), found)
    expressed = counts.any(axis=0)
    np.testing.assert_array_equal(hashes(counts[:, expressed], KEYS[expressed]), found)


@given(COUNTS, arrays(np.bool_, 8))
def test_a_panel_and_the_rest_add_up_to_the_whole(counts, panel):
    found = panel_hashes(sparse.csr_matrix(counts), KEYS, np.array([panel, ~panel])).hashes
    np.testing.assert_array_equal(found[0] + found[1], hashes(counts))
    np.testing.assert_array_equal(found[0], hashes(counts[:, panel], KEYS[panel]))


@settings(max_examples=20)
@given(st.integers(FEWEST_EXPRESSED - 2, FEWEST_EXPRESSED + 2))
def test_few_expressed_genes_do_not_tell(n_expressed):
    counts = np.zeros((1, 40))
    counts[0, :n_expressed] = 1
    found = panel_hashes(sparse.csr_matrix(counts), gene_keys(map(str, range(40))), np.ones((1, 40), dtype=bool))
    assert found.to_tell[0, 0] == (n_expressed >= FEWEST_EXPRESSED)


def test_large_counts_and_many_entries_are_told_apart():
    """More entries than are mixed at a time, counts up to 2**24, which float32 holds exactly."""
    counts = np.random.default_rng(0).integers(1, 2**24, (600, 100)).astype(np.float32)
    counts[7] = counts[400]
    counts[8] = counts[401]
    counts[8, 99] -= 1
    found = hashes(counts, gene_keys(map(str, range(100))))
    assert found[7] == found[400] and len(np.unique(found)) == 599
