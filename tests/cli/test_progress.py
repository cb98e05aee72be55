"""What a person hears while a study runs."""

import re
from io import StringIO

import pytest
from rich.console import Console

from scrutiny.cli.progress import cells_bar, progress_bar, time_left, training_bar
from scrutiny.core.scores import Status
from scrutiny.engine.conduct import Event
from scrutiny.engine.spread import Progress
from scrutiny.tuning.loop import Report


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.2, "about 5 s left"), (33, "about 35 s left"), (200, "about 3 min left"), (7200, "about 2.0 h left")],
)
def test_time_left_promises_no_more_than_an_estimate_can(seconds, text):
    assert time_left(seconds) == text


def test_without_a_terminal_each_run_is_a_line_and_failures_are_told():
    console = Console(file=StringIO(), width=200)
    with progress_bar(console) as show:
        show(Event("planned", 0, 2))
        show(Event("finished", 1, 2, 30.0, "blood", "pca", "cell_types", 0, Status.OK))
        show(Event("finished", 2, 2, 0.0, "blood", "mine", "cell_types", 0, Status.FAILED, "ValueError: [red]no"))
    said = console.file.getvalue().splitlines()
    assert said[0] == "[1/2] pca on blood, cell_types: ok, about 30 s left"
    assert said[2] == "failed: mine on blood, cell_types: ValueError: [red]no"


def cells_said(*steps, terminal=False):
    console = Console(file=StringIO(), width=120, force_terminal=terminal, color_system=None)
    with cells_bar(console) as tell:
        for step in steps:
            tell(step)
    return console.file.getvalue()


def test_an_embedding_tells_what_was_there_its_speed_and_troubles_once():
    died = "a worker ended ([red]signal 9); what it was at is done again"
    steps = (Progress(12_288, 100_000, 12_288), Progress(12_288, 100_000, 12_288, died), Progress(12_288, 100_000, 12_288, died))
    last = Progress(100_000, 100_000, 12_288)
    said = cells_said(*steps, last, last).splitlines()
    assert said[:2] == ["12,288 of 100,000 cells were there from before", died]
    assert len(said) == 3 and re.fullmatch(r"100,000 of 100,000 cells, [\d,]+ cells/s", said[2])
    assert cells_said(Progress(0, 9, 0)) == ""


def test_the_bar_of_an_embedding_shows_speed_and_time_left(monkeypatch):
    clock = iter(range(10, 1000, 10))
    monkeypatch.setattr("scrutiny.cli.progress.monotonic", lambda: float(next(clock)))
    said = cells_said(Progress(0, 9_000, 0), Progress(3_000, 9_000, 0), terminal=True)
    assert "3,000 of 9,000 cells, 150 cells/s, about 40 s left" in said


def training_said(monkeypatch, *progress, terminal):
    """What is heard of a training, ten seconds from one look at the clock to the next."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("scrutiny.cli.progress.monotonic", lambda: float(next(clock)))
    console = Console(file=StringIO(), width=120, force_terminal=terminal, color_system=None)
    with training_bar(console, "training 1 of 3: rank, seed 0") as tell:
        for step, share in enumerate(progress):
            tell(Report(share, step, 0.0, 2.5))
    return console.file.getvalue()


def test_a_training_shows_its_loss_and_the_time_left_at_the_pace_of_this_call(monkeypatch):
    said = training_said(monkeypatch, 0.5, 0.75, terminal=True)
    assert "rank, seed 0" in said and "75%" in said and "loss 2.5, about 10 s left" in said


def test_without_a_terminal_a_training_is_a_line_now_and_then_and_one_at_its_end(monkeypatch):
    said = training_said(monkeypatch, 0.1, 0.2, 0.3, 0.4, 1.01, terminal=False).splitlines()
    assert said[-1] == "training 1 of 3: rank, seed 0: 100%, loss 2.5" and 2 <= len(said) <= 4
