"""The command that shows what the literature says beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.report.claims import Judged

STYLES = {"confirmed": "green", "contradicted": "bold red", "undecided": "yellow", "not testable": "dim"}


def claims(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders that `scrutiny run` wrote; none: the list and its sources.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also what cannot be tested on these results, with the reason.")] = False,
    any_weights: Annotated[
        bool, typer.Option("--any-weights", help="Let weights answer that nobody published, such as small nets: told of these nets alone.")
    ] = False,
) -> None:
    """Hold what the literature claims against what was measured: confirmed, contradicted, undecided or not testable here.

    `scrutiny claims`, `scrutiny claims scrutiny-results`, `scrutiny claims lab-a lab-b --all`, `scrutiny claims small-nets --any-weights`
    """
    from rich.console import Console

    console = Console()
    if not folders:
        _show_list(console)
        return
    from scrutiny.engine.store import Store
    from scrutiny.report.claims import disputes, judge
    from scrutiny.report.gather import gather

    from .results import existing

    judged = judge(gather([Store(existing(folder)) for folder in folders]), any_weights=any_weights)
    if any_weights:
        console.print("Answers are of the nets that were scored, whoever trained them: they say nothing on published models.", style="bold")
    for group in disputes(judged):
        if all_ or any(one.answer != "not testable" for one in group):
            _show(console, group)
    lacking = sum(one.answer == "not testable" for one in judged)
    hidden = "" if all_ else "; --all shows them with the reasons"
    console.print(f"{lacking} of {len(judged)} claims cannot be tested on these results{hidden}.", style="dim")


def _show_list(console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from scrutiny.report.literature import literature

    work = ""
    for claim in literature():
        if claim.work != work:
            console.print(Text(f"\n{claim.work}", style="bold"))
            work = claim.work
        against = f"; contradicts {', '.join(claim.contradicts)}" if claim.contradicts else ""
        console.print(Text.assemble((f"{claim.id:5}", "bold"), claim.statement, (f" ({claim.where}{against})", "dim")))
        if claim.because:
            console.print(Padding(Text(f"Not tested: {claim.because}.", style="dim"), (0, 0, 0, 5)))


def _show(console: Console, group: tuple[Judged, ...]) -> None:
    """One claim, or several that contradict each other, under each other."""
    from rich.padding import Padding
    from rich.text import Text

    if len(group) > 1:
        console.print(Text(f"\n{' and '.join(one.claim.id for one in group)} contradict each other:", style="bold"))
    for one in group:
        told = f": {one.because}" if one.because else ""
        console.print(Text.assemble((f"{one.claim.id:5}", "bold"), (one.answer, STYLES[one.answer]), told))
        console.print(Padding(Text.assemble(one.claim.statement, (f" {one.claim.work}, {one.claim.where}", "dim")), (0, 0, 0, 5)))
        for row in one.rows:
            console.print(Padding(Text(str(row), style="dim"), (0, 0, 0, 7)))
