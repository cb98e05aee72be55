"""Confidence: hand-sized cases, scikit-learn's numbers, predictors whose calibration is planted."""

import numpy as np
import pytest
from sklearn import metrics as sk

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import LabelPrediction
from scrutiny.metrics.calibration import Calibration, calibrate, selective_risk

AB = np.array(["a", "b"])


def prediction(of_a):
    of_a = np.asarray(of_a, np.float32)
    ids = np.array([f"c{i:05d}" for i in range(len(of_a))])
    return LabelPrediction(ids, AB, np.stack([of_a, 1 - of_a], axis=1))


def evidence(of_a, labels, **more):
    return Evidence({"prediction": prediction(of_a), "labels": np.asarray(labels), **more})


def planted(n=20_000, seed=0, power=1.0):
    """Cells whose chance of being a is known, told after raising the odds to ``power``: 1 is calibrated, above 1 too sure."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.02, 0.98, n)
    labels = np.where(rng.random(n) < chance, "a", "b")
    odds = (chance / (1 - chance)) ** power
    return odds / (1 + odds), labels


def test_ece_by_hand():
    """Four cells at 0.9, of which two are right, and one at 0.6 that is right: (4 |0.9 - 0.5| + |0.6 - 1|) / 5."""
    measured = evidence([0.9, 0.9, 0.9, 0.1, 0.6], list("aabaa")).measure("ece")
    assert measured.value == pytest.approx((4 * 0.4 + 0.4) / 5)
    assert [(b["cells"], b["confidence"], b["accuracy"]) for b in measured.details["reliability"]] == [(1, 0.6, 1.0), (4, 0.9, 0.5)]


def test_confidence_on_the_edge_of_a_bin_counts_below_it():
    """0.8 = 12/15 ends the bin of 0.79, also as float32, which is a little more: |mean of both - 1/2|, in bins (low, high] as Guo et al."""
    measured = evidence([0.8, 0.79], list("ab"))
    assert measured["ece"] == pytest.approx(abs((0.8 + 0.79) / 2 - 0.5))


def test_a_calibrated_predictor_has_no_error_and_one_too_sure_has_the_planted_one():
    assert evidence(*planted())["ece"] < 0.01
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(10_000) < 0.7, "a", "b")
    assert evidence(np.full(10_000, 0.95), labels)["ece"] == pytest.approx(0.25, abs=0.015), "says 0.95, is right in 0.7"
    odds, labels = planted(power=3.0)
    assert evidence(odds, labels)["ece"] > 0.1


def test_temperature_undoes_the_planted_power():
    """Odds raised to the power 3 are brought back by the temperature 3, and then the error is gone."""
    told, labels = planted(power=3.0)
    found = calibrate(prediction(told), labels, AB)
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert evidence(told, labels, calibration=found)["ece_calibrated"] < 0.015
    again = calibrate(prediction(planted()[0]), planted()[1], AB)
    assert again.temperature == pytest.approx(1.0, abs=0.05)


def test_the_threshold_rejects_one_in_twenty_of_cells_like_those_it_was_set_on():
    """At most 5 % in the mean over draws, and of 19 cells the least sure sets it."""
    shares = []
    for seed in range(40):
        told, labels = planted(n=600, seed=seed)
        found = calibrate(prediction(told[:199]), labels[:199], AB)
        shares.append(1 - evidence(told[199:], labels[199:], calibration=found)["coverage"])
    assert np.mean(shares) == pytest.approx(0.05, abs=0.008)
    told, labels = np.linspace(0.6, 0.96, 19), np.full(19, "a")
    found = calibrate(prediction(told), labels, AB)
    assert found.threshold == found.confidence(found.applied_to(prediction(told))).min()
    with pytest.raises(NotApplicable, match="too few to calibrate on"):
        calibrate(prediction(told[:18]), labels[:18], AB)


def test_calibrated_probabilities_keep_the_label_and_add_up():
    told, labels = planted(n=200)
    found = Calibration(2.5, 0.0, AB).applied_to(prediction(told))
    np.testing.assert_array_equal(found.labels, prediction(told).labels)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    odds = (told.astype(np.float32) / (1 - told.astype(np.float32))) ** (1 / 2.5)
    np.testing.assert_allclose(found.probabilities[:, 0], odds / (1 + odds), rtol=1e-4)


def test_a_label_that_could_not_be_learnt_gives_no_confidence():
    only_a = Calibration(1.0, 0.5, np.array(["a"]))
    assert only_a.confidence(prediction([0.9, 0.2])).tolist() == [pytest.approx(0.9), pytest.approx(0.2)]


def test_brier_is_that_of_scikit_learn_twice():
    """For two labels the sum over both is twice the score of one."""
    told, labels = planted(n=500)
    assert evidence(told, labels)["brier"] == pytest.approx(2 * sk.brier_score_loss(labels == "a", told.astype(np.float32)), rel=1e-5)
    assert evidence([1.0], ["never told"])["brier"] == 2.0, "all on a wrong label, and 1 missing for the true one"


def test_risk_and_coverage_by_hand():
    """Sure to doubtful: right, wrong, right, right. Shares of wrong ones: 0, 1/2, 1/3, 1/4."""
    found = evidence([0.95, 0.9, 0.8, 0.7], list("abaa"))
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found["accuracy_at_90_coverage"] == 0.75, "nine tenths of four cells are four"


def test_equally_sure_cells_come_in_any_order():
    right = np.array([1.0, 0, 0, 1, 1])
    np.testing.assert_allclose(selective_risk(np.full(5, 0.8), right), 0.4)
    confidence = np.array([0.9, 0.8, 0.8, 0.8, 0.7])
    np.testing.assert_allclose(selective_risk(confidence, right), selective_risk(confidence[[0, 3, 2, 1, 4]], right[[0, 3, 2, 1, 4]]))


def test_coverage_and_accuracy_of_what_is_accepted_by_hand():
    found = evidence([0.95, 0.9, 0.2, 0.55], list("aabb"), calibration=Calibration(1.0, 0.8, AB))
    assert found["coverage"] == 0.75 and found["accuracy_accepted"] == 1.0
    assert found.measure("accuracy_accepted").per_cell[3] != found.measure("accuracy_accepted").per_cell[3], "NaN: it is not accepted"
    with pytest.raises(NotApplicable, match="none of the 1 cells is accepted"):
        evidence([0.5], ["a"], calibration=Calibration(1.0, 0.8, AB))["accuracy_accepted"]
