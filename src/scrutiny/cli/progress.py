"""One progress bar per study, with the time left; plain lines where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.conduct import Event


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[Event], None]]:
    """A function that shows each event of a study until the block is left."""
    if not console.is_terminal:
        yield lambda event: _as_line(event, console)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    what, left = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[left]}")
    with Progress(what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left, console=console, transient=True) as progress:
        bar = progress.add_task("planning", total=None, left="")

        def show(event: Event) -> None:
            what = " ".join(part for part in (event.method, "on", event.dataset) if part) if event.method else "starting"
            progress.update(bar, completed=event.done, total=event.total, description=what[:60], left=time_left(event.seconds_left))
            if told := trouble(event):
                progress.console.print(told, markup=False, highlight=False, soft_wrap=True)

        yield show


def _as_line(event: Event, console: Console) -> None:
    if event.kind == "finished":
        left = time_left(event.seconds_left)
        line = f"[{event.done}/{event.total}] {event.method} on {event.dataset}, {event.task}: {event.status or 'done'}"
        console.print(f"{line}{f', {left}' if left else ''}", markup=False, highlight=False, soft_wrap=True)
    if told := trouble(event):
        console.print(told, markup=False, highlight=False, soft_wrap=True)


def trouble(event: Event) -> str:
    """What a person should hear of while it runs: failures, deaths, waiting. Empty for everything else."""
    if event.kind == "finished" and event.status == "failed":
        return f"failed: {event.method} on {event.dataset}, {event.task}: {event.reason}"
    if event.kind in ("died", "waiting"):
        return f"{event.method} on {event.dataset}: {event.reason}"
    return ""


def time_left(seconds: float | None) -> str:
    """Rounded to what an estimate can promise: "about 3 min left"; empty where nothing is known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    return f"about {round(seconds / 60)} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
