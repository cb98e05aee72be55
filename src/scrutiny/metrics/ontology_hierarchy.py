"""Labels scored by all that they say: precision and recall over ancestors, and subtypes of the true type that count as right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .ontology import CELLS, FLOOR, ROOF, ToldTerms
from .probes import macro_f1

SETS = "What a term says is itself and its ancestors without what is above everything (the root); "
SUBTYPE = (
    "A told term counts as right if it is the true one or a kind of it (a broader one does not). As methods can only tell labels that they "
    "have learnt, this matters where training and scored cells are labelled in different detail. "
)


class SaidTerms(NamedTuple):
    """How many terms true and told labels say, and how many both say; each (n,) of the judged cells."""

    both: NDArray[np.float64]
    true: NDArray[np.float64]
    told: NDArray[np.float64]


@derived("said_terms")
def said_terms(told_terms: ToldTerms) -> SaidTerms:
    """Count the ancestors of true and told terms, themselves included and roots left out.

    Raises
    ------
    NotApplicable
        If the true terms are all roots, which say nothing.
    """
    ontology = told_terms.ontology
    said = [{above for above in ontology.steps_up(term) if ontology.direct_parents(above)} for term in told_terms.listed]
    sizes = np.array([len(one) for one in said], dtype=np.float64)
    both = np.array([[len(one & other) for other in said] for one in said], dtype=np.float64)
    if not sizes[told_terms.true].any():
        raise NotApplicable("the true labels say no more than that these are cells")
    return SaidTerms(both[told_terms.true, told_terms.told], sizes[told_terms.true], sizes[told_terms.told])


@metric(
    MetricCard(
        name="hierarchical_precision",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS
        + SETS
        + "sum over cells of the terms that told and true label both say, over the sum of those that the told one says; "
        "0 where the told labels say nothing.",
        source="Kiritchenko et al. 2006",
        floor=FLOOR,
        roof=ROOF,
    )
)
def hierarchical_precision(said_terms: SaidTerms, told_terms: ToldTerms) -> Measured:
    """How much of what the told labels say is true."""
    return Measured(_ratio(said_terms.both, said_terms.told), details=told_terms.details)


@metric(
    MetricCard(
        name="hierarchical_recall",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS
        + SETS
        + "sum over cells of the terms that told and true label both say, over the sum of those that the true one says.",
        source="Kiritchenko et al. 2006",
        floor=FLOOR,
        roof=ROOF,
    )
)
def hierarchical_recall(said_terms: SaidTerms, told_terms: ToldTerms) -> Measured:
    """How much of what the true labels say is told."""
    return Measured(_ratio(said_terms.both, said_terms.true), details=told_terms.details)


@metric(
    MetricCard(
        name="hierarchical_f1",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Harmonic mean of hierarchical_precision and hierarchical_recall.",
        source="Kiritchenko et al. 2006",
        floor=FLOOR,
        roof=ROOF,
    )
)
def hierarchical_f1(said_terms: SaidTerms, told_terms: ToldTerms) -> Measured:
    """How well what labels say is told."""
    total = said_terms.told.sum() + said_terms.true.sum()
    return Measured(float(2 * said_terms.both.sum() / total), details=told_terms.details)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else 0.0


@derived("subtype_of_truth")
def subtype_of_truth(told_terms: ToldTerms) -> NDArray[np.bool_]:
    """Whether the told term of each judged cell (n,) is the true one or a kind of it."""
    ontology, listed = told_terms.ontology, told_terms.listed
    above = [ontology.ancestors(term) | {term} for term in listed]
    is_kind = np.array([[true in of_told for of_told in above] for true in listed])
    return is_kind[told_terms.true, told_terms.told]


@metric(
    MetricCard(
        name="accuracy_term",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS
        + "Share that is told the true term; two labels of one term are the same. Stands beside accuracy_subtype, on the same cells.",
        source="",
        floor=FLOOR,
        roof=ROOF,
        per_cell=True,
    )
)
def accuracy_term(told_terms: ToldTerms) -> Measured:
    """Share of cells whose very term is told."""
    return _share(~told_terms.wrong, told_terms)


@metric(
    MetricCard(
        name="accuracy_subtype",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS + SUBTYPE + "Share that is right.",
        source="the rule of Fischer et al. 2024 (scTab)",
        floor=FLOOR,
        roof=ROOF,
        per_cell=True,
    )
)
def accuracy_subtype(told_terms: ToldTerms, subtype_of_truth: NDArray[np.bool_]) -> Measured:
    """Share of cells that are told their term or a kind of it."""
    return _share(subtype_of_truth, told_terms)


@metric(
    MetricCard(
        name="macro_f1_subtype",
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS
        + SUBTYPE
        + "What is right is taken as the true term; unweighted mean of F1 over the terms of the scored cells, 0 for one "
        "that is never told.",
        source="the rule of Fischer et al. 2024 (scTab); scikit-learn f1_score(average='macro')",
        floor=FLOOR,
        roof=ROOF,
    )
)
def macro_f1_subtype(told_terms: ToldTerms, subtype_of_truth: NDArray[np.bool_]) -> Measured:
    """Macro-F1 where a subtype of the true type counts as right."""
    names = np.array(told_terms.listed)
    told = names[np.where(subtype_of_truth, told_terms.true, told_terms.told)]
    return Measured(macro_f1(names[told_terms.true], told), details=told_terms.details)


def _share(right: NDArray[np.bool_], told: ToldTerms) -> Measured:
    values = right.astype(np.float64)
    return Measured(float(values.mean()), told.per_cell(values), {**told.details, "per_label": told.by_label(values)})
