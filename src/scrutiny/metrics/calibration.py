"""Whether cells that are held to be sure are right: calibration, and what can be kept when doubtful cells are sent back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .annotation import ToldLabels, interval

N_BINS = 15
LEAST = 1e-6
"""Probabilities are raised to this before their logarithm is taken: a vote of 15 neighbours gives zeros."""
SPAN = (0.05, 20.0)
"""Temperatures that are tried."""
REJECTED = 0.05
"""Share of cells like those of the reference that may be rejected."""
FEWEST = int(1 / REJECTED) - 1
"""Cells below which no threshold rejects as few as that."""
COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class Calibration:
    """How probabilities of a method are read, from cells whose labels are known and which it was not fitted on.

    Attributes
    ----------
    temperature
        Probabilities are raised to the power of 1 / temperature: above 1 the method was too sure.
    threshold
        Cells of less calibrated confidence are rejected.
    labels
        (n_labels,) that the method could learn; confidence is the largest probability among these.
    """

    temperature: float
    threshold: float
    labels: NDArray[np.str_]

    def applied_to(self, prediction: LabelPrediction) -> LabelPrediction:
        """The prediction with calibrated probabilities; the likeliest label stays."""
        return replace(prediction, probabilities=_tempered(prediction.probabilities, self.temperature).astype(np.float32))

    def confidence(self, calibrated: LabelPrediction) -> NDArray[np.float64]:
        """(n_cells,) largest calibrated probability of a label that could be learnt, 0 if it knows none of them."""
        learnt = np.isin(calibrated.label_names, self.labels)
        largest = calibrated.probabilities.max(axis=1, where=learnt, initial=0.0)
        return np.round(largest.astype(np.float64), 6)  # equal cells must not differ by the place that they have in an array


def calibrate(prediction: LabelPrediction, labels: NDArray[np.str_], learnt: NDArray[np.str_]) -> Calibration:
    """Temperature and threshold from cells of known label that the method was not fitted on.

    The temperature makes the true labels likeliest (C. Guo et al., ICML 2017). The threshold is the confidence of rank
    floor(0.05 (n + 1)) among the n cells, so that of further cells like these at most 5 % are rejected (split conformal prediction;
    V. Vovk et al., Algorithmic Learning in a Random World, 2005). Cells that are unlike these may be rejected more often.

    Parameters
    ----------
    prediction, labels
        Of the n cells, at least `FEWEST`.
    learnt
        (n_labels,) that the method could learn.

    Raises
    ------
    NotApplicable
        If there are fewer cells.
    """
    if len(labels) < FEWEST:
        raise NotApplicable(f"{len(labels)} cells are too few to calibrate on; at least {FEWEST} with a label are needed")
    warm = Calibration(_best_temperature(prediction, labels), 0.0, learnt)
    rising = np.sort(warm.confidence(warm.applied_to(prediction)))
    return replace(warm, threshold=float(rising[int(REJECTED * (len(labels) + 1) + 1e-9) - 1]))


def _best_temperature(prediction: LabelPrediction, labels: NDArray[np.str_]) -> float:
    from scipy.optimize import minimize_scalar

    logs = np.log(np.maximum(prediction.probabilities.astype(np.float64), LEAST))
    true = labels[:, None] == prediction.label_names
    of_true = np.where(true.any(axis=1), (logs * true).sum(axis=1), np.log(LEAST))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, axis=1) - of_true / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(SPAN)), method="bounded", options={"xatol": 1e-5})
    return float(np.round(np.exp(found.x), 3))


def _tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@derived("calibrated", rowwise=True)
def calibrated(prediction: LabelPrediction, calibration: Calibration) -> LabelPrediction:
    """The prediction with calibrated probabilities."""
    return calibration.applied_to(prediction)


@derived("confidence", rowwise=True)
def confidence(calibrated: LabelPrediction, calibration: Calibration) -> NDArray[np.float64]:
    """(n_cells,) calibrated probability of the likeliest label that could be learnt.

    Raises
    ------
    NotApplicable
        If there are no cells.
    """
    if not calibrated.n_cells:
        raise NotApplicable("there are no cells that could be told")
    return calibration.confidence(calibrated)


def reliability(confidence: NDArray[np.floating], right: NDArray[np.floating]) -> list[dict[str, float]]:
    """Bins of a reliability diagram that hold cells: ``cells``, mean ``confidence``, ``accuracy`` with ``low`` and ``high`` (95 %).

    Parameters
    ----------
    confidence, right
        (n_cells,) probability of the told label; 1 where it is right, else 0.
    """
    place = np.round(confidence * N_BINS, 5)  # the end of a bin belongs to it, also where float32 made it a little more
    of_cell = np.clip(np.ceil(place).astype(int) - 1, 0, N_BINS - 1)
    cells, hits, total = (np.bincount(of_cell, weights=w, minlength=N_BINS) for w in (None, right, confidence))
    low, high = interval(hits, cells)
    return [
        {"cells": int(cells[i]), "confidence": total[i] / cells[i], "accuracy": hits[i] / cells[i], "low": low[i], "high": high[i]}
        for i in np.flatnonzero(cells)
    ]


def _expected_error(prediction: LabelPrediction, told: ToldLabels, **details: Any) -> Measured:
    bins = reliability(prediction.confidence.astype(np.float64), told.right)
    gap = sum(b["cells"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / told.n_cells
    return Measured(float(gap), details={"reliability": [{k: round(v, 4) for k, v in b.items()} for b in bins], **details})


def _card(name: str, recipe: str, better: Literal["higher", "lower"] = "higher", **more: Any) -> MetricCard:
    return MetricCard(name, "calibration", better, low=0.0, high=1.0, recipe=recipe, floor=None, roof=None, **more)


ECE = f"Mean over cells, in {N_BINS} bins of equal width of the probability of the told label, of |mean probability - share told right|."
GUO = "C. Guo et al., On calibration of modern neural networks, ICML 2017"


@metric(_card("ece", f"{ECE} Probabilities as the method gives them.", "lower", source=GUO))
def ece(prediction: LabelPrediction, told_labels: ToldLabels) -> Measured:
    """By how much the method is surer, or less sure, than it is right.

    Parameters
    ----------
    prediction, told_labels
        Of n_cells.
    """
    return _expected_error(prediction, told_labels)


@metric(_card("ece_calibrated", f"{ECE} Probabilities after temperature scaling on cells of the reference.", "lower", source=GUO))
def ece_calibrated(calibrated: LabelPrediction, told_labels: ToldLabels, calibration: Calibration) -> Measured:
    """By how much calibrated probabilities miss.

    Parameters
    ----------
    calibrated, told_labels
        Of n_cells.
    calibration
        How the probabilities were calibrated.
    """
    return _expected_error(calibrated, told_labels, temperature=calibration.temperature)


@metric(
    MetricCard(
        name="brier",
        family="calibration",
        better="lower",
        low=0.0,
        high=2.0,
        recipe="Mean over cells of the squared distance between the told probabilities and 1 for the true label, 0 for the others.",
        source="G. W. Brier, Monthly Weather Review 78:1 (1950)",
        floor=None,
        roof=None,
        per_cell=True,
    )
)
def brier(prediction: LabelPrediction, labels: NDArray[Any]) -> Measured:
    """How far the told probabilities are from the truth.

    Parameters
    ----------
    prediction
        Of n_cells.
    labels
        (n_cells,) the truth.

    Raises
    ------
    NotApplicable
        If there are no cells.
    """
    if not len(labels):
        raise NotApplicable("there are no cells whose labels could be compared")
    true = np.asarray(labels, str)[:, None] == prediction.label_names
    squares = ((prediction.probabilities - true) ** 2).sum(axis=1, dtype=np.float64) + ~true.any(axis=1)
    return Measured(float(squares.mean()), per_cell=squares)


def selective_risk(confidence: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of wrong labels among the i surest cells, (n_cells,) for i = 1 to n_cells; equal cells come in every order alike.

    Parameters
    ----------
    confidence, right
        (n_cells,) probability of the told label; 1 where it is right, else 0.
    """
    _, group, sizes = np.unique(-np.asarray(confidence, np.float64), return_inverse=True, return_counts=True)
    wrong = np.bincount(group, weights=1 - right) / sizes
    return np.asarray(np.cumsum(np.repeat(wrong, sizes)) / np.arange(1, len(right) + 1))


@metric(
    _card(
        "aurc",
        "Mean over i of the share of wrong labels among the i surest cells; equally sure ones count as their mean.",
        "lower",
        source="Y. Geifman et al., Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019",
    )
)
def aurc(prediction: LabelPrediction, told_labels: ToldLabels) -> Measured:
    """Area under the risk-coverage curve: errors that are left as the doubtful cells are sent back one by one.

    Parameters
    ----------
    prediction, told_labels
        Of n_cells.
    """
    risk = selective_risk(prediction.confidence, told_labels.right)
    shares = np.arange(0.1, 1.01, 0.1)
    curve = {f"{share:.1f}": round(float(risk[_rank(share, len(risk))]), 4) for share in shares}
    return Measured(float(risk.mean()), details={"risk_at_coverage": curve})


@metric(_card("accuracy_at_90_coverage", "Share of right labels among the 90 % surest cells; equally sure ones count as their mean."))
def accuracy_at_90_coverage(prediction: LabelPrediction, told_labels: ToldLabels) -> float:
    """Accuracy if one cell in ten may be sent back.

    Parameters
    ----------
    prediction, told_labels
        Of n_cells.
    """
    risk = selective_risk(prediction.confidence, told_labels.right)
    return float(1 - risk[_rank(COVERAGE, len(risk))])


def _rank(share: float, n_cells: int) -> int:
    return max(int(np.ceil(share * n_cells - 1e-9)), 1) - 1


ACCEPTED = f"Accepted: calibrated confidence not below the threshold that accepts {1 - REJECTED:.0%} of cells like the reference."


@metric(_card("coverage", f"Share of cells that are accepted. {ACCEPTED}", per_cell=True))
def coverage(confidence: NDArray[np.floating], calibration: Calibration) -> Measured:
    """Share of cells that get a label at all: far below 95 %, the query is unlike the reference.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    calibration
        Its threshold.
    """
    accepted = (confidence >= calibration.threshold).astype(np.float64)
    return Measured(float(accepted.mean()), per_cell=accepted, details={"threshold": calibration.threshold})


@metric(_card("accuracy_accepted", f"Share of right labels among accepted cells. {ACCEPTED}", per_cell=True))
def accuracy_accepted(confidence: NDArray[np.floating], calibration: Calibration, told_labels: ToldLabels) -> Measured:
    """Accuracy of the cells that are not sent back.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    calibration
        Its threshold.
    told_labels
        Of n_cells.

    Raises
    ------
    NotApplicable
        If no cell is accepted.
    """
    accepted = confidence >= calibration.threshold
    if not accepted.any():
        raise NotApplicable(f"none of the {len(accepted)} cells is accepted, so none is told right or wrong")
    right = np.where(accepted, told_labels.right, np.nan)
    return Measured(float(np.nanmean(right)), per_cell=right)
