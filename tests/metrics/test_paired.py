"""McNemar's exact test against hand-made binomials."""

from math import comb

import numpy as np
import pytest

from scrutiny.metrics.paired import mcnemar, mcnemar_by_label


def pair(both, first, second, neither):
    """Two columns of right and wrong with so many cells of each kind."""
    one = np.repeat([True, True, False, False], [both, first, second, neither])
    other = np.repeat([True, False, True, False], [both, first, second, neither])
    return one, other


def test_by_hand():
    """8 against 1: twice the chance of at most one head in nine throws, 2 (1 + 9) / 512."""
    found = mcnemar(*pair(30, 8, 1, 5))
    assert (found.first, found.second) == (8, 1)
    assert found.p == pytest.approx(2 * (comb(9, 0) + comb(9, 1)) / 2**9)
    assert mcnemar(*pair(30, 1, 8, 5)).p == found.p, "either way round"


@pytest.mark.parametrize("kinds", [(10, 0, 0, 3), (0, 4, 4, 0), (5, 1, 0, 0)])
def test_no_difference_no_doubt(kinds):
    assert mcnemar(*pair(*kinds)).p == 1.0


def test_where_neither_is_better_small_p_are_as_rare_as_they_say():
    """The exact test is conservative: at most 5 % of 1,000 draws at p <= 0.05."""
    rng = np.random.default_rng(0)
    ps = np.array([mcnemar(rng.random(200) < 0.8, rng.random(200) < 0.8).p for _ in range(1000)])
    assert 0.01 < (ps <= 0.05).mean() <= 0.05


def test_by_label():
    labels = np.repeat(["a", "b"], [9, 4])
    first = np.array([True] * 8 + [False] + [True, False, True, False])
    second = np.array([False] * 8 + [True] + [True, False, False, True])
    found = mcnemar_by_label(labels, first, second)
    assert found["a"] == mcnemar(*pair(0, 8, 1, 0)) and found["b"] == (1, 1, 1.0)
