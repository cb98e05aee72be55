"""How well told labels agree with the true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .probes import macro_f1 as mean_f1

FLOOR = "control/shuffled_labels"


@metric(
    MetricCard(
        name="macro_f1",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Unweighted mean of F1 over the labels of the scored cells; 0 for a label that is never told.",
        source="scikit-learn f1_score(average='macro')",
        floor=FLOOR,
        repeats=20,
    )
)
def macro_f1(prediction: LabelPrediction, labels: NDArray[np.str_]) -> Measured:
    """How well labels are told, rare ones counting as much as common ones.

    Parameters
    ----------
    prediction
        Of n_cells.
    labels
        (n_cells,) the truth.
    """
    return Measured(mean_f1(labels, prediction.labels))


@metric(
    MetricCard(
        name="accuracy",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Share of cells with the right label.",
        source="scikit-learn accuracy_score",
        floor=FLOOR,
        per_cell=True,
    )
)
def accuracy(prediction: LabelPrediction, labels: NDArray[np.str_]) -> Measured:
    """Share of cells whose label is told.

    Parameters
    ----------
    prediction
        Of n_cells.
    labels
        (n_cells,) the truth.
    """
    right = (prediction.labels == labels).astype(np.float64)
    return Measured(float(right.mean()), per_cell=right)
