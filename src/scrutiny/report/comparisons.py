"""The tidy table cut into comparisons: one data set, one task, one label column, all methods side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import Kind
from scrutiny.core.scores import Status

NAMED_BY = {"precomputed": "key"}
"""Method to the option that is its name to the reader."""


class Key(NamedTuple):
    """What a comparison is about. ``label_column`` is '' where no label was used."""

    dataset: str
    task: str
    label_column: str


class Replicated(NamedTuple):
    """Replicates of one metric, the same parts of the cells in the same row for every method; higher is better.

    kept, held : (n_replicates, n_methods), NaN where there is no value; columns are methods.
    """

    kept: pd.DataFrame
    held: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Comparison:
    """All methods of one data set, task and label column.

    Attributes
    ----------
    rows
        The tidy rows of this comparison; runs without scores have an empty ``metric``.
    primary
        The metric that was declared before anything ran.
    """

    key: Key
    rows: pd.DataFrame
    primary: str

    @cached_property
    def scored(self) -> pd.DataFrame:
        """Rows that hold a number."""
        return self.rows[(self.rows["status"] == Status.OK) & self.rows["value"].notna()]

    @cached_property
    def values(self) -> pd.DataFrame:
        """Mean over seeds, shape (n_methods, n_metrics), NaN where there is no number."""
        return self.scored.pivot_table(index="method", columns="metric", values="value", aggfunc="mean")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a metric, in the order of the table: family, primary, better, low, high, floor, roof, label_tuned."""
        columns = ["family", "primary", "better", "low", "high", "floor", "roof", "label_tuned"]
        named = self.rows[self.rows["metric"].astype(bool)]
        return named.drop_duplicates("metric").set_index("metric")[columns]

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """Method to kind."""
        return dict(zip(self.rows["method"], self.rows["kind"]))

    def methods(self, *kinds: Kind) -> list[str]:
        """Methods of these kinds that have a value of the primary metric, best first."""
        ranked = self.primary_values.sort_values(ascending=False, kind="stable").index
        return [m for m in ranked if self.kinds[m] in kinds]

    @property
    def contenders(self) -> list[str]:
        """Everything but the controls, best first."""
        return self.methods("model", "baseline")

    @property
    def sign(self) -> int:
        """1 where a higher primary value is better, -1 where a lower one is."""
        return self.direction(self.primary)

    def direction(self, metric: str) -> int:
        return -1 if metric in self.metrics.index and self.metrics.at[metric, "better"] == "lower" else 1

    @cached_property
    def primary_values(self) -> pd.Series:
        """Primary value a method, turned so that higher is better."""
        if self.primary not in self.values:
            return pd.Series(dtype=float)
        return self.sign * self.values[self.primary].dropna()

    def value(self, method: str, metric: str) -> float | None:
        """Mean over seeds, or None if there is no number."""
        if metric not in self.values or method not in self.values.index or np.isnan(self.values.at[method, metric]):
            return None
        return float(self.values.at[method, metric])

    def seed_spread(self, method: str) -> float | None:
        """Largest minus smallest primary value over the seeds; None for a single seed."""
        values = self.seed_values(method)
        return max(values) - min(values) if len(values) > 1 else None

    def seed_values(self, method: str) -> tuple[float, ...]:
        """Primary value of each seed, in their order."""
        own = self.scored[(self.scored["method"] == method) & (self.scored["metric"] == self.primary)]
        return tuple(float(value) for value in own.sort_values("seed")["value"])

    @cached_property
    def cost(self) -> pd.DataFrame:
        """Mean over seeds, index method; NaN: not told. Seconds are those to fit and to answer, ``trainable`` numbers that were learnt."""
        once = self.rows.drop_duplicates("run_key")
        once = once[once["method"].isin(self.values.index)].copy()
        for name in ("seconds_fit", "seconds_embed", "peak_memory_mb", "trainable", "n_answered"):
            once[name] = once[name].astype(float) if name in once else np.nan
        once["seconds"] = once["seconds_fit"] + once["seconds_embed"]
        once["cells_per_second"] = once["n_answered"] / once["seconds_embed"].where(once["seconds_embed"] > 0)
        return once.groupby("method")[["seconds", "peak_memory_mb", "seconds_fit", "cells_per_second", "trainable"]].mean()

    @cached_property
    def replicates(self) -> Replicated:
        """Replicates of the primary metric, averaged over seeds: seeds are not replicates."""
        rows = self.scored[self.scored["metric"] == self.primary]
        return Replicated(self._stacked(rows, "replicates_kept"), self._stacked(rows, "replicates_held"))

    @property
    def by_donor(self) -> bool:
        """Whether the replicates leave out whole donors."""
        return "replicates_scheme" in self.rows and self.rows["replicates_scheme"].fillna("").str.contains("donors").any()

    def _stacked(self, rows: pd.DataFrame, column: str) -> pd.DataFrame:
        by_method: dict[str, list[NDArray[np.float64]]] = {}
        for method, listed in zip(rows["method"], rows[column]):
            if isinstance(listed, list | tuple | np.ndarray) and len(listed):
                by_method.setdefault(method, []).append(np.array(listed, dtype=float))
        length = max((len(v[0]) for v in by_method.values()), default=0)
        same = {m: v for m, v in by_method.items() if all(len(seed) == length for seed in v)}
        return pd.DataFrame({m: self.sign * np.mean(v, axis=0) for m, v in same.items()}, index=range(length))


def comparisons(table: pd.DataFrame) -> list[Comparison]:
    """Cut a tidy table (``Store.scores()``) into comparisons, in the order of its data sets, tasks and label columns."""
    whole = table.reset_index(drop=True)
    named = with_display_names(whole.assign(label_column=whole["label_column"].fillna(""), metric=whole["metric"].fillna("")))
    found = []
    for (dataset, task, label_column), rows in named.groupby(["dataset", "task", "label_column"], sort=False):
        primary = rows.loc[rows["primary"].fillna(False).astype(bool), "metric"]
        if len(primary):
            found.append(Comparison(Key(str(dataset), str(task), str(label_column)), rows, str(primary.iloc[0])))
    return found


def with_display_names(table: pd.DataFrame) -> pd.DataFrame:
    """Tell methods apart that ran with several sets of options, and call ready-made arrays and trained nets by their names.

    ``scvi`` becomes ``scvi (n_latent=30)`` where another ``scvi`` ran too; ``precomputed`` becomes ``X_mine``, and a method with a name
    in the column ``called``, which may be absent, gets that. The registered name stays in the column ``registered``. The index must be
    unique.
    """
    listed = table["method_options"].fillna("{}")
    known = {text: _parsed(text) for text in listed.unique()}
    options = listed.map(known)
    called = table["called"].fillna("") if "called" in table else pd.Series("", table.index)
    own = [shown or _own_name(method, o) for shown, method, o in zip(called, table["method"], options)]
    names = pd.Series(own, index=table.index, dtype=object)
    for name, found in options.groupby(names):
        unlike = {_text(o): o for o in found}.values()
        varied = {key for o in unlike for key in o if len({_text(other.get(key)) for other in unlike}) > 1}
        if varied:
            names.loc[found.index] = [_with_options(str(name), o, varied) for o in found]
    return table.assign(registered=table["method"], method=names)


def _own_name(method: str, options: Mapping[str, object]) -> str:
    return str(options[NAMED_BY[method]]) if NAMED_BY.get(method) in options else method


def _parsed(options: object) -> dict[str, object]:
    loaded = json.loads(options) if isinstance(options, str) else options
    return dict(loaded) if isinstance(loaded, Mapping) else {}


def _text(option: object) -> str:
    return json.dumps(option, sort_keys=True, default=str)


def _with_options(method: str, options: Mapping[str, object], varied: set[str]) -> str:
    shown = ", ".join(f"{key}={options[key]}" for key in sorted(varied) if key in options)
    return f"{method} ({shown})" if shown else method
