"""Types that nobody could learn: are they noticed, what are they taken for, and are the known ones still told?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scrutiny.core.scores import Run

from .adaptations import Value, value
from .comparisons import Comparison
from .details import scores
from .words import listing

METRICS = ("macro_f1_seen", "unseen_rejected", "novelty_auroc", "seen_accepted")


class Row(NamedTuple):
    """One method: the harmonic mean with its interval, and what goes into it; ``taken_for`` in words."""

    method: str
    harmonic: Value
    others: Mapping[str, float | None]
    taken_for: str


def rows(split: Comparison, runs: Sequence[Run]) -> list[Row]:
    """Models and cheap methods, best first."""
    told = scores(split, runs)
    return [
        Row(
            method,
            value(split, method),
            {metric: split.value(method, metric) for metric in METRICS},
            taken_for(told[method]["unseen_rejected"][0].details.get("types", {}) if "unseen_rejected" in told[method] else {}),
        )
        for method in split.contenders
    ]


def taken_for(types: Mapping[str, Mapping[str, Any]]) -> str:
    """E.g. "NK: 3 of 40 noticed, others told CD8 T (35) and B (2)"."""
    said = []
    for label, told in types.items():
        others = [f"{name} ({n})" for name, n in told["taken_for"].items()]
        said.append(f"{label}: {told['rejected']} of {told['cells']} noticed{f', others told {listing(others, most=3)}' if others else ''}")
    return "; ".join(said)
