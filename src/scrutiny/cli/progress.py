"""One progress bar per study, per training and per embedding, with the time left; plain lines where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.conduct import Event
    from scrutiny.engine.spread import Progress
    from scrutiny.tuning.loop import Report

SECONDS_BETWEEN_LINES = 30.0


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


@contextmanager
def training_bar(console: Console, what: str) -> Iterator[Callable[[Report], None]]:
    """A function that shows how far a training is, with its loss and the time left, until the block is left."""
    begun = last_line = monotonic()
    before: float | None = None

    def told(report: Report) -> str:
        """Loss, and the time left at the pace since this call began, which may have found a part of the training done."""
        nonlocal before
        before = report.progress if before is None else before
        fresh = report.progress - before
        left = time_left((monotonic() - begun) * (1 - report.progress) / fresh) if fresh and report.progress < 1 else ""
        return ", ".join(filter(None, (f"loss {report.loss:.4g}", left)))

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=1.0, told="")

        def show(report: Report) -> None:
            nonlocal last_line
            text = told(report)
            bars.update(bar, completed=report.progress, told=text)
            if report.progress >= 1 or (not console.is_terminal and monotonic() - last_line > SECONDS_BETWEEN_LINES):
                last_line = monotonic()
                how_far = f"{what}: {min(report.progress, 1):.0%}, {text}"
                console.print(how_far, markup=False, highlight=False, soft_wrap=True)

        yield show


@contextmanager
def cells_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A function that shows how far an embedding is, in cells, until the block is left."""
    speech = _Speech(console)
    if not console.is_terminal:
        yield speech.as_lines
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("embedding"), BarColumn(), TextColumn("{task.fields[told]}", markup=False))
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=None, told="")

        def show(progress: Progress) -> None:
            speech.tell_news(progress)
            bars.update(bar, completed=progress.done, total=progress.total, told=speech.how_far(progress))

        yield show


class _Speech:
    """How far an embedding is, in words."""

    def __init__(self, console: Console) -> None:
        self.console, self.begun, self.last_line, self.last_told, self.last_trouble = console, 0.0, 0.0, 0, ""

    def tell_news(self, progress: Progress) -> None:
        """What was there from before, once; and troubles as they come."""
        if not self.begun:
            self.begun = self.last_line = monotonic()
            if progress.before:
                self._say(f"{progress.before:,} of {progress.total:,} cells were there from before")
        if progress.trouble and progress.trouble != self.last_trouble:
            self.last_trouble = progress.trouble
            self._say(progress.trouble)

    def as_lines(self, progress: Progress) -> None:
        self.tell_news(progress)
        is_last = progress.done == progress.total and self.last_told < progress.total
        if is_last or monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line, self.last_told = monotonic(), progress.done
            self._say(self.how_far(progress))

    def how_far(self, progress: Progress) -> str:
        """Cells, cells per second since this call began, and the time left at that speed."""
        seconds, fresh = monotonic() - self.begun, progress.done - progress.before
        told = [f"{progress.done:,} of {progress.total:,} cells"]
        if fresh:
            speed = fresh / max(seconds, 1e-3)
            told += [f"{speed:,.0f} cells/s" if speed >= 10 else f"{speed:.1f} cells/s"]
            told += [time_left((progress.total - progress.done) / speed)] if progress.done < progress.total else []
        return ", ".join(told)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def time_left(seconds: float | None) -> str:
    """Rounded to what an estimate can promise: "about 3 min left"; empty where nothing is known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    return f"about {round(seconds / 60)} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
