"""docs/ANNOTATION.md names what exists, and its commands run on the cells that it makes."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.builtins import METRICS, TASK_GROUPS, TASKS

PAGE = (Path(__file__).parents[1] / "docs" / "ANNOTATION.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the page's Python was run."""
    place = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        exec(code, {})  # noqa: S102 - the page is ours
    return place


def test_every_task_that_asks_for_labels_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", PAGE))
    full = named | {f"annotation{name}" for name in named if name.startswith("_")}
    assert {name for name in TASKS if name.startswith("annotation")} | {"reference_mapping"} <= full
    assert set(TASK_GROUPS) <= full
    scores = {"ece", "ece_calibrated", "coverage", "accuracy_accepted", "accuracy_at_90_coverage", "aurc", "novelty_auroc"}
    assert scores | {"unseen_rejected", "macro_f1_seen", "seen_unseen_harmonic"} <= full & set(METRICS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("scrutiny run")])
def test_the_studies_of_the_page_can_be_planned(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["plan", *shlex.split(command)[2:]])
    assert done.exit_code == 0, done.output
    assert "not applicable" not in done.output


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, command + done.output
    assert {"labels.csv", "labelled.h5ad", "across", "few", "doubt"} <= {path.name for path in folder.iterdir()}
