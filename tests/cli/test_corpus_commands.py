"""The commands on corpora, from a config to an audit."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from rich.console import Console
from scipy import sparse
from typer.testing import CliRunner

from scrutiny.cli import corpus
from scrutiny.cli.app import app
from scrutiny.core.errors import InputError
from scrutiny.data.corpus_build import Progress


def said(*arguments):
    """What a command prints; its errors come as they are."""
    done = CliRunner().invoke(app, ["corpus", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config of one file of 30 cells in two studies, five of which are poor and three of which occur twice; other cells beside it."""
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (30, 60))
    counts[:5, 20:] = 0
    counts[27:] = counts[10:13]
    for name, values in (("cells", counts), ("others", rng.poisson(2.0, (8, 60)))):
        obs = pd.DataFrame({"study": ["one", "two"] * (len(values) // 2)}, index=[f"c{i}" for i in range(len(values))])
        var = pd.DataFrame(index=[f"GENE{i}" for i in range(60)])
        AnnData(sparse.csr_matrix(values.astype(np.float32)), obs=obs, var=var).write_h5ad(folder / f"{name}.h5ad")
    limits = "min_genes = 25\nmin_counts = 1\nmin_cells = 1"
    (folder / "corpus.toml").write_text(f'[corpus]\nfiles = [{{ path = "cells.h5ad", studies = "study" }}]\norganism = "human"\n{limits}\n')
    return folder


@pytest.fixture(scope="module")
def built(folder):
    return said("build", folder / "corpus.toml", "-o", folder / "out")


def test_build_tells_what_got_in_and_what_did_not(built, folder):
    lines = " ".join(built.split())
    assert "cells 30 22 8" in lines
    assert "5 express fewer than 25 genes" in lines and "3 equal a cell of cells" in lines
    assert "cells: one 15" in lines and "cells: two 15" in lines
    assert "60 genes of 60; 60 are listed by all files" in lines


def test_show_prints_the_same_tables(built, folder):
    assert said("show", folder / "out").split() == built.split() == said("build", folder / "corpus.toml", "-o", folder / "out").split()


def test_audit_answers(built, folder):
    assert said("audit", folder / "out", folder / "cells.h5ad").startswith("seen: 25 of 30 cells have the counts of a cell of the training")
    assert said("audit", folder / "out", folder / "others.h5ad").startswith("not listed: None of the 8 cells")


def test_where_nobody_watches_a_line_says_how_far_it_is(monkeypatch, capsys):
    """By hand: 200 of 900 cells were judged in 60 s after the first 100, so the 600 left take 180 s."""
    now = iter([0.0, 10.0, 70.0, 75.0])
    monkeypatch.setattr(corpus, "monotonic", lambda: next(now))
    tell = corpus._Lines(Console(width=200))
    for done in (100, 300, 310):
        tell(Progress("judging cells", done, 900))
    assert capsys.readouterr().out == "judging cells: 300 of 900, about 3 min left\n"


def test_paths_may_begin_elsewhere(folder, tmp_path):
    (tmp_path / "corpus.toml").write_text((folder / "corpus.toml").read_text())
    assert "30" in said("build", tmp_path / "corpus.toml", "--data", folder, "-o", tmp_path / "out")
    with pytest.raises(InputError, match="there is no file"):
        said("build", tmp_path / "corpus.toml", "-o", tmp_path / "other")


def test_a_folder_that_is_no_corpus_is_refused(folder):
    with pytest.raises(InputError, match="scrutiny corpus build"):
        said("audit", folder, folder / "cells.h5ad")


@pytest.mark.parametrize("command", ["build", "show", "audit"])
def test_every_command_has_an_example(command):
    assert f"scrutiny corpus {command} " in said(command, "--help")
