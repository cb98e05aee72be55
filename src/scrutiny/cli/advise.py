"""The command that says what to use, from results that are there."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.report.advice import Advice


def advise(
    folders: Annotated[list[Path], typer.Argument(help="One or more folders that `scrutiny run` wrote.")],
    task: Annotated[str | None, typer.Option(help="What it is for, e.g. annotation; by default all that was scored.")] = None,
    labelled: Annotated[int | None, typer.Option(min=1, help="Labelled cells there will be to learn from, of all types together.")] = None,
    gpu: Annotated[bool | None, typer.Option("--gpu/--no-gpu", help="Whether there is a GPU.")] = None,
    time: Annotated[str | None, typer.Option(help="Time that fitting and answering may take, e.g. 10m, on cells like these.")] = None,
) -> None:
    """Say what to use for these data, a task, a number of labelled cells and a machine, with the rows that it rests on.

    `scrutiny advise scrutiny-results --task annotation --labelled 200 --no-gpu --time 10m`
    """
    from rich.console import Console

    from scrutiny.engine.store import Store
    from scrutiny.engine.studyfile import seconds_of
    from scrutiny.report.advice import Wishes
    from scrutiny.report.advice import advise as advice_on
    from scrutiny.report.gather import gather

    from .results import existing

    gathered = gather([Store(existing(folder)) for folder in folders])
    found = advice_on(gathered, Wishes(task, labelled, seconds_of(time) if time else None, gpu))
    if not found:
        scored = sorted({comparison.key.task for comparison in gathered.comparisons})
        raise InputError(f"nothing was scored for the task '{task}'; the results have {', '.join(scored) or 'no score'}")
    console = Console()
    for advice in found:
        _show(console, advice)
    command = "scrutiny claims " + " ".join(quote(str(folder)) for folder in folders)
    said = f"\nWhat the literature says of such choices, held against these results:\n  {command}"
    console.print(said, style="dim", markup=False, soft_wrap=True)


def _show(console: Console, advice: Advice) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from scrutiny.report.advice import quoted
    from scrutiny.report.terminal import advised
    from scrutiny.report.words import metric_words

    console.print()
    console.print(advised(advice))
    learnt = f", learnt from {advice.measured_with}" if advice.measured_with else ""
    lines = [("Rests on", metric_words(advice.recommendation.metric) + learnt, quoted(advice), "")]
    lines += [("Left out", "", list(advice.left_out), "dim"), ("Mind", "", list(advice.thin), "yellow")]
    lines += [("To find out", "", list(advice.next_steps), "")]
    for heading, more, told, style in lines:
        if told:
            console.print(Padding(Text.assemble((heading, "bold"), f" ({more})" if more else ""), (0, 0, 0, 2)))
        for line in told:
            console.print(Text(f"    {line}", style=style), soft_wrap=True)
