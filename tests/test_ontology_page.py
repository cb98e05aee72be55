"""docs/ONTOLOGY.md names what exists, and its commands run on the cells that it makes."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.builtins import METRICS
from scrutiny.core.registry import METRICS as REGISTERED

PAGE = (Path(__file__).parents[1] / "docs" / "ONTOLOGY.md").read_text("utf-8")
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", PAGE, re.DOTALL)


def test_every_score_by_the_ontology_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {name for name in METRICS if REGISTERED.get(name).card.family == "ontology"} | {"scgraph", "rogi"} <= named


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """The study is planned here; other tests run such studies."""
    monkeypatch.chdir(tmp_path)
    printed = ""
    for language, code in BLOCKS:
        if language == "python":
            exec(code, {})  # noqa: S102 - the page is ours
            continue
        for command in code.splitlines():
            words = shlex.split(command)[1:]
            done = CliRunner().invoke(app, ["plan", *words[1:]] if words[0] == "run" else words, env={"COLUMNS": "200"})
            assert done.exit_code == 0, command + done.output
            printed += done.output
    assert "10 of 10 labels of 'bulk_labels' are terms of the Cell Ontology (version excerpt)." in printed
    assert "CL:0000451" in printed and "Not mapped" in printed and "CL:0000542 lymphocyte" in printed
    assert (tmp_path / "label_terms.tsv").is_file()


@pytest.mark.slow
def test_the_study_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language, code in BLOCKS:
        if language == "python":
            exec(code, {})  # noqa: S102 - the page is ours
    (command,) = [line for _, code in BLOCKS for line in code.splitlines() if line.startswith("scrutiny run")]
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "weighed" / "report.html").is_file()
