"""The table in which a net as it is, probes on it and all its adaptations stand together, beside cheap methods and controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .annotation import FEW, Annotated
from .approaches import WAYS, Approach
from .comparisons import Comparison
from .intervals import Interval
from .table import coverage
from .verdict import score_interval

CHEAP, CONTROLS, ALONE = "Cheap methods", "Controls", "Other models"


@dataclass(frozen=True)
class Value:
    """A primary value with its interval; what is None could not be had, and ``reason`` says why, where anybody knows."""

    value: float | None
    interval: Interval | None = None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One method: its scores on the chief split and on the others, what it cost, and where there is no score the reason."""

    method: str
    name: str
    words: str
    score: Value
    difference: Interval | None
    is_cheapest_best: bool
    others: Mapping[str, Value]
    cost: Mapping[str, float]
    """trainable, seconds_fit, cells_per_second, peak_memory_mb; what is not known is left out."""
    reason: str

    @property
    def beats(self) -> bool:
        """Surely better than the best cheap method."""
        return self.difference is not None and self.difference.low > 0


@dataclass(frozen=True)
class Group:
    """Rows of one net, or of all that has none."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class AdaptationTable:
    """Groups of rows; ``others`` are the further splits that have a column."""

    groups: tuple[Group, ...]
    others: tuple[str, ...]


def adaptation_table(found: Annotated) -> AdaptationTable:
    """The table of a data set. Few-shot splits are left to the learning curves."""
    chief = found.chief
    others = tuple(task for task in found.splits if task != chief.key.task and not FEW.fullmatch(task))
    reasons = _reasons(chief)
    listed = [m for m in dict.fromkeys([*chief.primary_values.sort_values(ascending=False).index, *reasons]) if _has_way(found, m)]
    rows = {method: _row(found, method, others, reasons.get(method, "")) for method in listed}
    titles = dict.fromkeys(sorted((_group(found, m) for m in rows), key=lambda t: (t == CONTROLS, t == CHEAP, t == ALONE)))
    groups = (Group(title, tuple(rows[m] for m in _ordered(found, title, rows))) for title in titles)
    return AdaptationTable(tuple(groups), others)


def _has_way(found: Annotated, method: str) -> bool:
    """A net that tells no labels by itself is not asked to: its readings and adaptations are."""
    known = found.approaches[method]
    others = any(approach.net == known.net and approach.way != "whole" for approach in found.approaches.values())
    return not (known.net and known.way == "whole" and others and found.chief.value(method, found.chief.primary) is None)


def _group(found: Annotated, method: str) -> str:
    known = found.approaches[method]
    if known.net and any(other.net == known.net and other.way != "whole" for other in found.approaches.values()):
        return known.net
    return {"control": CONTROLS, "baseline": CHEAP}.get(found.chief.kinds[method], ALONE)


def _ordered(found: Annotated, title: str, methods: Iterable[str]) -> list[str]:
    """Best first; in the group of a net by way, each untrained twin behind its model and what has no score last."""
    own = [method for method in methods if _group(found, method) == title]
    if title in (CHEAP, CONTROLS, ALONE):
        return own
    place: dict[str, int] = {}
    for i, method in enumerate(sorted(own, key=lambda m: found.approaches[m].twin)):
        place.setdefault(found.approaches[method].head, i)

    def key(method: str) -> tuple[int, int, bool]:
        known: Approach = found.approaches[method]
        return WAYS.index(known.way), place[known.head], known.twin

    return sorted(own, key=key)


def _row(found: Annotated, method: str, others: Iterable[str], reason: str) -> Row:
    chief, known = found.chief, found.approaches[method]
    differences = {m.model: m.difference for m in found.verdict.models}
    cost = chief.cost.loc[method].drop("seconds").dropna().to_dict() if method in chief.cost.index else {}
    return Row(
        method,
        f"random weights+{known.head}" if known.twin and known.head else method,
        f"untrained, {known.words or known.way}" if known.twin else known.words,
        value(chief, method),
        differences.get(method),
        method == found.cheap,
        {task: value(found.splits[task], method) for task in others},
        {name: float(number) for name, number in cost.items() if np.isfinite(number)},
        reason,
    )


def value(split: Comparison, method: str) -> Value:
    """Primary value of a method on a split."""
    known = split.value(method, split.primary)
    if known is None:
        return Value(None, reason=_reasons(split).get(method, "not asked"))
    return Value(known, score_interval(split, method))


def _reasons(split: Comparison) -> dict[str, str]:
    """Method to why it has no score."""
    table = coverage(split)
    table = table[table["metric"].isin(["", split.primary]) & ~table["method"].isin(split.primary_values.index)]
    return dict(zip(table["method"], table["reason"], strict=True))
