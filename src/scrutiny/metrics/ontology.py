"""How far wrong labels are from the right ones in the Cell Ontology, and what labels and ontology have to do with each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.ontology import LabelTerms, Ontology
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

FLOOR = "control/shuffled_labels"
ROOF = "control/label_oracle"
CELLS = (
    "Of the cells whose true label is a term of the Cell Ontology (the others are counted in the details); a told label that is no term "
    "says no more than that it is a cell. "
)
N_SHOWN = 40
"""Labels of which the details tell something one by one."""


@derived("terms", rowwise=True)
def terms(labels: NDArray[np.str_]) -> LabelTerms:
    """Say how labels get terms, where the data came without.

    Raises
    ------
    NotApplicable
        If nobody said which terms of the Cell Ontology the labels are.
    """
    how = "`scrutiny ontology fetch` gets the Cell Ontology, or name a file with --ontology; --terms takes a table of label and cl_id"
    raise NotApplicable(f"nobody said which terms of the Cell Ontology the labels are: {how}")


class ToldTerms(NamedTuple):
    """What was told of the cells that can be judged, as places in one short list of terms."""

    ontology: Ontology
    listed: tuple[str, ...]
    """Terms that occur, sorted; the root of the ontology is among them where a told label is no term."""
    rows: NDArray[np.intp]
    """(n,) the cells whose true label has a term."""
    true: NDArray[np.intp]
    """(n,) places of the true terms in ``listed``."""
    told: NDArray[np.intp]
    """(n,) places of the told terms."""
    n_cells: int
    n_told_unmapped: int

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(n,) whether another term was told; two labels of one term are the same."""
        return self.true != self.told

    @property
    def details(self) -> dict[str, Any]:
        """What was left out."""
        return {"n_scored": len(self.rows), "n_left_out": self.n_cells - len(self.rows), "n_told_without_term": self.n_told_unmapped}

    def per_cell(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values (n,) of the judged cells for all cells (n_cells,), NaN for the others."""
        every = np.full(self.n_cells, np.nan)
        every[self.rows] = values
        return every

    def by_label(self, values: NDArray[np.floating], among: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Mean of values (n,) by the name of the true term, of the terms with most cells."""
        chosen = np.ones(len(self.rows), bool) if among is None else among
        places, counts = np.unique(self.true[chosen], return_counts=True)
        most = sorted(places[np.argsort(-counts, kind="stable")][:N_SHOWN].tolist())
        return {self.ontology.name(self.listed[place]): round(float(values[chosen & (self.true == place)].mean()), 4) for place in most}


@derived("told_terms")
def told_terms(prediction: LabelPrediction, labels: NDArray[np.str_], terms: LabelTerms) -> ToldTerms:
    """True and told labels as terms.

    Raises
    ------
    NotApplicable
        If no true label is a term of the Cell Ontology.
    """
    true = terms.of(np.asarray(labels, str))
    rows = np.flatnonzero(true != "")
    if not len(rows):
        raise NotApplicable("no true label is a term of the Cell Ontology; give a table of label and cl_id with --terms")
    true, told = true[rows], terms.of(prediction.labels[rows])
    lacking = told == ""
    if lacking.any():
        told = np.where(lacking, _root(terms.ontology, true), told)
    listed, places = np.unique(np.concatenate([true, told]), return_inverse=True)
    halves = places.reshape(2, -1)
    return ToldTerms(terms.ontology, tuple(listed.tolist()), rows, halves[0], halves[1], len(labels), int(lacking.sum()))


def _root(ontology: Ontology, terms: NDArray[np.str_]) -> str:
    """What is above most of the terms and is itself a kind of nothing."""
    above = [term for one in np.unique(terms).tolist() for term in ontology.steps_up(one) if not ontology.direct_parents(term)]
    return max(sorted(set(above)), key=above.count)


@metric(
    MetricCard(
        name="lcad",
        family="ontology",
        better="lower",
        low=0.0,
        high=np.inf,
        recipe=CELLS + "Mean over the wrongly told cells of the fewest is_a steps from the true term up to a common ancestor and down to "
        "the told term (the lowest common ancestor; of several the one with the shorter way; a term is an ancestor of itself). Two "
        "labels of one term count as the same. Says how bad errors are, not how many there are: see lcad_all.",
        source="named by Wu et al. 2025 (scFM-Bench), whose formula we could not consult; this definition is ours",
        floor=FLOOR,
        roof=None,
    )
)
def lcad(told_terms: ToldTerms) -> Measured:
    """Lowest common ancestor distance: how far in the ontology a wrong label is from the right one.

    Raises
    ------
    NotApplicable
        If no label is wrong.
    """
    wrong = told_terms.wrong
    if not wrong.any():
        raise NotApplicable(f"all {len(wrong)} cells that can be judged have the right term, so there is no error to weigh")
    steps = _steps(told_terms)
    details = {**told_terms.details, "n_wrong": int(wrong.sum()), "per_label": told_terms.by_label(steps, wrong)}
    return Measured(float(steps[wrong].mean()), details=details)


@metric(
    MetricCard(
        name="lcad_all",
        family="ontology",
        better="lower",
        low=0.0,
        high=np.inf,
        recipe=CELLS + "As lcad, but the mean over all of them, 0 for a cell that is told right: how often and how far labels are wrong.",
        source="ours, after lcad",
        floor=FLOOR,
        roof=ROOF,
        per_cell=True,
    )
)
def lcad_all(told_terms: ToldTerms) -> Measured:
    """Mean distance in the ontology between the true and the told label, right ones included."""
    steps = _steps(told_terms)
    return Measured(float(steps.mean()), told_terms.per_cell(steps), told_terms.details)


@metric(
    MetricCard(
        name="lcad_unseen",
        family="ontology",
        better="lower",
        low=0.0,
        high=np.inf,
        recipe=CELLS + "As lcad_all, of the cells alone whose type no training cell had; low where they are taken for their kin.",
        source="ours, after lcad",
        floor=FLOOR,
        roof=ROOF,
    )
)
def lcad_unseen(told_terms: ToldTerms, seen: NDArray[np.bool_]) -> Measured:
    """How far what cells of unseen types are taken for is from what they are.

    Raises
    ------
    NotApplicable
        If no cell is of an unseen type that has a term.
    """
    unseen = ~seen[told_terms.rows]
    if not unseen.any():
        raise NotApplicable("no cell is of an unseen type that is a term of the Cell Ontology")
    steps = _steps(told_terms)
    details = {**told_terms.details, "n_unseen": int(unseen.sum()), "per_label": told_terms.by_label(steps, unseen)}
    return Measured(float(steps[unseen].mean()), details=details)


def _steps(told: ToldTerms) -> NDArray[np.float64]:
    return told.ontology.distances(told.listed)[told.true, told.told].astype(np.float64)
