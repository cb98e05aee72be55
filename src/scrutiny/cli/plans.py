"""Tables for the terminal: a plan before it runs, scores of one embedding."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from scrutiny.cli.tables import plain_table

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.plan import Plan

STATES = ("to do", "done", "failed before", "not applicable")
"""Of a planned run, as the engine calls them."""

def show_plan(plan: Plan, console: Console) -> None:
    """A line a method and data set, what each of its tasks will do, the reasons of what cannot run, and the cost."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for run in plan.runs:
        groups[run.spec.dataset, run.spec.method].append(run)
    table = plain_table("Plan", "data set", "method", *STATES)
    for (dataset, method), runs in groups.items():
        table.add_row(dataset, method, *(", ".join(sorted({r.spec.task for r in runs if r.state == state})) for state in STATES))
    console.print(table)
    for reason in dict.fromkeys(run.reason for run in plan.runs if run.reason):
        console.print(f"  - {reason}", markup=False, highlight=False)
    console.print(f"{len(plan.jobs())} jobs, about {_duration(plan.seconds)} on one core.", highlight=False)


def show_scores(table: pd.DataFrame, embedding: str, console: Console) -> None:
    """One row a metric with its controls; what has no value has its reason."""
    numbers = ("value", "floor", "roof", "scaled")
    shown = plain_table(f"{embedding}: {int(table['n_cells'].iloc[0]):,} cells", "metric", *numbers, "better", "note", right=numbers)
    for row in table.drop_duplicates("metric").itertuples():
        note = row.reason if row.status != "ok" else "label-tuned" if row.label_tuned else ""
        name = f"[bold]{row.metric}[/]" if row.primary else row.metric
        shown.add_row(name, *(_number(v) for v in (row.value, row.floor, row.roof, row.scaled)), row.better, note)
    console.print(shown)
    console.print("floor, roof: what the controls score on these cells. scaled: 0 at the floor, 1 at the roof, never clipped.", highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
