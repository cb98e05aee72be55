"""Numbers behind the figures, as JSON that the page's JavaScript draws, and the long table behind the CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .comparisons import Comparison
from .provenance import Card
from .scaling import scaled
from .table import WideTable
from .verdict import MARGIN, Verdict, paired, score_interval
from .words import metric_words, number

DIGITS = 5
"""Significant digits of numbers in the page."""


def chart(comparison: Comparison, verdict: Verdict, table: WideTable, metric_cards: Mapping[str, Card]) -> dict[str, Any]:
    """All that the figures of one comparison show: methods and metrics in the order of its table."""
    shown = {name: i for i, name in enumerate(table.methods)}
    intervals = {m: score_interval(comparison, m) for m in table.methods}
    differences = {m: _difference(comparison, verdict, m) for m in table.methods}
    ends = scaled(comparison).drop_duplicates("metric").set_index("metric")
    return {
        "primary": comparison.primary,
        "primaryWords": metric_words(comparison.primary),
        "better": "higher" if comparison.sign > 0 else "lower",
        "margin": MARGIN,
        "winnerWord": "mixes most" if verdict.mixing_only else "best",
        "referenceName": verdict.reference or "",
        "reference": shown.get(verdict.reference or "", -1),
        "winner": shown.get(verdict.winner or "", -1),
        "ties": [shown[m] for m in verdict.ties if m in shown],
        "methods": [_method(comparison, m) for m in table.methods],
        "metrics": [_metric(comparison, m, ends, metric_cards.get(m, {})) for m in table.metrics if m in ends.index],
        "values": {m: [brief(table.cells[method][m].value) for method in table.methods] for m in table.metrics if m in ends.index},
        "scaled": {m: [brief(table.cells[method][m].scaled) for method in table.methods] for m in table.metrics if m in ends.index},
        "intervals": [[brief(i.low), brief(i.high)] if i else None for i in intervals.values()],
        "differences": [[brief(d.estimate), brief(d.low), brief(d.high)] if d else None for d in differences.values()],
    }


def columns(table: pd.DataFrame) -> dict[str, Any]:
    """A table column by column: numbers as they are, texts as levels and codes (-1: none)."""
    return {"length": len(table), "columns": [_column(str(name), table[name]) for name in table]}


def brief(value: float | None) -> float | int | None:
    """A number with `DIGITS` significant digits; None for what is not finite."""
    if value is None or not np.isfinite(value):
        return None
    short = float(f"{float(value):.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return {"name": name, "values": [brief(v) for v in values.astype(float)]}
    codes, levels = pd.factorize(values.astype("string").replace("", pd.NA))
    return {"name": name, "levels": [str(level) for level in levels], "codes": codes.tolist()}


def _difference(comparison: Comparison, verdict: Verdict, method: str) -> Any:
    if verdict.reference is None or method == verdict.reference:
        return None
    return paired(comparison, method, verdict.reference)


def _method(comparison: Comparison, method: str) -> dict[str, Any]:
    cost = comparison.cost.loc[method] if method in comparison.cost.index else {}
    return {
        "name": method,
        "kind": comparison.kinds[method],
        "seconds": brief(cost.get("seconds")),
        "memory": brief(cost.get("peak_memory_mb")),
    }


def _metric(comparison: Comparison, metric: str, ends: pd.DataFrame, card: Card) -> dict[str, Any]:
    row = comparison.metrics.loc[metric]
    return {
        "name": metric,
        "family": str(row["family"]),
        "primary": metric == comparison.primary,
        "better": str(row["better"]),
        "high": brief(row["high"]),
        "floor": row["floor"] or "",
        "roof": row["roof"] or "",
        "floorValue": brief(ends.at[metric, "floor_value"]),
        "roofValue": brief(ends.at[metric, "roof_value"]),
        "unscaled": ends.at[metric, "unscaled_because"],
        "labelTuned": bool(row["label_tuned"]),
        "recipe": str(card.get("recipe") or ""),
    }


def map_scores(found: Sequence[Comparison], dataset: str) -> dict[str, str]:
    """Method to its primary values over the comparisons of a data set, in words for the caption of its map."""
    own = [c for c in found if c.key.dataset == dataset]
    tasks = Counter(c.key.task for c in own)
    words = [c.key.task.replace("_", " ") + (f" ({c.key.label_column})" if tasks[c.key.task] > 1 else "") for c in own]
    methods = dict.fromkeys(m for c in own for m in c.contenders)
    return {m: " · ".join(f"{word} {number(c.value(m, c.primary))}" for c, word in zip(own, words) if m in c.contenders) for m in methods}
