"""How well told labels agree with the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

FLOOR = "control/shuffled_labels"
RARE = 0.01
"""Labels with a smaller share of the training cells than this are rare."""
Z = 1.959964
"""Of a normal distribution, two-sided 95 %."""


@dataclass(frozen=True, eq=False)
class ToldLabels:
    """True and told labels as codes.

    Attributes
    ----------
    names
        (n_names,) str, sorted: all that are true or may be told.
    true, told
        (n_cells,) index into ``names``.
    """

    names: NDArray[np.str_]
    true: NDArray[np.intp]
    told: NDArray[np.intp]

    @property
    def n_cells(self) -> int:
        return len(self.true)

    def part(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ToldLabels:
        """The same for some of the cells."""
        return ToldLabels(self.names, self.true[rows], self.told[rows])

    @cached_property
    def confusion(self) -> NDArray[np.intp]:
        """(n_names, n_names) cells: rows are true labels, columns told ones."""
        n = len(self.names)
        return np.bincount(self.true * n + self.told, minlength=n * n).reshape(n, n)

    @property
    def hits(self) -> NDArray[np.intp]:
        """(n_names,) cells that are told right."""
        return self.confusion.diagonal()

    @property
    def n_true(self) -> NDArray[np.intp]:
        """(n_names,) cells that have the label."""
        return self.confusion.sum(axis=1)

    @property
    def n_told(self) -> NDArray[np.intp]:
        """(n_names,) cells that are told the label."""
        return self.confusion.sum(axis=0)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(n_names,) 2 hits / (cells of the label + cells told it); 0 where there are neither."""
        return 2 * self.hits / np.maximum(self.n_true + self.n_told, 1)

    @property
    def right(self) -> NDArray[np.float64]:
        """(n_cells,) 1 where the label is told right, else 0."""
        return (self.true == self.told).astype(np.float64)


@derived("told_labels", rowwise=True)
def told_labels(prediction: LabelPrediction, labels: NDArray[Any]) -> ToldLabels:
    """True and told labels as codes.

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
    names, of_both = np.unique(np.concatenate([np.asarray(labels, str), prediction.label_names]), return_inverse=True)
    n_cells = len(labels)
    return ToldLabels(names, of_both[:n_cells], of_both[n_cells:][prediction.probabilities.argmax(axis=1)])


def interval(hits: NDArray[np.integer], of: NDArray[np.integer]) -> NDArray[np.float64]:
    """95 % interval (2, n) of the shares hits / of, (n,) each, as cells are drawn anew. E. B. Wilson, JASA 22:209 (1927)."""
    n = np.maximum(of, 1)
    share, slack = hits / n, Z**2 / n
    centre, half = share + slack / 2, np.sqrt(share * (1 - share) * slack + slack**2 / 4)
    return np.clip(np.stack([centre - half, centre + half]) / (1 + slack), 0.0, 1.0)


def by_label(found: ToldLabels, labelled_cells: Mapping[str, int] | None = None) -> dict[str, dict[str, float]]:
    """Scores of each label that a cell has: ``cells``, ``recall``, ``f1`` with ``f1_low`` and ``f1_high``, ``precision`` where it is told.

    The interval of F1 is that of the share J = hits / (cells that have the label or are told it), of which F1 = 2 J / (1 + J). With
    ``labelled_cells`` each has ``trained_on`` too.
    """
    either = found.n_true + found.n_told - found.hits
    low, high = interval(found.hits, either)
    table = {}
    for i in np.flatnonzero(found.n_true):
        name, told = str(found.names[i]), int(found.n_told[i])
        scores = {"cells": int(found.n_true[i]), "recall": found.hits[i] / found.n_true[i], "f1": found.f1[i]}
        scores |= {"f1_low": 2 * low[i] / (1 + low[i]), "f1_high": 2 * high[i] / (1 + high[i])}
        scores |= {"precision": found.hits[i] / told} if told else {}
        scores |= {"trained_on": labelled_cells.get(name, 0)} if labelled_cells is not None else {}
        table[name] = {key: value if isinstance(value, int) else round(float(value), 4) for key, value in scores.items()}
    return table


def confusion_of(found: ToldLabels) -> dict[str, Any]:
    """Counts of cells for a report: ``true`` and ``told`` labels, those that occur, and ``counts``, a row for each true label."""
    true, told = found.n_true > 0, found.n_told > 0
    return {"true": found.names[true].tolist(), "told": found.names[told].tolist(), "counts": found.confusion[true][:, told].tolist()}


@metric(
    MetricCard(
        name="macro_f1",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=(
            "Unweighted mean of F1 over the labels of the scored cells; 0 for a label that is never told. Intervals of single labels: "
            "Wilson's of hits among the cells that have the label or are told it."
        ),
        source="scikit-learn f1_score(average='macro', labels=those of the cells)",
        floor=FLOOR,
        repeats=20,
    )
)
def macro_f1(told_labels: ToldLabels, labelled_cells: Mapping[str, int] | None = None) -> Measured:
    """How well labels are told, rare ones counting as much as common ones.

    Parameters
    ----------
    told_labels
        Of n_cells.
    labelled_cells
        Label -> training cells that show it.
    """
    learnt = {"labelled_cells": sum(labelled_cells.values())} if labelled_cells is not None else {}
    details = {"labels": by_label(told_labels, labelled_cells), "confusion": confusion_of(told_labels), **learnt}
    return Measured(float(told_labels.f1[told_labels.n_true > 0].mean()), details=details)


@metric(
    MetricCard(
        name="weighted_f1",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Mean of F1 over the labels of the scored cells, each weighted by its cells.",
        source="scikit-learn f1_score(average='weighted')",
        floor=FLOOR,
    )
)
def weighted_f1(told_labels: ToldLabels) -> float:
    """How well labels are told, each counting as often as it occurs.

    Parameters
    ----------
    told_labels
        Of n_cells.
    """
    return float((told_labels.f1 * told_labels.n_true).sum() / told_labels.n_cells)


@metric(
    MetricCard(
        name="macro_f1_rare",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Unweighted mean of F1 over the labels that less than 1 % of the training cells have, whether these show it or not.",
        source="",
        floor=FLOOR,
    )
)
def macro_f1_rare(told_labels: ToldLabels, training_cells: Mapping[str, int]) -> Measured:
    """How well rare labels are told.

    Parameters
    ----------
    told_labels
        Of n_cells.
    training_cells
        Label -> training cells that have it.

    Raises
    ------
    NotApplicable
        If none of the scored cells has a rare label.
    """
    fewest = RARE * sum(training_cells.values())
    is_rare = np.array([0 < training_cells.get(str(name), 0) < fewest for name in told_labels.names]) & (told_labels.n_true > 0)
    if not is_rare.any():
        raise NotApplicable(f"no label of these cells is rare: each has at least {100 * RARE:g} % of the training cells")
    names, cells = told_labels.names[is_rare].tolist(), int(told_labels.n_true[is_rare].sum())
    return Measured(float(told_labels.f1[is_rare].mean()), details={"labels": names, "cells": cells})


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
def accuracy(told_labels: ToldLabels) -> Measured:
    """Share of cells whose label is told.

    Parameters
    ----------
    told_labels
        Of n_cells.
    """
    return Measured(float(told_labels.right.mean()), per_cell=told_labels.right)


@metric(
    MetricCard(
        name="balanced_accuracy",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Unweighted mean over the labels of the scored cells of the share of their cells that is told right.",
        source="scikit-learn balanced_accuracy_score",
        floor=FLOOR,
    )
)
def balanced_accuracy(told_labels: ToldLabels) -> float:
    """Share of cells whose label is told, each label counting the same.

    Parameters
    ----------
    told_labels
        Of n_cells.
    """
    there = told_labels.n_true > 0
    return float((told_labels.hits[there] / told_labels.n_true[there]).mean())


@metric(
    MetricCard(
        name="cohen_kappa",
        family="annotation",
        better="higher",
        low=-1.0,
        high=1.0,
        recipe="(agreement - agreement by chance) / (1 - agreement by chance), chance being how often each label is true and told.",
        source="J. Cohen, Educational and Psychological Measurement 20:37 (1960); scikit-learn cohen_kappa_score",
        floor=FLOOR,
    )
)
def cohen_kappa(told_labels: ToldLabels) -> float:
    """Agreement beyond that of chance.

    Parameters
    ----------
    told_labels
        Of n_cells.

    Raises
    ------
    NotApplicable
        If all cells have, and are told, one label: chance agrees too.
    """
    n_cells = told_labels.n_cells
    chance = float(told_labels.n_true @ told_labels.n_told) / n_cells**2
    if chance >= 1.0:
        raise NotApplicable(f"all {n_cells} cells have one label and are told it, so agreement cannot be told from chance")
    return (float(told_labels.right.mean()) - chance) / (1 - chance)
