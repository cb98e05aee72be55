"""Intervals on planted truth: coverage, false positives, Holm by hand."""

import numpy as np
import pandas as pd
import pytest
from made_tables import deal
from scipy import stats

from scrutiny.core.errors import NotApplicable
from scrutiny.engine.resample import N_FOLDS
from scrutiny.report.intervals import against_best, holm, interval

TRIALS = 400


def binomial_bounds(probability: float) -> tuple[float, float]:
    """Where the share of TRIALS lies in all but one of ten thousand simulations."""
    low, high = stats.binom.ppf([0.00005, 0.99995], TRIALS, probability)
    return low / TRIALS, high / TRIALS


@pytest.mark.parametrize("repeats", [1, 4])
def test_interval_of_a_paired_difference_covers_the_truth_in_95_percent(repeats):
    rng = np.random.default_rng([0, repeats])
    truth, covered = 0.1, 0
    for _ in range(TRIALS):
        shared = rng.standard_normal((120, 1))
        cells = shared + 0.3 * rng.standard_normal((120, 2)) + [truth, 0.0]
        kept, _ = deal(cells, repeats, rng)
        found = interval(kept[:, 0] - kept[:, 1])
        covered += found.low <= truth <= found.high
    low, high = binomial_bounds(0.95)
    assert low <= covered / TRIALS <= high


def test_standard_error_of_a_mean_is_that_of_the_textbook():
    rng = np.random.default_rng(1)
    cells = rng.standard_normal((500, 1))
    kept, _ = deal(cells, 400, rng)
    assert interval(kept[:, 0]).standard_error == pytest.approx(cells.std(ddof=1) / np.sqrt(500), rel=0.06)


def test_one_deal_by_hand():
    found = interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    error = np.sqrt(4 * 2.0)  # (n - d) / d = 4, mean squared deviation = 2
    assert found.standard_error == pytest.approx(error)
    assert found.degrees_of_freedom == N_FOLDS - 1
    assert (found.low, found.high) == pytest.approx((3 - 2.7764451 * error, 3 + 2.7764451 * error))  # t quantile from tables, 4 df


def test_no_model_beats_by_chance_when_all_are_equal():
    rng = np.random.default_rng(2)
    names = ["base_a", "base_b", "model_a", "model_b", "model_c"]
    false = 0
    for _ in range(TRIALS):
        cells = rng.standard_normal((100, 1)) + rng.standard_normal((100, 5))
        kept, held = (pd.DataFrame(part, columns=names) for part in deal(cells, 1, rng))
        tests = {m: against_best(m, names[:2], kept, held).difference for m in names[2:]}
        adjusted = holm({m: d.p for m, d in tests.items()})
        false += any(d.low > 0 and adjusted[m] <= 0.05 for m, d in tests.items())
    assert false / TRIALS <= 0.05


def test_the_rival_is_chosen_on_the_cells_that_are_not_compared():
    kept = pd.DataFrame({"m": [0.5] * 5, "a": [0.9] * 5, "b": [0.1] * 5})
    held = pd.DataFrame({"m": [0.5] * 5, "a": [0.2] * 5, "b": [0.3] * 5})
    found = against_best("m", ["a", "b"], kept, held)
    assert found.chosen == {"b": 5}
    assert found.rival == "b"
    assert found.difference.estimate == pytest.approx(0.4)


def test_replicates_without_a_value_are_left_out():
    nan = np.nan
    kept = pd.DataFrame({"m": [0.5, 0.6, 0.5, 0.6, nan, 0.5], "a": [0.4] * 6, "b": [0.1] * 6, "never": [nan] * 6})
    held = pd.DataFrame({"m": [nan] * 6, "a": [0.9, 0.1, 0.9, 0.9, 0.9, 0.9], "b": [0.2] * 6, "never": [0.9] * 6})
    found = against_best("m", ["a", "b", "never"], kept, held)
    assert found.chosen == {"a": 4, "b": 1}
    assert found.difference.estimate == pytest.approx((0.1 + 0.5 + 0.1 + 0.2 + 0.1) / 5)


def test_against_one_rival_it_is_the_paired_difference():
    rng = np.random.default_rng(3)
    kept, held = (pd.DataFrame(part, columns=["m", "a"]) for part in deal(rng.standard_normal((60, 2)), 3, rng))
    assert against_best("m", ["a"], kept, held).difference == interval((kept["m"] - kept["a"]).to_numpy())


def test_many_equal_rivals_do_not_hide_a_difference():
    """The choice among rivals is noise that replicates average out: more of them must not widen the interval."""
    rng = np.random.default_rng(4)
    cells = rng.standard_normal((200, 1)) + 0.8 * rng.standard_normal((200, 8)) + 0.3 * (np.arange(8) == 0)
    names = [f"m{i}" for i in range(8)]
    few, many = (
        against_best("m0", names[1:], *(pd.DataFrame(part, columns=names) for part in deal(cells, repeats, rng))).difference
        for repeats in (4, 20)
    )
    assert many.low > 0
    assert many.standard_error < 1.3 * few.standard_error


def test_too_few_replicates_are_said_to_be():
    with pytest.raises(NotApplicable, match="needs 4 replicates; 2 of 5"):
        interval(np.array([0.1, 0.2, np.nan, np.nan, np.nan]))
    with pytest.raises(NotApplicable, match="no replicates"):
        against_best("m", ["a"], pd.DataFrame({"m": [0.1]}), pd.DataFrame({"m": [0.1]}))


def test_identical_methods_have_no_evidence_of_a_difference():
    assert interval(np.zeros(5)).p == 1.0


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.015 * 3 = 0.045, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04 raised to 0.06.
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.015})
    assert found == pytest.approx({"b": 0.04, "d": 0.045, "c": 0.06, "a": 0.06})


def test_holm_stays_a_probability():
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
