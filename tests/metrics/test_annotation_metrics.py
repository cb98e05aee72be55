"""Scores of told labels: hand-sized cases, scikit-learn's numbers, planted label noise."""

import time

import numpy as np
import pytest
from sklearn import metrics as sk

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import LabelPrediction
from scrutiny.engine.resample import deal, replicates
from scrutiny.metrics.annotation import interval

HAND_TRUE = np.array(list("aaaabbbc"))
HAND_TOLD = np.array(list("aaabbbaa"))
"""Hits a 3, b 2, c 0; told a 5, b 3, c 0."""


def told(labels, names=None):
    """A prediction that holds these labels (n_cells,) to be sure."""
    labels = np.asarray(labels)
    names = np.unique(labels) if names is None else np.array(names)
    ids = np.array([f"c{i:05d}" for i in range(len(labels))])
    return LabelPrediction(ids, names, (labels[:, None] == names).astype(np.float32))


def evidence(true, predicted, **more):
    return Evidence({"prediction": told(predicted), "labels": np.asarray(true), **more})


def random_labels(seed=0, n=400):
    rng = np.random.default_rng(seed)
    true = rng.choice(list("abcde"), n, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    predicted = np.where(rng.random(n) < 0.3, rng.choice(list("abcdefg"), n), true)
    return true, predicted


def test_f1_by_hand():
    measured = evidence(HAND_TRUE, HAND_TOLD, labelled_cells={"a": 10, "b": 7}).measure("macro_f1")
    f1 = {"a": 6 / 9, "b": 4 / 6, "c": 0.0}
    assert measured.value == pytest.approx(sum(f1.values()) / 3)
    table = measured.details["labels"]
    assert {name: row["f1"] for name, row in table.items()} == {name: pytest.approx(value, abs=1e-4) for name, value in f1.items()}
    assert table["a"] | {"f1_low": 0, "f1_high": 0} == {
        "cells": 4, "recall": 0.75, "f1": 0.6667, "precision": 0.6, "trained_on": 10, "f1_low": 0, "f1_high": 0,
    }  # fmt: skip
    more = evidence(HAND_TRUE, HAND_TOLD, labelled_cells={"a": 10, "b": 7, "nobody": 3}).measure("macro_f1")
    assert more.details["labelled_cells"] == 20 and more.details["labels"] == table
    assert "precision" not in table["c"] and table["c"]["trained_on"] == 0, "c is never told, so nothing can be said of its precision"
    assert measured.details["confusion"] == {"true": ["a", "b", "c"], "told": ["a", "b"], "counts": [[3, 1], [1, 2], [1, 0]]}


def test_the_interval_of_f1_is_that_of_the_jaccard_index():
    """3 hits of 6 cells that have or are told a: Wilson's interval of 3 / 6 is (0.1876, 0.8124), and F1 = 2 J / (1 + J)."""
    low, high = interval(np.array([3]), np.array([6]))[:, 0]
    assert (low, high) == (pytest.approx(0.18761, abs=1e-5), pytest.approx(0.81239, abs=1e-5))
    row = evidence(HAND_TRUE, HAND_TOLD).measure("macro_f1").details["labels"]["a"]
    assert (row["f1_low"], row["f1_high"]) == (pytest.approx(2 * low / (1 + low), abs=1e-4), pytest.approx(2 * high / (1 + high), abs=1e-4))


def test_intervals_of_f1_hold_the_truth_in_95_of_100_draws():
    """Labels of a large population told right with a known chance; cells are drawn 400 times."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        true = rng.choice(["a", "b"], 120, p=[0.3, 0.7])
        predicted = np.where(rng.random(120) < 0.8, true, np.where(true == "a", "b", "a"))
        row = evidence(true, predicted).measure("macro_f1").details["labels"]["a"]
        covered += row["f1_low"] <= 2 * 0.24 / (0.3 + 0.38) <= row["f1_high"]
    assert 0.93 <= covered / 400 <= 0.975


def test_values_are_those_of_scikit_learn():
    true, predicted = random_labels()
    found, labels = evidence(true, predicted), np.unique(true)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro", labels=labels))
    assert found["weighted_f1"] == pytest.approx(sk.f1_score(true, predicted, average="weighted", labels=labels))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(sk.recall_score(true, predicted, average=None, labels=labels)))
    assert found["cohen_kappa"] == pytest.approx(sk.cohen_kappa_score(true, predicted))


def test_rare_labels_are_those_of_less_than_one_in_a_hundred_training_cells():
    true, predicted = np.array(list("aabbcc")), np.array(list("aabbca"))
    found = evidence(true, predicted, training_cells={"a": 900, "b": 991, "c": 9, "never asked": 1})
    measured = found.measure("macro_f1_rare")
    assert measured.value == pytest.approx(2 / 3) and measured.details == {"labels": ["c"], "cells": 2}
    with pytest.raises(NotApplicable, match="no label of these cells is rare"):
        evidence(true, predicted, training_cells={"a": 10, "b": 10, "c": 10})["macro_f1_rare"]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
def test_planted_label_noise_is_what_accuracy_loses(noise):
    """A share of the labels is exchanged for another one: the perfect method is right on the others, within 4 standard errors."""
    rng, n = np.random.default_rng(3), 4000
    right = rng.choice(["a", "b", "c", "d"], n)
    following = np.array(["a", "b", "c", "d"])[(np.searchsorted(["a", "b", "c", "d"], right) + rng.integers(1, 4, n)) % 4]
    noisy = np.where(rng.random(n) < noise, following, right)
    found = evidence(noisy, right)
    slack = 4 * np.sqrt(noise * (1 - noise) / n)
    assert found["accuracy"] == pytest.approx(1 - noise, abs=slack + 1e-12)
    assert found["cohen_kappa"] == pytest.approx(1 - noise * 4 / 3, abs=2 * slack + 1e-12)


def test_the_commonest_label_for_all_has_no_kappa_and_little_macro_f1():
    true, _ = random_labels()
    found = evidence(true, np.full(len(true), "a"))
    assert found["cohen_kappa"] == pytest.approx(0.0)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, np.full(len(true), "a"), average="macro"))
    with pytest.raises(NotApplicable, match="one label"):
        evidence(["a"] * 4, ["a"] * 4)["cohen_kappa"]


def test_replicates_of_macro_f1_are_fast_and_right():
    """200 parts of 5,000 cells with 30 labels; a part has the value that its cells alone have."""
    rng = np.random.default_rng(0)
    names = np.array([f"type {i:02d}" for i in range(30)])
    true = rng.choice(names, 5000)
    predicted = np.where(rng.random(5000) < 0.3, rng.choice(names, 5000), true)
    found = evidence(true, predicted)
    found.measure("macro_f1")
    dealt = deal(true, found["prediction"].cell_ids, repeats=20)
    started = time.perf_counter()
    parts = replicates(found, "macro_f1", dealt)
    assert time.perf_counter() - started < 2.0, "about 0.2 s on an idle machine"
    rows = dealt.folds[0] != 0
    assert parts.kept[0] == pytest.approx(evidence(true[rows], predicted[rows])["macro_f1"])
