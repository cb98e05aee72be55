"""Findings about published models: whose weights they are, what binds their use, how many genes they know, who sees whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .finding import DataCase, Finding
from .words import listing

FEW_GENES = 0.5
"""Share of the data's genes below which a model misses much of what was measured."""


def unconfirmed_weights(case: DataCase) -> Iterator[Finding]:
    """SCR018: weights that nobody can say to be the published ones."""
    others = {model: told for model, told in _told(case, "weights") if not told.get("published")}
    if others:
        places = (f"{model}: {told.get('origin', 'an unknown place')}, key {told.get('key', 'unknown')}" for model, told in others.items())
        yield Finding(
            "SCR018",
            "problem",  # it stands beside the verdict, which would otherwise be read as one on the published model
            f"The weights of {listing(list(others))} are not known to be the published ones",
            f"{'; '.join(places)}.",
            "Read these scores as those of these very weights, not of the model as published, unless you know better.",
        )


def bound_weights(case: DataCase) -> Iterator[Finding]:
    """SCR019: weights that may not be used commercially."""
    bound = {model: told for model, told in _told(case, "weights") if told.get("commercial") is False}
    for model, told in bound.items():
        yield Finding(
            "SCR019",
            "caution",
            f"The weights of {model} are for non-commercial use only",
            f"Licence of the weights: {told.get('licence')}.",
            "Ask their authors before using it in a product or a service.",
        )


def few_known_genes(case: DataCase) -> Iterator[Finding]:
    """SCR020: models that know less than half of the genes."""
    for model, told in _told(case, "genes"):
        found, of = told.get("n_found"), case.facts.n_genes
        if found is not None and of and found < FEW_GENES * of:
            yield Finding(
                "SCR020",
                "note",
                f"{model} knows {found:,} of {of:,} genes",
                "The others are not shown to it; the cheap methods see all genes.",
                "If a marker that matters to you is among them, judge the model without it.",
            )


def transductive(case: DataCase) -> Iterator[Finding]:
    """SCR021: models whose vector of a cell depends on the other cells."""
    models = [model for model, card in case.models.items() if card.get("transductive")]
    if models:
        one = len(models) == 1
        yield Finding(
            "SCR021",
            "note",
            f"{listing(models)} {'embeds' if one else 'embed'} all cells at once",
            "The vector of a cell depends on the other cells by design, so new cells cannot be added to an embedding that exists.",
            "Compare with other methods that see all cells (Harmony, Scanorama), and embed again when cells are added.",
        )


def _told(case: DataCase, fact: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the Runs of each model recorded under a name."""
    return ((model, told[fact]) for model, told in sorted(case.told.items()) if told.get(fact))


MODEL_CHECKS = (unconfirmed_weights, bound_weights, few_known_genes, transductive)
