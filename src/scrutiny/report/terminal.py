"""The verdict and a compact table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrutiny.core.scores import Status
from scrutiny.engine.store import Store

from .advice import Advice
from .comparisons import Comparison
from .gather import Gathered, gather
from .ranks import axis_metrics, fronts
from .recommendation import Recommendation
from .reconstruction import picture
from .sentences import overall
from .verdict import Verdict, paired, score_interval
from .words import duration, metric_words, number, title

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SHOWN = ("problem", "caution")
"""Findings that the terminal shows; notes are in the report."""
DIFFERENCES = "Differences are means over parts of the cells, so their last digit may differ from that of the values."
STYLES = {"problem": "bold red", "caution": "yellow"}


def show(stores: Store | Sequence[Store], console: Console) -> None:
    """Print verdict, recommendation, one compact table a comparison, and the findings that matter most."""
    from rich.padding import Padding
    from rich.text import Text

    gathered = gather([stores] if isinstance(stores, Store) else stores)
    for note in gathered.notes:
        console.print(Padding(Text.assemble(("About this study. ", "bold"), note), (1, 0, 0, 0)))
    for comparison, verdict, advice in zip(gathered.comparisons, gathered.verdicts, gathered.recommendations):
        console.print()
        console.print(_compact(comparison, verdict, advice))
        console.print(Padding(Text(verdict.sentence), (0, 1)))
        for line in _left_out(comparison):
            console.print(Padding(Text(line, style="dim"), (0, 1)))
        for problem in gathered.problems(comparison):
            console.print(Padding(Text(f"{problem.code}: {problem.title}.", style="red"), (0, 1)))
        if shown := picture(comparison, gathered.runs):
            console.print(Padding(Text(shown.words), (0, 1)))
        if verdict.caveat:
            console.print(Padding(Text(verdict.caveat, style="dim"), (0, 1)))
    _show_findings(gathered, console)
    console.print()
    console.rule("Verdict", align="left", style="bold")
    console.print(Text(overall(gathered.verdicts), style="bold"))
    for piece in gathered.advice:
        console.print(advised(piece))
    console.print()


def advised(advice: Advice) -> Text:
    """What to use and why, in a line."""
    from rich.text import Text

    found = advice.recommendation
    use = f"use {found.method}" if found.method else "no recommendation"
    return Text.assemble((f"{advice.about}: ", "dim"), (f"{use}. ", "green" if found.method else ""), found.why)


def _compact(comparison: Comparison, verdict: Verdict, advice: Recommendation) -> Table:
    """Contenders best first, then the controls: primary value with interval, difference from the plain method, axes, time, front."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    axes = {axis: metric for axis, metric in axis_metrics(comparison).items() if metric != comparison.primary}
    table = Table(title=title(comparison.key), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in (metric_words(comparison.primary), f"from {verdict.reference or 'plain'}", *axes.values(), "time", "front"):
        table.add_column(heading, justify="right")
    ranks = fronts(comparison)
    for method in [*comparison.contenders, *comparison.methods("control")]:
        style = "dim" if comparison.kinds[method] == "control" else "green" if method == advice.method else ""
        seconds = comparison.cost["seconds"].get(method)
        cells = [
            _score(comparison, method),
            _difference(comparison, verdict, method),
            *(number(comparison.value(method, metric)) for metric in axes.values()),
            duration(seconds),
            str(ranks.get(method, "")),
        ]
        mark = " *" if method == verdict.winner else " =" if method in verdict.ties else ""
        table.add_row(Text(method + mark, style=style), *(Text(cell, style=style) for cell in cells))
    ties = "  = cannot be told from it" if verdict.ties else ""
    table.caption = f"* best{ties}  dim: controls  front 1: no method is better in quality, mixing and cost at once\n{DIFFERENCES}"
    table.caption_justify = "left"
    return table


def _left_out(comparison: Comparison) -> list[str]:
    """A line for each method that was asked for and has no score."""
    rows = comparison.rows[(comparison.rows["metric"] == comparison.primary) & (comparison.rows["status"] != Status.OK)]
    rows = rows[~rows["method"].isin(comparison.values.index)].drop_duplicates("method")
    return [f"Without a score: {row.method} ({str(row.status).replace('_', ' ')}): {row.reason}" for row in rows.itertuples()]


def _score(comparison: Comparison, method: str) -> str:
    found = score_interval(comparison, method)
    value = number(comparison.value(method, comparison.primary), digits=3)
    return f"{value} ({number(found.low)}–{number(found.high)})" if found else value


def _difference(comparison: Comparison, verdict: Verdict, method: str) -> str:
    if verdict.reference is None or method == verdict.reference:
        return ""
    found = paired(comparison, method, verdict.reference)
    return f"{number(found.estimate, signed=True)} ({number(found.low)} to {number(found.high)})" if found else ""


def _show_findings(gathered: Gathered, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    shown = [finding for finding in gathered.findings if finding.severity in SHOWN]
    n_notes = len(gathered.findings) - len(shown)
    console.print()
    for finding in shown:
        console.print(Text.assemble((f"{finding.code} {finding.severity}: ", STYLES[finding.severity]), finding.title))
        console.print(Padding(Text(f"{finding.evidence} {finding.advice}", style="dim"), (0, 0, 0, 2)))
    if n_notes:
        console.print(Text(f"{n_notes} notes are in the report.", style="dim"))
