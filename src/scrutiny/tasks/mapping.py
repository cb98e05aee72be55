"""Tasks in which a method may say that it does not know: reference mapping, and types that nobody could learn.

A tenth of the labelled cells of the reference is kept out of training and asked for along with the query. On these cells the probabilities
of every method are calibrated in the same way; they are not scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.ontology import LabelTerms
from scrutiny.core.protocols import Problem
from scrutiny.data.splits import hold_out
from scrutiny.metrics.calibration import FEWEST, calibrate

from .annotation import BY_ONTOLOGY, ERRORS, HELD_BY_USER, SURE, TOLD, Annotation, Split, card, posed
from .held_out import chosen_or_batch
from .transfer import MIN_SHARED_LABELS

CALIBRATION_SHARE = 0.1
"""Of the cells of the reference."""
UNSEEN_SHARE = 0.2
"""Of the types, held out of training."""
FEWEST_CELLS = 10
"""In the query, of a type that may be held out."""


class _Calibrated(Annotation):
    """The query has calibration cells of the reference behind the cells that are scored."""

    hold = staticmethod(chosen_or_batch)

    def evidence(self, output: LabelPrediction, problem: Problem) -> Mapping[str, Any]:
        truth = dict(problem.truth)
        is_scored, labels = truth.pop("is_scored"), truth["labels"]
        rows, rest = np.flatnonzero(is_scored), np.flatnonzero(~is_scored)
        calibration = calibrate(output.part(rest), labels[rest], np.array(sorted(truth["labelled_cells"])))
        cut = {name: value[rows] if isinstance(value, np.ndarray) else value for name, value in truth.items()}
        return {"prediction": output.part(rows), "calibration": calibration, **cut}


class ReferenceMapping(_Calibrated):
    """Fit on a reference, map a query, and keep the labels that are sure enough."""

    card = card(
        "reference_mapping",
        "which labels of a query can be trusted after learning them on a reference?",
        metrics=("macro_f1", *TOLD, "coverage", "accuracy_accepted", *SURE, "ece_calibrated", *BY_ONTOLOGY),
        optional=HELD_BY_USER,
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        return with_calibration(data, self.split(data, rng), rng)


class UnseenTypes(_Calibrated):
    """About a fifth of the types is taken out of training; the query has them."""

    card = card(
        "annotation_unseen_types",
        "are cells of types that nobody could learn noticed, and the others still told?",
        metrics=("seen_unseen_harmonic", "macro_f1_seen", "unseen_rejected", "novelty_auroc", "seen_accepted", "lcad_unseen", *ERRORS),
        primary="seen_unseen_harmonic",
        optional=HELD_BY_USER,
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        labels, split = data.role("label"), self.split(data, rng)
        chosen = unseen_types(labels[split.train], labels[split.query], data.name, rng)
        unseen = by_any_name(chosen, labels, data.terms)
        if len(np.setdiff1d(labels[split.train], unseen)) < MIN_SHARED_LABELS:
            raise NotApplicable(f"'{data.name}': without {', '.join(unseen)}, names of one type among them, little is left to learn")
        train = split.train[~np.isin(labels[split.train], unseen)]
        note = f"held out of training: {', '.join(unseen)} ({np.isin(labels[split.query], unseen).sum():,} cells of the query)"
        problem = with_calibration(data, Split(train, split.query, (*split.notes, note)), rng)
        return replace(problem, truth={**problem.truth, "seen": ~np.isin(problem.truth["labels"], unseen)})


def with_calibration(data: Dataset, split: Split, rng: np.random.Generator) -> Problem:
    """A tenth of the training cells of each label is asked for in place of being learnt from, and not scored.

    Raises
    ------
    NotApplicable
        If these are too few to calibrate on.
    """
    labels, by_id = data.role("label"), split.train[np.argsort(data.cell_ids[split.train], kind="stable")]
    kept_out = hold_out(labels[by_id], CALIBRATION_SHARE, rng)
    n_kept, fitted = int(kept_out.sum()), np.sort(by_id[~kept_out])
    if n_kept < FEWEST:
        few = f"a tenth of the {len(by_id)} labelled cells of the reference are {n_kept}"
        raise NotApplicable(f"'{data.name}': {few}, too few to calibrate on; at least {FEWEST} are needed")
    asked = np.sort(np.concatenate([split.query, by_id[kept_out]]))
    note = f"{n_kept:,} cells of the reference are kept out of training to calibrate on; they cannot tell how unlike it the query is"
    problem = posed(data, Split(fitted, asked, (*split.notes, note)), labels[fitted])
    is_scored = np.isin(asked, split.query)
    return replace(problem, truth={**problem.truth, "is_scored": is_scored}, scored=np.flatnonzero(is_scored))


def by_any_name(chosen: list[str], labels: NDArray[np.str_], terms: LabelTerms | None) -> list[str]:
    """The chosen labels and those that are the same term of the Cell Ontology, sorted: a type known by another name is not unseen."""
    if terms is None:
        return chosen
    held = {terms.by_label[label] for label in chosen if label in terms.by_label}
    return sorted({*chosen, *(label for label in np.unique(labels).tolist() if terms.by_label.get(label) in held)})


def unseen_types(train: NDArray[np.str_], query: NDArray[np.str_], name: str, rng: np.random.Generator) -> list[str]:
    """About a fifth of the types that the query has, at least one, so that two are left to be learnt.

    Parameters
    ----------
    train, query
        (n_train,), (n_query,) labels.

    Raises
    ------
    NotApplicable
        If there are fewer than three types, or none has enough cells in the query.
    """
    types, sizes = np.unique(query, return_counts=True)
    candidates = types[sizes >= FEWEST_CELLS]
    wanted = max(1, round(UNSEEN_SHARE * len(types)))
    n = min(wanted, len(candidates), len(types) - MIN_SHARED_LABELS, len(np.unique(train)) - MIN_SHARED_LABELS)
    if n < 1:
        raise NotApplicable(
            f"'{name}': the query has {len(types)} types, {len(candidates)} of them with at least {FEWEST_CELLS} cells; three are needed, "
            "so that one can be held out of training and two be learnt"
        )
    return sorted(str(chosen) for chosen in rng.choice(candidates, n, replace=False))
