"""Tables for people: methods by metrics with the raw and the scaled value, coverage, and the long table behind the CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scrutiny.core.scores import Status

from .comparisons import Comparison
from .scaling import scaled

FAMILIES = ("overall", "reconstruction", "cell types", "annotation", "ontology", "calibration", "batches", "conservation")
LONG_COLUMNS = [
    *("dataset", "task", "label_column", "method", "kind", "seed", "metric", "family", "primary", "status", "value", "scaled"),
    *("better", "floor", "roof", "label_tuned", "reason", "seconds_fit", "seconds_embed", "peak_memory_mb", "n_cells", "n_dims"),
]


@dataclass(frozen=True)
class Cell:
    """A number in the wide table; ``value`` is None where there is none and ``reason`` says why."""

    value: float | None
    scaled: float | None = None
    best: bool = False
    reason: str = ""


@dataclass(frozen=True, eq=False)
class WideTable:
    """Methods by metrics; ``cells[method][metric]``. Metrics stand in families, the primary metric first."""

    families: dict[str, list[str]]
    methods: list[str]
    cells: dict[str, dict[str, Cell]]

    @property
    def metrics(self) -> list[str]:
        return [metric for metrics in self.families.values() for metric in metrics]


def wide(comparison: Comparison, metrics: Sequence[str] | None = None) -> WideTable:
    """All methods, controls last, by the given metrics (default: all that have a value for any method)."""
    families = _families(comparison, metrics)
    fractions = scaled(comparison).set_index(["method", "metric"])["scaled"].to_dict()
    reasons = {(r.method, r.metric): r.reason for r in coverage(comparison).itertuples()}
    best = {metric: _best(comparison, metric) for metrics in families.values() for metric in metrics}
    methods = _ordered_methods(comparison)
    cells: dict[str, dict[str, Cell]] = {method: {} for method in methods}
    for method in methods:
        for metric in best:
            value, fraction = comparison.value(method, metric), fractions.get((method, metric), np.nan)
            reason = reasons.get((method, metric)) or reasons.get((method, "")) or "not measured"
            number = Cell(value, None if np.isnan(fraction) else float(fraction), method in best[metric])
            cells[method][metric] = Cell(None, reason=reason) if value is None else number
    return WideTable(families, methods, cells)


def coverage(comparison: Comparison) -> pd.DataFrame:
    """What has no number and why.

    Returns
    -------
    DataFrame with the columns ``method, metric, status, reason``. A method that lacks every number for one reason has one row, with an
    empty ``metric``.
    """
    rows = comparison.rows[["method", "metric", "status", "reason"]]
    rows = rows.assign(reason=rows["reason"].fillna("").replace("", "no reason recorded"))
    lacking = rows[rows["status"] != Status.OK].drop_duplicates()
    reasons = lacking.groupby("method")["reason"].nunique()
    whole = set(reasons.index[reasons == 1]) - set(comparison.values.index)
    return lacking.assign(metric=lacking["metric"].mask(lacking["method"].isin(whole), "")).drop_duplicates().reset_index(drop=True)


def long(found: Sequence[Comparison]) -> pd.DataFrame:
    """One row per run and metric with `LONG_COLUMNS`, for the CSV. Scaled values are means over seeds, like their controls."""
    parts = []
    for comparison in found:
        fractions = scaled(comparison).set_index(["method", "metric"])["scaled"]
        keys = pd.MultiIndex.from_frame(comparison.rows[["method", "metric"]])
        parts.append(comparison.rows.assign(scaled=fractions.reindex(keys).to_numpy()))
    return pd.concat(parts, ignore_index=True)[LONG_COLUMNS] if parts else pd.DataFrame(columns=LONG_COLUMNS)


def _families(comparison: Comparison, metrics: Sequence[str] | None) -> dict[str, list[str]]:
    cards = comparison.metrics
    shown = [m for m in cards.index if m in comparison.values and (metrics is None or m in metrics)]
    shown.sort(key=lambda m: m != comparison.primary)
    order = sorted({str(cards.at[m, "family"]) for m in shown}, key=lambda f: (FAMILIES.index(f) if f in FAMILIES else len(FAMILIES), f))
    order.sort(key=lambda family: family != cards.at[comparison.primary, "family"])
    return {family: [m for m in shown if cards.at[m, "family"] == family] for family in order}


def _ordered_methods(comparison: Comparison) -> list[str]:
    ranked = list(comparison.primary_values.sort_values(ascending=False, kind="stable").index)
    others = [m for m in dict.fromkeys(comparison.rows["method"]) if m not in ranked]
    return sorted([*ranked, *others], key=lambda m: comparison.kinds[m] == "control")


def _best(comparison: Comparison, metric: str) -> set[str]:
    """Methods with the best value, controls left out; ties to three digits share the mark."""
    if metric not in comparison.values:
        return set()
    values = comparison.direction(metric) * comparison.values[metric].dropna()
    values = values[[m for m in values.index if comparison.kinds[m] != "control"]].round(3)
    return set(values.index[values == values.max()]) if len(values) > 1 else set()
