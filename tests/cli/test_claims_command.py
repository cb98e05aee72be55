"""`scrutiny claims`: the list with its sources, and the claims on results."""

import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.errors import InputError


def test_without_results_the_list_is_shown_with_sources():
    done = CliRunner().invoke(app, ["claims"])
    assert done.exit_code == 0
    for word in ("R4", "contradicts R3b", "Kedzierska", "Not tested"):
        assert word in done.output, word


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no results"):
        CliRunner().invoke(app, ["claims", str(tmp_path)], catch_exceptions=False)
