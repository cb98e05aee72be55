"""Cross-validated probes: can a simple classifier read the labels off the embedding, on batches that it has not seen?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .categories import Categories, categories, crosstab, several
from .distances import over_blocks

N_FOLDS = 5
"""Folds of cells where batches cannot be left out."""

MAX_BATCH_FOLDS = 10
"""With more batches than this, whole batches share a fold."""

N_NEIGHBORS = 15

FOLDS = (
    "Out-of-fold predictions of all cells, pooled. Folds: one batch left out (at most 10 folds; more batches share them) where at least "
    "two labels and half of the cells have their label in several folds, else 5 stratified folds (seed 0); where the task splits the "
    "cells, its training cells train and the others are predicted. Labels found in one fold only could never be learnt: they are not "
    "scored, and train only where the task keeps no cells unseen. "
)
KNN = "15 nearest training cells, euclidean, one vote each, a tie goes to the label that sorts first. "
LOGREG = "Features standardised on the training cells, multinomial logistic regression, L2 with C = 1, L-BFGS to its optimum. "
ACCURACY = "Share of cells with the right label."
MACRO_F1 = "Unweighted mean of F1 over the labels of the scored cells; 0 for a label that is never predicted."


UNSEEN = -2
"""Fold of cells that neither train a probe nor are predicted."""


@derived("probe_folds", rowwise=True)
def probe_folds(labels: NDArray[Any], batch: NDArray[Any] | None = None, train_rows: NDArray[np.bool_] | None = None) -> NDArray[np.int8]:
    """The fold in which each cell is predicted by a probe trained on the cells of all other folds; -1: trains only, -2: takes no part.

    Parameters
    ----------
    labels, batch
        (n_cells,).
    train_rows
        (n_cells,) cells on which the task allows training; then the others make the one fold.

    Returns
    -------
    ndarray
        (n_cells,) int8. Cells whose label is in one fold only are not predicted: nobody could have learnt their label. They train,
        unless the task keeps them unseen.

    Raises
    ------
    NotApplicable
        If fewer than two labels can be both trained for and predicted.
    """
    by_label = several(labels, "label")
    if train_rows is not None:
        folds = np.where(train_rows, -1, 0)
    else:
        folds = _folds_of_batches(by_label, batch)
        if folds is None:
            folds = _stratified_folds(by_label)
    learnable = _learnable(by_label, folds)
    unlearnt = np.where(folds < 0, -1, -1 if train_rows is None else UNSEEN)
    scored = np.where(learnable[by_label.codes], folds, unlearnt)
    if len(np.unique(by_label.codes[scored >= 0])) < 2:
        raise NotApplicable("a probe needs two labels that occur both in training and in held-out cells; label more cells or fewer types")
    return scored.astype(np.int8)


def _learnable(labels: Categories, folds: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each label (n_labels,) is among the training cells whenever one of its cells is predicted."""
    return (crosstab(labels, Categories(*np.unique(folds, return_inverse=True))) > 0).sum(axis=1) > 1


def _folds_of_batches(labels: Categories, batch: NDArray[Any] | None) -> NDArray[np.integer] | None:
    """Folds of whole batches (n_cells,), None where batches share too few labels for that to say anything."""
    by_batch = categories(np.zeros(len(labels.codes)) if batch is None else batch)
    fold_of_batch, load = np.empty(by_batch.n, int), np.zeros(min(by_batch.n, MAX_BATCH_FOLDS), int)
    for largest in np.argsort(-by_batch.sizes, kind="stable"):
        fold_of_batch[largest] = np.argmin(load)
        load[fold_of_batch[largest]] += by_batch.sizes[largest]
    folds = fold_of_batch[by_batch.codes]
    shared = _learnable(labels, folds)
    return folds if shared.sum() >= 2 and labels.sizes[shared].sum() >= len(folds) / 2 else None


def _stratified_folds(labels: Categories) -> NDArray[np.integer]:
    """Folds (n_cells,) with the labels in equal shares; the rarest labels are not in all of them."""
    from sklearn.model_selection import StratifiedKFold

    n_folds = min(N_FOLDS, int(labels.sizes.max()))
    if n_folds < 2:
        raise NotApplicable(f"a probe needs labels of several cells; all {labels.n} labels have one")
    folds = np.empty(len(labels.codes), int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        splits = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(folds, labels.codes)
        for fold, (_, held_out) in enumerate(splits):
            folds[held_out] = fold
    return folds


@derived("knn_predictions", rowwise=True)
def knn_predictions(embedding: NDArray[np.floating], labels: NDArray[Any], probe_folds: NDArray[np.integer]) -> NDArray[np.str_]:
    """Labels (n_cells,) by the vote of the 15 nearest training cells; '' where the fold is -1.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels
        (n_cells,).
    probe_folds
        (n_cells,) test fold of every cell, -1 for cells that only train.
    """
    from sklearn.neighbors import KNeighborsClassifier

    def vote(train: NDArray[np.floating], truth: NDArray[np.intp], query: NDArray[np.floating]) -> NDArray[np.intp]:
        return KNeighborsClassifier(min(N_NEIGHBORS, len(train)), algorithm="brute").fit(train, truth).predict(query)

    return _predicted_out_of_fold(vote, embedding, categories(labels), probe_folds)


@derived("logreg_predictions", rowwise=True)
def logreg_predictions(embedding: NDArray[np.floating], labels: NDArray[Any], probe_folds: NDArray[np.integer]) -> NDArray[np.str_]:
    """Labels (n_cells,) by logistic regression trained on the other folds; '' where the fold is -1.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels
        (n_cells,).
    probe_folds
        (n_cells,) test fold of every cell, -1 for cells that only train.
    """
    from .logistic import fit_logistic

    def regress(train: NDArray[np.floating], truth: NDArray[np.intp], query: NDArray[np.floating]) -> NDArray[np.intp]:
        present, codes = np.unique(truth, return_inverse=True)
        return present[fit_logistic(train, codes).scores(query).argmax(axis=1)]

    return _predicted_out_of_fold(regress, embedding, categories(labels), probe_folds)


def _predicted_out_of_fold(
    predict: Callable[[NDArray[np.floating], NDArray[np.intp], NDArray[np.floating]], NDArray[np.intp]],
    embedding: NDArray[np.floating],
    labels: Categories,
    folds: NDArray[np.integer],
) -> NDArray[np.str_]:
    """Predictions (n_cells,) of every fold from the others; one thread a fold, so that threads do not change a digit."""
    from threadpoolctl import threadpool_limits

    predictions = np.full(len(folds), "", labels.names.dtype)

    def hold_out(one: slice) -> None:
        held_out, train = folds == one.start, (folds != one.start) & (folds != UNSEEN)
        with threadpool_limits(1):
            predictions[held_out] = labels.names[predict(embedding[train], labels.codes[train], embedding[held_out])]

    over_blocks(hold_out, (slice(int(fold), int(fold) + 1) for fold in np.unique(folds[folds >= 0])))
    return predictions


def macro_f1(truth: NDArray[np.str_], predicted: NDArray[np.str_], *, of: NDArray[np.str_] | None = None) -> float:
    """Unweighted mean of F1 over labels, 0 to 1; F1 = 2 hits / (cells of the label + cells predicted as it).

    Parameters
    ----------
    truth, predicted
        (n_cells,) labels.
    of
        Labels that count; those in ``truth`` if not given. A label that is in neither scores 0.
    """
    names = np.unique(truth if of is None else of)

    def counts(values: NDArray[np.str_]) -> NDArray[np.intp]:
        at = np.minimum(np.searchsorted(names, values), len(names) - 1)
        return np.bincount(at[names[at] == values], minlength=len(names))

    hits = counts(truth[truth == predicted])
    return float((2 * hits / np.maximum(counts(truth) + counts(predicted), 1)).mean())


@metric(
    MetricCard(
        name="probe_knn_accuracy",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=KNN + FOLDS + ACCURACY,
        source="scikit-learn KNeighborsClassifier",
        per_cell=True,
    )
)
def probe_knn_accuracy(
    knn_predictions: NDArray[np.str_], labels: NDArray[Any], probe_folds: NDArray[np.integer], batch: NDArray[Any] | None = None
) -> Measured:
    """Share of cells whose label their nearest training cells tell.

    Parameters
    ----------
    knn_predictions, labels
        (n_cells,).
    probe_folds
        (n_cells,) -1 for cells that are not scored.
    batch
        (n_cells,) only to say in the details what the folds are.

    Raises
    ------
    NotApplicable
        If none of the cells is predicted.
    """
    return _accuracy(knn_predictions, Scored.of(labels, probe_folds, batch))


@metric(
    MetricCard(
        name="probe_knn_macro_f1",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=KNN + FOLDS + MACRO_F1,
        source="scikit-learn KNeighborsClassifier",
        repeats=20,
    )
)
def probe_knn_macro_f1(
    knn_predictions: NDArray[np.str_], labels: NDArray[Any], probe_folds: NDArray[np.integer], batch: NDArray[Any] | None = None
) -> Measured:
    """How well the nearest training cells tell the labels, rare ones counting as much as common ones.

    Parameters
    ----------
    knn_predictions, labels
        (n_cells,).
    probe_folds
        (n_cells,) -1 for cells that are not scored.
    batch
        (n_cells,) only to say in the details what the folds are.

    Raises
    ------
    NotApplicable
        If none of the cells is predicted.
    """
    return _macro_f1(knn_predictions, Scored.of(labels, probe_folds, batch))


@metric(
    MetricCard(
        name="probe_logreg_accuracy",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=LOGREG + FOLDS + ACCURACY,
        source="scikit-learn LogisticRegression",
        version="2",
        per_cell=True,
    )
)
def probe_logreg_accuracy(
    logreg_predictions: NDArray[np.str_], labels: NDArray[Any], probe_folds: NDArray[np.integer], batch: NDArray[Any] | None = None
) -> Measured:
    """Share of cells whose label a linear probe tells.

    Parameters
    ----------
    logreg_predictions, labels
        (n_cells,).
    probe_folds
        (n_cells,) -1 for cells that are not scored.
    batch
        (n_cells,) only to say in the details what the folds are.

    Raises
    ------
    NotApplicable
        If none of the cells is predicted.
    """
    return _accuracy(logreg_predictions, Scored.of(labels, probe_folds, batch))


@metric(
    MetricCard(
        name="probe_logreg_macro_f1",
        family="annotation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=LOGREG + FOLDS + MACRO_F1,
        source="scikit-learn LogisticRegression",
        version="2",
        repeats=20,
    )
)
def probe_logreg_macro_f1(
    logreg_predictions: NDArray[np.str_], labels: NDArray[Any], probe_folds: NDArray[np.integer], batch: NDArray[Any] | None = None
) -> Measured:
    """How well a linear probe tells the labels, rare ones counting as much as common ones.

    Parameters
    ----------
    logreg_predictions, labels
        (n_cells,).
    probe_folds
        (n_cells,) -1 for cells that are not scored.
    batch
        (n_cells,) only to say in the details what the folds are.

    Raises
    ------
    NotApplicable
        If none of the cells is predicted.
    """
    return _macro_f1(logreg_predictions, Scored.of(labels, probe_folds, batch))


class Scored(NamedTuple):
    """The truth of the cells, and which of them are predicted."""

    truth: NDArray[np.str_]
    rows: NDArray[np.bool_]
    """(n_cells,)."""
    facts: dict[str, Any]

    @classmethod
    def of(cls, labels: NDArray[Any], folds: NDArray[np.integer], batch: NDArray[Any] | None) -> Self:
        rows = folds >= 0
        if not rows.any():
            raise NotApplicable(f"none of these {len(folds)} cells is predicted: they only train the probe")
        truth = np.asarray(labels).astype(str)
        facts = {
            "folds": _name_of(folds[rows], None if batch is None else batch[rows]),
            "n_folds": len(np.unique(folds[rows])),
            "cells_scored": int(rows.sum()),
            "labels_not_scored": np.setdiff1d(truth, truth[rows]).tolist(),
        }
        return cls(truth, rows, facts)


def _name_of(folds: NDArray[np.integer], batch: NDArray[Any] | None) -> str:
    if not folds.any():
        return "cells held out by the task"
    if batch is not None and (crosstab(categories(batch), categories(folds)) > 0).sum(axis=1).max() == 1:
        return "batches left out"
    return "stratified"


def _accuracy(predictions: NDArray[np.str_], scored: Scored) -> Measured:
    right = np.where(scored.rows, scored.truth == predictions, np.nan)
    return Measured(float(np.nanmean(right)), per_cell=right, details=scored.facts)


def _macro_f1(predictions: NDArray[np.str_], scored: Scored) -> Measured:
    return Measured(macro_f1(scored.truth[scored.rows], predictions[scored.rows]), details=scored.facts)
