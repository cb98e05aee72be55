"""Annotation: learn labels on some cells, tell those of others; what lies between the two is the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.protocols import Problem

from .cells import HIDDEN
from .held_out import Held, at_random, chosen_or_batch, group_of
from .transfer import MIN_SHARED_LABELS

TOLD = ("accuracy", "weighted_f1", "balanced_accuracy", "macro_f1_rare", "cohen_kappa")
SURE = ("ece", "brier", "accuracy_at_90_coverage", "aurc")
ERRORS = ("lcad", "lcad_all", "hierarchical_precision", "hierarchical_recall", "hierarchical_f1")
BY_ONTOLOGY = (
    *ERRORS,
    *("accuracy_term", "accuracy_subtype", "macro_f1_subtype"),
    *("similarity_resnik", "similarity_lin", "similarity_jiang_conrath", "similarity_wang"),
)
"""Errors weighed by the Cell Ontology, where the data say which terms their labels are."""
HELD_BY_USER = frozenset({"split", "batch"})
"""Roles that say which cells are held out, see `chosen_or_batch`."""


class Split(NamedTuple):
    """Rows of the cells that are learnt from, and of those that are told."""

    train: NDArray[np.intp]
    query: NDArray[np.intp]
    """Of the held-out cells those whose label occurs among the others."""
    notes: tuple[str, ...]


class Annotation:
    """Labels are learnt on some cells and told of the others; subclasses say which are held out (``hold``)."""

    card: ClassVar[TaskCard]
    hold: ClassVar[staticmethod[[Dataset, np.random.Generator], Held]]

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        split = self.split(data, rng)
        return posed(data, split, data.role("label")[split.train])

    def split(self, data: Dataset, rng: np.random.Generator) -> Split:
        """Raises NotApplicable if fewer than two labels could be both learnt and told."""
        labels, held = data.role("label"), type(self).hold(data, rng)
        learnable = np.isin(labels, labels[~held.rows])
        train, query = np.flatnonzero(~held.rows), np.flatnonzero(held.rows & learnable)
        if len(np.unique(labels[query])) < MIN_SHARED_LABELS:
            raise NotApplicable(f"'{data.name}': with {held.what} held out, fewer than two labels could be both learnt and told")
        return Split(train, query, (self._note(data, held), *_unlearnable(labels, held.rows & ~learnable)))

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {}

    def evidence(self, output: LabelPrediction, problem: Problem) -> Mapping[str, Any]:
        return {"prediction": output, **problem.truth}

    def _note(self, data: Dataset, held: Held) -> str:
        note = f"{self.card.name}: {held.what} held out ({held.rows.sum():,} of {data.n_cells:,} cells)"
        return f"{note}; {held.warning}" if held.warning else note


def posed(data: Dataset, split: Split, shown: NDArray[np.str_]) -> Problem:
    """Training cells that show these labels (n_train,), query cells without any.

    Metrics are told of how many training cells have each label, and of how many show it.
    """
    labels, learnt, blind = data.role("label"), data.hide("pseudotime").take(split.train), data.hide(*HIDDEN).take(split.query)
    truth = {
        "labels": labels[split.query],
        "labelled_cells": counts(shown[shown != UNLABELLED]),
        "training_cells": counts(labels[split.train]),
        **({"terms": data.terms} if data.terms is not None else {}),
    }
    train = replace(learnt, obs=learnt.obs.assign(**{learnt.roles["label"]: shown}))
    return Problem(train, replace(blind, notes=(*blind.notes, *split.notes)), truth)


def counts(labels: NDArray[np.str_]) -> dict[str, int]:
    """Label -> cells."""
    return {str(name): int(n) for name, n in zip(*np.unique(labels, return_counts=True))}


def _unlearnable(labels: NDArray[np.str_], left_out: NDArray[np.bool_]) -> tuple[str, ...]:
    if not left_out.any():
        return ()
    names = np.unique(labels[left_out])
    which = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    return (f"{left_out.sum():,} of the held-out cells are not scored: no training cell has their label ({which})",)


def card(name: str, summary: str, *roles: str, **more: Any) -> TaskCard:
    """Card of a task that asks for labels; ``roles`` beside the label must be there."""
    fields = {"metrics": ("macro_f1", *TOLD, *SURE, *BY_ONTOLOGY), "primary": "macro_f1", "reads_terms": True, **more}
    return TaskCard(name, summary, asks="predict_labels", roles=frozenset({"label", *roles}), **fields)


class AcrossBatches(Annotation):
    """The cells that the user holds out, or the batch nearest to 30 % of the cells; at random, with a warning, where there is neither."""

    card = card("annotation", "can the labels of a held-out batch be told after learning them in the others?", optional=HELD_BY_USER)
    hold = staticmethod(chosen_or_batch)


class AtRandom(Annotation):
    """As papers often do it. Shown beside the others for what it promises too much."""

    card = card("annotation_random", "can labels be told of cells of the same batches and donors? (a warning of what leaks, not a result)")
    hold = staticmethod(at_random)


class AcrossDonors(Annotation):
    """Another person, another day."""

    card = card("annotation_across_donors", "can the labels of cells of another donor be told?", "donor")
    hold = staticmethod(group_of("donor"))


class AcrossStudies(Annotation):
    """Another laboratory."""

    card = card("annotation_across_studies", "can the labels of cells of another study be told?", "study")
    hold = staticmethod(group_of("study"))


class AcrossSpecies(Annotation):
    """Another species, on genes that go by one name."""

    card = card("annotation_across_species", "can the labels of cells of another species be told?", "species")
    hold = staticmethod(group_of("species"))


class AcrossTissues(Annotation):
    """Another tissue."""

    card = card("annotation_across_tissues", "can the labels of cells of another tissue be told?", "tissue")
    hold = staticmethod(group_of("tissue"))
