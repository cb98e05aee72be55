"""Tables for the terminal."""

import io

import pytest
from rich.console import Console

from scrutiny.cli.plans import _letter, show_plan
from scrutiny.data.synth import planted
from scrutiny.engine.study import Study


@pytest.mark.parametrize(("number", "letter"), [(0, "a"), (25, "z"), (26, "aa"), (52, "ba")])
def test_columns_are_lettered(number, letter):
    assert _letter(number) == letter


@pytest.mark.parametrize(("width", "shown", "hidden"), [(200, "annotation_few_10", "a: annotation"), (80, "a: annotation", "t o")])
def test_many_tasks_fit_a_narrow_terminal(tmp_path, width, shown, hidden):
    tasks = ("annotation", "annotation_few_1", "annotation_few_5", "annotation_few_10")
    study = Study((planted(120, 40),), ("majority", "hvg_pca+knn"), tasks)
    out = io.StringIO()
    show_plan(study.plan(tmp_path), Console(file=out, width=width))
    assert shown in out.getvalue() and hidden not in out.getvalue()
    assert all(len(line) <= width for line in out.getvalue().splitlines())
    assert out.getvalue().count("+") >= 8 if width == 80 else out.getvalue().count("to do") == 8, "no column is left out"
