"""`scrutiny advise`: what to use, with the rows that it rests on."""

import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.errors import InputError


def advised(*arguments):
    return CliRunner().invoke(app, ["advise", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(__file__.replace("cli/test_advise_command.py", "report"))
    from made_annotation import MadeAnnotation, write_annotation

    write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}))
    return tmp_path / "r"


def test_it_says_what_to_use_and_why(results):
    told = advised(results, "--task", "annotation", "--labelled", "380", "--no-gpu", "--time", "10m").output
    assert "use hvg_pca+logreg" in told and "Rests on" in told and "learnt from 400 labelled cells" in told
    assert "scrutiny run FILE --label cell_type --batch batch --task annotation_few -o RESULTS" in told
    assert told.rstrip().endswith(f"scrutiny claims {results}"), "with the folder: without one the command lists all claims"


def test_a_task_that_was_not_scored_is_refused_with_those_that_were(results):
    with pytest.raises(InputError, match="the task 'integration'; the results have annotation"):
        advised(results, "--task", "integration")
