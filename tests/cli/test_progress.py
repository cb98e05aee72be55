"""What a person hears while a study runs."""

from io import StringIO

import pytest
from rich.console import Console

from scrutiny.cli.progress import progress_bar, time_left
from scrutiny.core.scores import Status
from scrutiny.engine.conduct import Event


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
