"""The command line as a person uses it: real processes, exit codes, messages."""

import subprocess
import sys
import time

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

CLUSTERS, GENES, CELLS = 3, 60, 90
COLUMNS = ("--label", "cell_type", "--batch", "donor")


def scrutiny(*arguments, cwd=None):
    done = subprocess.run([sys.executable, "-m", "scrutiny", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """90 cells of three types in two batches, counts in X, and a ready-made array that is right for half of them."""
    rng = np.random.default_rng(0)
    kinds = np.arange(CELLS) % CLUSTERS
    rate = rng.gamma(2.0, 2.0, (CLUSTERS, GENES))[kinds]
    obs = pd.DataFrame(
        {"cell_type": [f"type {k}" for k in kinds], "donor": [f"donor {i % 2}" for i in range(CELLS)]},
        index=[f"cell{i}" for i in range(CELLS)],
    )
    adata = anndata.AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)), obs=obs)
    adata.var_names = [f"GENE{i}" for i in range(GENES)]
    adata.obsm["X_mine"] = np.eye(CLUSTERS)[kinds] + rng.normal(0, 0.3, (CELLS, CLUSTERS))
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def results(cells, tmp_path_factory):
    """A finished run of two baselines beside all controls."""
    out = tmp_path_factory.mktemp("run") / "results"
    code, said, errors = scrutiny("run", cells, *COLUMNS, "--methods", "hvg_pca,depth", "-o", out, "-j", 2)
    assert code == 0, said + errors
    return out, said


def test_help_is_instant_and_every_command_has_an_example():
    started = time.perf_counter()
    code, said, _ = scrutiny("--help")
    assert code == 0 and "Exit codes" in said
    assert time.perf_counter() - started < 3.0, "a second on an idle machine"
    for command in ("run", "demo", "plan", "score", "embed", "report", "list", "show", "check"):
        assert f"scrutiny {command}" in scrutiny(command, "--help")[1]


def test_run_says_a_verdict_and_writes_a_report(results):
    out, said = results
    assert "hvg_pca" in said and "Report:" in said
    page = (out / "report.html").read_text()
    assert "hvg_pca" in page and str(out) not in page and "cell17" not in page


def test_the_same_command_again_runs_nothing(results, cells):
    out, _ = results
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (out / "runs").iterdir())
    code, said, _ = scrutiny("run", cells, *COLUMNS, "--methods", "hvg_pca,depth", "-o", out)
    assert code == 0 and "[1/" not in said
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (out / "runs").iterdir()) == before


def test_plan_runs_nothing_and_knows_what_is_done(results, cells, tmp_path):
    out, _ = results
    options = (*COLUMNS, "--methods", "hvg_pca,harmony")
    code, said, _ = scrutiny("plan", cells, *options, "-o", out)
    assert code == 0 and "done" in said and "harmony embeds all cells at once" in said
    scrutiny("plan", cells, *options, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_plan_tells_the_variants_of_a_method_apart(cells, tmp_path):
    methods = ", ".join(f'{{ name = "pca", options = {{ n_dims = {n} }} }}' for n in (10, 20))
    (tmp_path / "study.toml").write_text(f'methods = [{methods}]\n[[datasets]]\npath = "{cells}"\nlabel = "cell_type"\n')
    _, said, _ = scrutiny("plan", tmp_path / "study.toml", "-o", tmp_path / "new")
    assert "pca (n_dims=10)" in said and "pca (n_dims=20)" in said


def test_tasks_that_ask_for_expression_are_named(cells, tmp_path):
    tasks = ("--task", "reconstruction", "--task", "reconstruction_masked_50")
    code, said, errors = scrutiny("run", cells, *COLUMNS, *tasks, "-o", tmp_path, "-j", 2)
    assert code == 0, said + errors
    assert "gene_mean" in said and "control/another_cell" in said and "harmony" not in said
    assert "skill over the gene mean" in (tmp_path / "report.html").read_text()
    code, _, errors = scrutiny("plan", cells, "--task", "reconstructions")
    assert code == 2 and "reconstruction" in errors


def test_report_joins_folders_and_writes_the_table(results, tmp_path):
    out, _ = results
    code, said, errors = scrutiny("report", out, out, "-o", tmp_path / "both.html", "--table", tmp_path / "t.csv")
    assert code == 0, said + errors
    assert (tmp_path / "both.html").stat().st_size > 10_000
    assert {"method", "metric", "value", "reason"} <= set(pd.read_csv(tmp_path / "t.csv").columns)
    assert scrutiny("report", tmp_path)[0] == 2


def test_score_gives_a_row_a_metric_beside_its_controls(cells, tmp_path):
    table_path = tmp_path / "scores.parquet"
    code, said, errors = scrutiny("score", cells, "--embedding", "X_mine", *COLUMNS, "-o", table_path)
    assert code == 0, said + errors
    table = pd.read_parquet(table_path).set_index(["task", "metric"])
    purity = table.loc[("cell_types", "knn_purity")]
    assert purity["floor"] < 0.5 < purity["value"] < purity["roof"] == 1
    assert 0 < purity["scaled"] < 1
    primary = table.loc[("integration", "scib_total")]
    assert primary["ci_low"] < primary["value"] < primary["ci_high"]
    lacking = table.loc[("cell_types", "trajectory")]
    assert lacking["status"] == "not_applicable" and np.isnan(lacking["value"]) and lacking["reason"]


def test_score_alarms_when_the_rows_are_in_another_order(cells, tmp_path):
    adata = anndata.read_h5ad(cells)
    adata.obsm["X_shuffled"] = adata.obsm["X_mine"][np.random.default_rng(0).permutation(CELLS)]
    adata.obsm["X_holes"] = np.where(np.arange(CELLS)[:, None] == 7, np.nan, adata.obsm["X_mine"])
    adata.write_h5ad(tmp_path / "with.h5ad")
    assert "SCR001" in scrutiny("score", tmp_path / "with.h5ad", "--embedding", "X_shuffled", *COLUMNS)[1]
    code, _, errors = scrutiny("score", tmp_path / "with.h5ad", "--embedding", "X_holes", *COLUMNS)
    assert code == 2 and "1 of 90 cells have no finite vector in 'X_holes', e.g. 'cell7'" in errors


def test_the_winner_of_this_file_is_written_whatever_else_is_in_the_folder(cells, results, tmp_path):
    import shutil

    shutil.copytree(results[0], tmp_path / "results")
    other = tmp_path / "other.h5ad"
    shutil.copy(cells, other)
    options = (*COLUMNS, "--methods", "pca", "--embedding", "X_mine", "-o", tmp_path / "results", "--write-winner", tmp_path / "w.h5ad")
    code, said, errors = scrutiny("run", other, *options)
    assert code == 0, said + errors
    assert "is hvg_pca;" not in said and ("is pca;" in said or "X_mine, is in obsm" in said)


def test_embed_writes_all_cells_into_a_copy(cells, tmp_path):
    code, said, errors = scrutiny("embed", "hvg_pca", cells, "-o", tmp_path / "with.h5ad", "--key", "X_new")
    assert code == 0, said + errors
    written = anndata.read_h5ad(tmp_path / "with.h5ad")
    assert written.obsm["X_new"].shape[0] == CELLS and "X_mine" in written.obsm


def test_cache_can_be_emptied_without_losing_scores(results, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(results[0], copy)
    assert "MB" in scrutiny("cache", "size", copy)[1]
    assert scrutiny("cache", "clean", copy)[0] == 0
    assert not list((copy / "cache").glob("*.npz"))
    assert scrutiny("report", copy, "-o", tmp_path / "r.html")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "nowhere.h5ad"), 2, "nowhere.h5ad"),
        (("run", "{cells}", "--label", "Cell_typ"), 2, "'cell_type'"),
        (("run", "{cells}", "--label", "cell_type", "--methods", "harmny"), 2, "did you mean ['harmony'"),
        (("run", "{cells}", "--label", "cell_type", "--embedding", "X_min"), 2, "X_mine"),
        (("run", "{cells}", "--label", "cell_type", "--cells", "few"), 2, "expected 'all' or a number"),
        (("run", "{cells}", "--label", "cell_type", "--budget", "soon"), 2, "'soon' is no time"),
        (("run", "{cells}", "--label", "cell_type", "--label-origin", "guess"), 2, "expected one of genotype"),
        (("run", "{cells}", "--label", "cell_type", "--methods", "depth", "-o", "{cells}/inside"), 2, "cannot write"),
        (("score", "{cells}", "--embedding", "X_mine"), 2, "give label=, batch= or both"),
        (("show", "harmny"), 2, "harmony"),
        (("list", "models"), 2, "methods, heads, metrics, tasks, datasets"),
        (("embed", "harmony", "{cells}", "--batch", "doner", "-o", "x.h5ad"), 2, "'donor'"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exit_code_2(arguments, code, said, cells, tmp_path):
    filled = [argument.format(cells=cells) for argument in arguments]
    found, out, errors = scrutiny(*filled, cwd=tmp_path)
    assert found == code, out + errors
    assert said in errors.replace("\n", " ")
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("*.json")), "nothing is started with bad input"


def test_data_on_which_nothing_applies_end_with_3(cells, tmp_path):
    adata = anndata.read_h5ad(cells)
    adata.obs = adata.obs[[]]
    adata.write_h5ad(tmp_path / "bare.h5ad")
    code, _, errors = scrutiny("run", tmp_path / "bare.h5ad", "-o", tmp_path / "out")
    assert code == 3 and "--label COLUMN" in errors


def test_list_show_check_and_doctor_answer(cells):
    assert "control/shuffle" in scrutiny("list", "methods")[1]
    assert "pbmc_12k" in scrutiny("list", "datasets")[1]
    heads = scrutiny("list", "heads")[1]
    assert "centroid" in heads and "lora" in heads and "rate" in heads
    assert "0.6" in scrutiny("show", "scib_total")[1]
    assert "90 cells x 60 genes" in scrutiny("check", cells)[1]
    assert "python" in scrutiny("doctor")[1]
