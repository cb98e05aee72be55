"""Mutual nearest neighbours: pairs by hand, planted shifts undone, and what cannot be undone left alone."""

import numpy as np

from scrutiny.methods.mutual_neighbors import correct, mutual_pairs


def test_pairs_by_hand():
    left, right = np.array([[0.0], [1.0], [10.0]]), np.array([[0.1], [9.0]])
    pairs = mutual_pairs(left, right, k=1)
    assert list(zip(*pairs, strict=True)) == [(0, 0), (2, 1)], "cell 1 is nearest to 0.1, but 0.1 is nearer to cell 0"


def two_types(shift, *, n=150, seed=0):
    """Two types 10 apart in 5 dimensions, measured twice, the second time shifted: all cells, their batch and type."""
    rng = np.random.default_rng(seed)
    types = np.repeat([0, 1], n)
    clean = rng.normal(0, 1, (2 * n, 5)) + 10 * np.eye(5)[types]
    batches = np.array(["a", "b"])[rng.permutation(2 * n) % 2]
    return clean + np.where(batches == "b", 1.0, 0.0)[:, None] * np.asarray(shift), batches, types


def test_a_shift_across_the_types_is_undone():
    """The shift is orthogonal to what tells the types apart, the assumption of Haghverdi et al. 2018."""
    shift = [0.0, 0.0, 6.0, 0.0, 0.0]
    values, batches, types = two_types(shift)
    corrected = correct(values, batches)
    for kind in (0, 1):
        before, after = (
            np.linalg.norm(x[(batches == "b") & (types == kind)].mean(0) - x[(batches == "a") & (types == kind)].mean(0))
            for x in (values, corrected)
        )
        assert before > 5.5
        assert after < 0.6


def test_a_type_of_one_batch_only_is_not_drawn_into_another():
    values, batches, types = two_types([0.0, 0.0, 3.0, 0.0, 0.0])
    kept = ~((batches == "b") & (types == 1))
    corrected, types = correct(values[kept], batches[kept]), types[kept]
    centres = [corrected[types == kind].mean(axis=0) for kind in (0, 1)]
    assert np.linalg.norm(centres[0] - centres[1]) > 12, "10 * sqrt(2) apart before"


def test_rows_stay_where_they_are_and_the_input_is_not_changed():
    values, batches, _ = two_types([0.0, 0.0, 6.0, 0.0, 0.0])
    copy, rows = values.copy(), np.random.default_rng(1).permutation(len(values))
    np.testing.assert_allclose(correct(values[rows], batches[rows]), correct(values, batches)[rows], atol=1e-8)
    np.testing.assert_array_equal(values, copy)


def test_small_and_equal_batches():
    values = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0], [5.0, 5.0], [9.0, 9.0]])
    corrected = correct(values, np.array(["a", "a", "b", "b", "c"]))
    assert np.isfinite(corrected).all()
    np.testing.assert_allclose(corrected, 0.0, atol=1e-12)
