"""Scores of each label, methods side by side, with intervals; rare labels are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrutiny.metrics.annotation import RARE

from .details import all_labelled


@dataclass(frozen=True)
class LabelScore:
    """F1 of one label by one method, with its interval, and what it comes from; ``precision`` is None where the label is never told."""

    f1: float
    low: float
    high: float
    recall: float
    precision: float | None


@dataclass(frozen=True)
class LabelRow:
    """One label: cells that were scored, and learnt from as far as that is known; methods that lack it are not in ``scores``."""

    label: str
    cells: int
    learnt_from: int | None
    is_rare: bool
    scores: Mapping[str, LabelScore]

    @property
    def best(self) -> str | None:
        """The method whose interval lies above those of all others; None if there is none."""
        ranked = sorted(self.scores, key=lambda method: -self.scores[method].f1)
        if len(ranked) < 2 or self.scores[ranked[0]].low <= max(self.scores[m].high for m in ranked[1:]):
            return None
        return ranked[0]


def label_rows(details: Mapping[str, Mapping[str, Any]], order: Sequence[str]) -> list[LabelRow]:
    """Rows in the given order.

    Parameters
    ----------
    details
        Method to the details of its macro-F1: ``labels`` maps each label to its scores, ``labelled_cells`` is of all labels.
    """
    tables = {method: told["labels"] for method, told in details.items() if told.get("labels")}
    first: dict[str, Mapping[str, Any]] = {}
    for table in tables.values():
        for label, told in table.items():
            first.setdefault(label, told)
    trained = {label: told.get("trained_on") for label, told in first.items()}
    total = max((all_labelled(told) or 0 for told in details.values()), default=0)
    return [
        LabelRow(
            label,
            int(first[label]["cells"]),
            trained[label],
            bool(total and (trained[label] or 0) < RARE * total),
            {method: _score(table[label]) for method, table in tables.items() if label in table},
        )
        for label in order
        if label in first
    ]


def _score(told: Mapping[str, Any]) -> LabelScore:
    return LabelScore(told["f1"], told["f1_low"], told["f1_high"], told["recall"], told.get("precision"))
