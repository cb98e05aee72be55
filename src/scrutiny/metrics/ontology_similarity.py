"""Mean similarity of true and told labels in the Cell Ontology, by the four measures in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.ontology import Ontology
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .ontology import CELLS, FLOOR, ROOF, ToldTerms
from .term_similarity import jiang_conrath, lin, shared_information, wang

MEAN = "Mean over the cells of the similarity of the true and the told term: "
CONTENT = "information content of a term 1 - ln(1 + terms below it) / ln(all terms), from the ontology alone (Seco et al. 2004)."


def _card(name: str, recipe: str, source: str) -> MetricCard:
    return MetricCard(
        name=name,
        family="ontology",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=CELLS + MEAN + recipe,
        source=source,
        floor=FLOOR,
        roof=ROOF,
        per_cell=True,
    )


@metric(
    _card(
        "similarity_resnik",
        "information content of their most informative common ancestor; a right label scores its own information content, so the best that "
        "can be reached depends on the labels; " + CONTENT,
        "Resnik 1995",
    )
)
def similarity_resnik(told_terms: ToldTerms) -> Measured:
    """How much information true and told label share."""
    return _mean(shared_information, told_terms)


@metric(
    _card(
        "similarity_lin",
        "twice the information content of their most informative common ancestor over the sum of their own, 1 for the same term; "
        + CONTENT,
        "Lin 1998",
    )
)
def similarity_lin(told_terms: ToldTerms) -> Measured:
    """What share of the information of true and told label is common to both."""
    return _mean(lin, told_terms)


@metric(
    _card(
        "similarity_jiang_conrath",
        "1 - (the sum of their information contents less twice that of their most informative common ancestor) / 2; " + CONTENT,
        "Jiang and Conrath 1997; Seco et al. 2004",
    )
)
def similarity_jiang_conrath(told_terms: ToldTerms) -> Measured:
    """How little information lies between true and told label."""
    return _mean(jiang_conrath, told_terms)


@metric(
    _card(
        "similarity_wang",
        "sum over common ancestors of S_true + S_told, over the sums of S of all ancestors of each, S of an ancestor = 0.8 ^ (fewest is_a "
        "steps up to it), a term being an ancestor of itself.",
        "Wang et al. 2007",
    )
)
def similarity_wang(told_terms: ToldTerms) -> Measured:
    """What share of the ancestors of true and told label is common to both, near ones counting more."""
    return _mean(wang, told_terms)


def _mean(similarity: Callable[[Ontology, Sequence[str]], NDArray[np.float64]], told: ToldTerms) -> Measured:
    values = similarity(told.ontology, told.listed)[told.true, told.told]
    return Measured(float(values.mean()), told.per_cell(values), told.details)
