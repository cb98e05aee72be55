"""Cells of types that nobody could learn: are they noticed, and are the others still told?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .annotation import FLOOR, ToldLabels, by_label, confusion_of
from .calibration import ACCEPTED, Calibration

MOST_NAMED = 5
"""Labels that a report lists of those that unseen cells are told."""


def _both(seen: NDArray[np.bool_]) -> None:
    if seen.all() or not seen.any():
        raise NotApplicable(f"of {len(seen)} cells {np.count_nonzero(~seen)} are of a type held out of training; some of each are needed")


def _macro_f1(told: ToldLabels) -> float:
    return float(told.f1[told.n_true > 0].mean())


@metric(
    MetricCard(
        name="macro_f1_seen",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Unweighted mean of F1 over the labels that could be learnt, on their cells only; nothing is rejected.",
        floor=FLOOR,
    )
)
def macro_f1_seen(told_labels: ToldLabels, seen: NDArray[np.bool_]) -> Measured:
    """How well labels that could be learnt are told.

    Parameters
    ----------
    told_labels
        Of n_cells.
    seen
        (n_cells,) whether the label of the cell could be learnt.

    Raises
    ------
    NotApplicable
        If all cells are of one kind.
    """
    _both(seen)
    told = told_labels.part(seen)
    return Measured(_macro_f1(told), details={"labels": by_label(told), "confusion": confusion_of(told)})


@metric(
    MetricCard(
        name="novelty_auroc",
        family="calibration",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=(
            "Chance that a cell of an unseen type is less sure (calibrated confidence) than one of a seen type; ties half. Confidence is "
            "the largest probability of a label that could be learnt."
        ),
        source="D. Hendrycks and K. Gimpel, ICLR 2017; scikit-learn roc_auc_score",
        floor=FLOOR,
    )
)
def novelty_auroc(confidence: NDArray[np.floating], seen: NDArray[np.bool_]) -> float:
    """How well doubt tells cells of unseen types from others.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    seen
        (n_cells,) whether the label of the cell could be learnt.

    Raises
    ------
    NotApplicable
        If all cells are of one kind.
    """
    from scipy.stats import rankdata

    _both(seen)
    n_seen, n_unseen = np.count_nonzero(seen), np.count_nonzero(~seen)
    return float((rankdata(confidence)[seen].sum() - n_seen * (n_seen + 1) / 2) / (n_seen * n_unseen))


@metric(
    MetricCard(
        name="unseen_rejected",
        family="calibration",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=f"Share of the cells of unseen types that are not accepted. {ACCEPTED}",
        floor=FLOOR,
        per_cell=True,
    )
)
def unseen_rejected(
    confidence: NDArray[np.floating], calibration: Calibration, seen: NDArray[np.bool_], told_labels: ToldLabels
) -> Measured:
    """Share of the cells of unseen types that are noticed.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    calibration
        Its threshold.
    seen
        (n_cells,) whether the label of the cell could be learnt.
    told_labels
        Of n_cells, for what the others are taken for.

    Raises
    ------
    NotApplicable
        If all cells are of one kind.
    """
    _both(seen)
    rejected = confidence < calibration.threshold
    types = {
        str(told_labels.names[code]): _taken_for(told_labels.part(rows), rejected[rows])
        for code in np.unique(told_labels.true[~seen])
        for rows in [np.flatnonzero(told_labels.true == code)]
    }
    per_cell = np.where(seen, np.nan, rejected)
    return Measured(float(np.nanmean(per_cell)), per_cell=per_cell, details={"types": types})


def _taken_for(told: ToldLabels, rejected: NDArray[np.bool_]) -> dict[str, Any]:
    counts = told.part(~rejected).n_told
    order = [i for i in np.argsort(-counts, kind="stable")[:MOST_NAMED] if counts[i]]
    return {"cells": told.n_cells, "rejected": int(rejected.sum()), "taken_for": {str(told.names[i]): int(counts[i]) for i in order}}


@metric(
    MetricCard(
        name="seen_accepted",
        family="calibration",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=f"Share of the cells of seen types that are accepted. {ACCEPTED}",
        floor=None,
        roof=None,
        per_cell=True,
    )
)
def seen_accepted(confidence: NDArray[np.floating], calibration: Calibration, seen: NDArray[np.bool_]) -> Measured:
    """Share of the cells of learnt types that are not sent back.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    calibration
        Its threshold.
    seen
        (n_cells,) whether the label of the cell could be learnt.

    Raises
    ------
    NotApplicable
        If all cells are of one kind.
    """
    _both(seen)
    per_cell = np.where(seen, confidence >= calibration.threshold, np.nan)
    return Measured(float(np.nanmean(per_cell)), per_cell=per_cell)


@metric(
    MetricCard(
        name="seen_unseen_harmonic",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=(
            "Harmonic mean of two: the macro-F1 of seen types, a rejected cell counting as missed (else who rejects all would shine), and "
            f"the share of cells of unseen types that are rejected. {ACCEPTED}"
        ),
        source="Y. Xian et al., Zero-shot learning: a comprehensive evaluation, TPAMI 41:2251 (2019), for the harmonic mean",
        floor=FLOOR,
        repeats=20,
    )
)
def seen_unseen_harmonic(
    confidence: NDArray[np.floating], calibration: Calibration, seen: NDArray[np.bool_], told_labels: ToldLabels
) -> Measured:
    """Whether known types are told and new ones noticed, both at once.

    Parameters
    ----------
    confidence
        (n_cells,) calibrated.
    calibration
        Its threshold.
    seen
        (n_cells,) whether the label of the cell could be learnt.
    told_labels
        Of n_cells.

    Raises
    ------
    NotApplicable
        If all cells are of one kind.
    """
    _both(seen)
    accepted = confidence >= calibration.threshold
    unknown = len(told_labels.names)  # a name of its own for what a rejected cell is told
    told = ToldLabels(np.append(told_labels.names, "unknown"), told_labels.true[seen], np.where(accepted, told_labels.told, unknown)[seen])
    kept, noticed = _macro_f1(told), float((~accepted)[~seen].mean())
    harmonic = 2 * kept * noticed / (kept + noticed) if kept + noticed else 0.0
    return Measured(harmonic, details={"macro_f1_seen_after_rejection": round(kept, 4), "unseen_rejected": round(noticed, 4)})
