"""Findings on models beside their untrained twins: what of a score comes from pretraining."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from scrutiny.core.cards import TWIN

from .comparisons import Comparison
from .finding import Finding, ScoredCase, Severity
from .intervals import Interval
from .verdict import MARGIN, paired
from .words import listing, number

ANSWERS: dict[str, tuple[Severity, str, str]] = {
    "no better": (
        "problem",
        "No better than with random weights: {}",
        "The untrained twin has the same architecture and tokens, so what these models score here does not come from pretraining.",
    ),
    "perhaps": (
        "caution",
        "Better than with random weights, perhaps by chance: {}",
        "The interval holds 0, or there is none: more cells would tell.",
    ),
    "better": (
        "note",
        "Better than with random weights: {}",
        "This difference is what pretraining adds here; whether it beats cheap methods is another question.",
    ),
}
"""How a model stands to its twin, to severity, title and advice."""


class Beside(NamedTuple):
    """A model's primary score and its best twin's; the paired difference where both have replicates."""

    model: float
    twin: float
    difference: Interval | None

    @property
    def answer(self) -> str:
        """A key of `ANSWERS`."""
        if self.model - self.twin <= MARGIN:
            return "no better"
        return "better" if self.difference is not None and self.difference.low > 0 else "perhaps"

    def __str__(self) -> str:
        told = f"{number(self.model, digits=3)} (untrained {number(self.twin, digits=3)}"
        if (d := self.difference) is not None:
            told += f"; difference {number(d.estimate, digits=3)}, 95% interval {number(d.low, digits=3)} to {number(d.high, digits=3)}"
        return f"{told})"


def twins(comparison: Comparison) -> dict[str, list[str]]:
    """Model -> its untrained twins in the same comparison; only models that were run here have any.

    Of several those count that ran with the same options, as far as these concern an untrained net.
    """
    once = comparison.rows.drop_duplicates("method").set_index("method")
    registered, options = once["registered"], once["method_options"].map(json.loads)
    found = {}
    for method in comparison.contenders:
        own = registered.index[registered == f"{TWIN}{registered[method]}"]
        alike = [twin for twin in own if _within({**options[twin], "weights": None}, {**options[method], "weights": None})]
        if len(own):
            found[method] = alike or list(own)
    return found


def _within(part: Any, whole: Any) -> bool:
    """Whether all that one table says is said by another one too, tables in them included."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _within(value, whole[name]) for name, value in part.items())
    return bool(part == whole)


def against_twin(case: ScoredCase) -> Iterator[Finding]:
    """SCR022: how each model stands to its untrained twin on the primary score; of several twins to the best."""
    values, found = case.comparison.primary_values, {}
    for model, own in twins(case.comparison).items():
        known = [twin for twin in own if twin in values]
        if known and model in values:
            best = max(known, key=lambda twin: values[twin])
            found[model] = Beside(values[model], values[best], paired(case.comparison, model, best))
    for answer, (severity, title, advice) in ANSWERS.items():
        told = {model: beside for model, beside in found.items() if beside.answer == answer}
        if told:
            evidence = f"{case.comparison.primary}: {listing([f'{model} {beside}' for model, beside in told.items()])}."
            yield Finding("SCR022", severity, title.format(listing(list(told))), evidence, advice)
