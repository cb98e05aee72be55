"""Tables for the terminal: a plan before it runs, scores of one embedding."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from scrutiny.cli.tables import plain_table

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.plan import Plan, Planned
    from scrutiny.engine.preparations import Preparation

LONG = {"to do": "to do", "done": "done", "failed before": "failed", "not applicable": "no"}
SHORT = {"to do": "+", "done": "=", "failed before": "!", "not applicable": "-"}
"""State of a Run -> how a table tells it where there is room, and where there is not."""
WIDTH_OF_NAMES = 40


def show_plan(plan: Plan, console: Console) -> None:
    """For each data set a table of methods by tasks; what cannot run points to a numbered reason; then the cost."""
    reasons = {reason: i + 1 for i, reason in enumerate(dict.fromkeys(run.reason for run in plan.runs if run.reason))}
    tasks = list(dict.fromkeys(run.spec.task for run in plan.runs))
    is_narrow = sum(len(task) + 3 for task in tasks) > console.width - WIDTH_OF_NAMES
    columns = [_letter(i) for i in range(len(tasks))] if is_narrow else tasks
    for dataset in dict.fromkeys(run.spec.dataset for run in plan.runs):
        table = plain_table(f"Plan for {dataset}", "method", *columns, "seconds", right=("seconds",))
        table.padding = (0, 0 if is_narrow else 1)  # type: ignore[assignment]
        runs = [run for run in plan.runs if run.spec.dataset == dataset]
        names = _names(runs)
        for method in dict.fromkeys(names):
            own = [run for run, name in zip(runs, names) if name == method]
            cells = [_states([run for run in own if run.spec.task == task], reasons, SHORT if is_narrow else LONG) for task in tasks]
            seconds = replace(plan, runs=tuple(own)).seconds
            table.add_row(method, *cells, f"{seconds:.0f}" if seconds else "-")
        console.print(table)
    if is_narrow:
        console.print("  " + ", ".join(f"{letter}: {task}" for letter, task in zip(columns, tasks)), highlight=False)
        console.print("  " + ", ".join(f"{sign} {LONG[state]}" for state, sign in SHORT.items()), highlight=False)
    for reason, number in reasons.items():
        console.print(f"  ({number}) {reason}", markup=False, highlight=False)
    searching = {run.spec.method: trials for run in plan.runs if (trials := run.spec.method_options.get("trials"))}
    for trials in sorted(set(searching.values())):
        names = ", ".join(name for name, n in searching.items() if n == trials)
        console.print(f"  Options are searched for with {trials} trials each: {names}", markup=False, highlight=False)
    before = _show_preparations(plan.preparations(), console)
    jobs = f"{len(plan.jobs())} jobs, about {_duration(plan.seconds)} one after the other"
    console.print(f"{before}{jobs}; nothing was run.", highlight=False)


def _show_preparations(found: list[Preparation], console: Console) -> str:
    """A table of the trainings that come first; returns how they begin the last line."""
    if not found:
        return ""
    table = plain_table("Trainings before anything else", "net", "seeds", "each", right=("each",))
    for called in dict.fromkeys(preparation.called for preparation in found):
        own = [preparation for preparation in found if preparation.called == called]
        table.add_row(called, ", ".join(str(preparation.seed) for preparation in own), f"~{_duration(own[0].seconds)}")
    console.print(table)
    rough = "by the operations declared and a short measurement of this machine: within a factor of two or three"
    console.print(f"  The times of trainings are rough, {rough}.", highlight=False)
    return f"{len(found)} trainings, roughly {_duration(sum(preparation.seconds for preparation in found))}; then "


def _names(runs: list[Planned]) -> list[str]:
    """What the report calls their methods: several sets of options of one method are told apart."""
    from scrutiny.report.comparisons import with_display_names

    specs = [run.spec for run in runs]
    columns = {"method": [spec.method for spec in specs], "method_options": [json.dumps(dict(spec.method_options)) for spec in specs]}
    table = pd.DataFrame({**columns, "called": [run.facts.get("called", "") for run in runs]})
    return list(with_display_names(table)["method"])


def _letter(number: int) -> str:
    """a, b ... z, aa, ab ..."""
    return ("" if number < 26 else _letter(number // 26 - 1)) + chr(ord("a") + number % 26)


def _states(runs: list[Planned], reasons: dict[str, int], told: dict[str, str]) -> str:
    """The states of one method and task over its label columns and seeds, each once."""
    return ", ".join(dict.fromkeys(told[run.state] + (f" ({reasons[run.reason]})" if run.reason else "") for run in runs))


def show_scores(table: pd.DataFrame, embedding: str, console: Console) -> None:
    """One row a metric with its controls; what has no value has its reason."""
    from scrutiny.report.ready_made import misaligned

    numbers = ("value", "floor", "roof", "scaled")
    shown = plain_table(f"{embedding}: {int(table['n_cells'].iloc[0]):,} cells", "metric", *numbers, "better", "note", right=numbers)
    for row in table.drop_duplicates("metric").itertuples():
        marks = ["primary"] * bool(row.primary) + ["label-tuned"] * bool(row.label_tuned)
        note = row.reason if row.status != "ok" else ", ".join(marks)
        name = f"[bold]{row.metric}[/]" if row.primary else row.metric
        shown.add_row(name, *(_number(v) for v in (row.value, row.floor, row.roof, row.scaled)), row.better, note)
    console.print(shown)
    if misaligned(table):
        told = "SCR001: this embedding scores like shuffled cells. Its rows are probably not in the order of the cells of the file."
        console.print(told, style="bold red", highlight=False)
    console.print("floor, roof: what the controls score on these cells. scaled: 0 at the floor, 1 at the roof.", highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
