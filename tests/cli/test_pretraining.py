"""`scrutiny pretrain` as a process."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.data.synth import planted

CONFIG = """
name = "tiny"
[corpus]
files = ["cells.h5ad"]
min_genes = 10
min_counts = 10
min_cells = 1
validation = 0.1
[model]
family = "geneformer"
width = 16
layers = 1
heads = 2
feed_forward = 32
context = 64
[objective]
name = "masked_rank"
[training]
steps = 4
tokens_per_batch = 1024
validate = 2
"""


@pytest.fixture
def folder(tmp_path):
    from anndata import AnnData

    data = planted(120, 130)
    ids = [f"ENSG{i:011d}" for i in range(130)]
    AnnData(data.values, obs=data.obs, var=pd.DataFrame({"ensembl_id": ids}, index=ids)).write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "tiny.toml").write_text(CONFIG)
    return tmp_path


def scrutiny(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "scrutiny", *arguments], cwd=cwd, capture_output=True, text=True, timeout=240)


def test_a_config_becomes_a_model_with_its_curves(folder):
    done = scrutiny("pretrain", "tiny.toml", "-o", "out", "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "100 % epoch" in done.stdout and "--model geneformer=out/model" in done.stdout
    assert (folder / "out/curves.svg").is_file() and len(pd.read_csv(folder / "out/log.csv")) == 2
    looked = scrutiny("models", "check", "out/model", "--family", "geneformer", cwd=folder)
    assert looked.returncode == 0 and "trained by scrutiny" in looked.stdout, looked.stdout + looked.stderr


@pytest.mark.parametrize("step", ["corpus_of", "pretrain"])
def test_whenever_it_is_stopped_it_says_how_to_go_on(folder, monkeypatch, step):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"scrutiny.methods.foundation.pretraining.{step}", stop)
    done = CliRunner().invoke(app, ["pretrain", str(folder / "tiny.toml"), "-o", str(folder / "out")], env={"COLUMNS": "240"})
    assert done.exit_code == 130 and "Stopped. The same command goes on with what is in" in done.output


def test_a_wrong_config_ends_with_what_is_wrong(folder):
    (folder / "tiny.toml").write_text(CONFIG.replace("masked_rank", "masked_rnk"))
    done = scrutiny("pretrain", "tiny.toml", "-o", "out", cwd=folder)
    assert done.returncode == 2 and "masked_rank" in done.stderr and "Traceback" not in done.stderr
