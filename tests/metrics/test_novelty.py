"""Cells of unseen types: hand-sized cases, scikit-learn's AUROC, methods that reject all or nothing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import LabelPrediction
from scrutiny.metrics.calibration import Calibration

NAMES = np.array(["a", "b"])


def evidence(of_a, labels, threshold=0.8):
    of_a, labels = np.asarray(of_a, np.float32), np.asarray(labels)
    ids = np.array([f"c{i:03d}" for i in range(len(labels))])
    told = LabelPrediction(ids, NAMES, np.stack([of_a, 1 - of_a], axis=1))
    return Evidence({"prediction": told, "labels": labels, "seen": labels != "new", "calibration": Calibration(1.0, threshold, NAMES)})


HAND = ([0.9, 0.7, 0.1, 0.6, 0.95], ["a", "a", "b", "new", "new"])
"""Confidence 0.9, 0.7, 0.9 of seen cells, all right; 0.6 and 0.95 of unseen ones."""


def test_by_hand():
    found = evidence(*HAND)
    assert found["macro_f1_seen"] == 1.0
    assert found["unseen_rejected"] == 0.5
    assert found["seen_accepted"] == pytest.approx(2 / 3)
    kept = (2 / 3 + 1) / 2  # of two cells of a one is rejected: F1 = 2 / (2 + 1); b is told
    assert found["seen_unseen_harmonic"] == pytest.approx(2 * kept * 0.5 / (kept + 0.5))
    assert found["novelty_auroc"] == 3 / 6, "0.6 lies below all three, 0.95 above all three"
    types = found.measure("unseen_rejected").details["types"]
    assert types == {"new": {"cells": 2, "rejected": 1, "taken_for": {"a": 1}}}


def test_novelty_is_the_auroc_of_scikit_learn_ties_included():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "new"], 300)
    of_a = np.round(np.where(labels == "new", rng.uniform(0.3, 0.8, 300), rng.uniform(0.5, 1.0, 300)), 1)
    found = evidence(of_a, labels)
    assert found["novelty_auroc"] == pytest.approx(roc_auc_score(labels == "new", 1 - found["confidence"]))


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_who_rejects_nothing_or_all_gets_nothing(threshold):
    assert evidence(*HAND, threshold=threshold)["seen_unseen_harmonic"] == 0.0


def test_both_kinds_of_cells_are_needed():
    for name in ("macro_f1_seen", "novelty_auroc", "unseen_rejected", "seen_accepted", "seen_unseen_harmonic"):
        with pytest.raises(NotApplicable, match="some of each are needed"):
            evidence([0.9, 0.1], ["a", "b"])[name]
