"""`scrutiny embed`: what is written, what is said, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.cli.embedding import _known_genes, _terms
from scrutiny.cli.pairs import pair
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.engine import once
from scrutiny.engine.spread import Progress

N_CELLS, N_GENES = 700, 30
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "large_file.py"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """700 cells in an order of their own, one without counts; three shards."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.7, (N_CELLS, N_GENES)).astype(np.float32)
    counts[5] = 0
    obs = pd.DataFrame({"donor": [f"d{i % 3}" for i in range(N_CELLS)]}, index=[f"cell{i}" for i in rng.permutation(N_CELLS)])
    adata = anndata.AnnData(sparse.csr_matrix(counts), obs=obs, obsm={"X_depth": np.zeros((N_CELLS, 3))})
    adata.var_names = [f"GENE{i}" for i in range(N_GENES)]
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


def embed(*arguments):
    return CliRunner().invoke(app, ["embed", *map(str, arguments)])


def test_the_file_comes_back_with_the_vectors_of_its_cells_and_how_they_were_made(cells, tmp_path):
    done = embed("depth", cells, "-o", tmp_path / "out.h5ad")
    assert done.exit_code == 0, done.output
    assert "700 of 700 cells, " in done.output and "Wrote 700 cells with X_depth (2 dimensions)" in done.output
    before, after = anndata.read_h5ad(cells), anndata.read_h5ad(tmp_path / "out.h5ad")
    assert after.obs_names.tolist() == before.obs_names.tolist()
    totals = before.X.toarray().sum(axis=1)
    np.testing.assert_allclose(after.obsm["X_depth"][:, 0], np.log1p(totals), rtol=1e-6)
    assert after.obsm["X_depth"][5].tolist() == [0, 0]
    about = after.uns["X_depth"]
    assert (about["method"], about["version"], about["seed"], json.loads(about["options"])) == ("depth", "1", "0", {})
    assert about["made_by"].startswith("scrutiny ") and "numpy" in json.loads(about["libraries"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5ad"]


def test_published_models_say_which_weights_and_how_many_genes(shared, tmp_path):
    folder = shared / "parity" / "geneformer_v1"
    options = ("--checkpoint", folder, "--option", "layer=0", "--device", "cpu", "--precision", "float32", "--key", "X_gf")
    done = embed("geneformer", folder / "cells.h5ad", "-o", tmp_path / "out.h5ad", *options)
    assert done.exit_code == 0, done.output
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    about = written.uns["X_gf"]
    weights = json.loads(about["weights"])
    assert weights["title"] == "Geneformer" and weights["licence"] == METHODS.get("geneformer").card.model.weights_licence
    options = json.loads(about["options"])
    assert options["layer"] == 0 and options["weights"] == weights["key"] and "checkpoint" not in options and "device" not in options
    found = json.loads(about["genes"])
    assert found["n_found"] > 1000
    assert f"of your {found['n_genes']:,} genes ({found['share']:.0%}), looked up by".replace("%", " %") in done.output
    from scrutiny.data.read import read

    expected = METHODS.get("geneformer")(str(folder), layer=0).fit(None, seed=0).embed(read(folder / "cells.h5ad"))
    np.testing.assert_allclose(written.obsm["X_gf"], expected.values, atol=1e-6)


def test_what_was_stopped_goes_on_and_says_so(cells, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scrutiny.data.write.shutil.copyfile", full)
    failed = embed("depth", cells, "-o", tmp_path / "out.h5ad")
    assert "no space left to write" in str(failed.exception) and "What was finished is kept" in str(failed.exception)
    assert [path.name for path in tmp_path.iterdir()] == [".out.h5ad.shards"]
    monkeypatch.undo()
    done = embed("depth", cells, "-o", tmp_path / "out.h5ad", "--jobs", 2)
    assert done.exit_code == 0 and "700 of 700 cells were there from before" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]


def test_methods_that_need_all_cells_run_in_one_piece_with_the_batch_that_looks_like_it(cells, tmp_path):
    done = embed("combat", cells, "-o", tmp_path / "out.npz")
    assert done.exit_code == 0, done.output
    assert "The batch is taken from 'donor'" in done.output.replace("\n", " ")
    assert len(np.load(tmp_path / "out.npz")["values"]) == N_CELLS
    assert "batch" not in embed("pca", cells, "-o", tmp_path / "out.npz").output
    refused = embed("pca", cells, "-o", tmp_path / "out.npz", "--jobs", 2)
    assert isinstance(refused.exception, InputError) and "pca, which looks at all of them at once" in str(refused.exception)


def test_a_ready_made_array_is_read_only_for_the_method_that_is_made_of_it(cells, tmp_path):
    done = embed("precomputed", cells, "-o", tmp_path / "out.npz", "--option", "key=X_depth")
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "out.npz")["values"].shape == (N_CELLS, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dept", "{cells}", "-o", "{out}.h5ad"), "did you mean ['depth'"),
        (("depth", "{cells}", "-o", "{out}.txt"), "written as .h5ad"),
        (("depth", "{cells}", "-o", "{out}/inside/out.h5ad"), "there is no folder"),
        (("depth", "{cells}", "-o", "{cells}"), "never written into"),
        (("depth", "{cells}", "-o", "{out}.h5ad", "--checkpoint", "."), "has no option 'checkpoint'"),
        (("pca", "{cells}", "-o", "{out}.h5ad", "--option", "n_dim=3"), "did you mean ['n_dims']"),
        (("pca", "{cells}", "-o", "{out}.h5ad", "--option", "n_dims"), "expected NAME=VALUE"),
        (("pca", "{cells}", "-o", "{out}.h5ad", "--option", "n_dims=many"), "n_dims is 'many'; expected a whole number"),
        (("scgpt", "{cells}", "-o", "{out}.h5ad", "--option", "normalise=nein"), "normalise is 'nein'; expected true or false"),
        (("scgpt", "{cells}", "-o", "{out}.h5ad", "--precision", "float32", "--option", "precision=x"), "precision is given twice"),
        (("pca", "{cells}", "-o", "{out}.h5ad", "--option", "n_dims=3", "--option", "n_dims=4"), "n_dims is given twice"),
        (("depth", "{cells}", "-o", "{out}.h5ad", "--jobs", "0"), "expected at least 1"),
        (("depth", "{cells}", "-o", "{out}.h5ad", "--engine", "slurm"), "'local' or 'dask'"),
        (("depth", "{cells}", "-o", "{out}.h5ad", "--layer", "nowhere"), "nowhere"),
    ],
)
def test_bad_options_are_refused_before_anything_is_embedded(cells, tmp_path, arguments, said, monkeypatch):
    monkeypatch.setattr(once, "embed_here", None)
    refused = embed(*(argument.format(cells=cells, out=tmp_path / "out") for argument in arguments))
    assert refused.exit_code in (1, 2) and said in f"{refused.exception} {refused.output}", "the command itself turns our errors into a 2"
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_the_data_ends_with_3(cells, tmp_path):
    adata = anndata.read_h5ad(cells)
    adata.X = np.log1p(adata.X)
    adata.write_h5ad(tmp_path / "log.h5ad")
    refused = embed("depth", tmp_path / "log.h5ad", "-o", tmp_path / "out.h5ad")
    assert refused.exit_code == 3 and "depth needs counts" in refused.output
    weightless = embed("geneformer", cells, "-o", tmp_path / "out.h5ad", "--organism", "human")
    assert weightless.exit_code == 3 and "--checkpoint" in weightless.output
    absent = embed("geneformer", cells, "-o", tmp_path / "out.h5ad", "--organism", "human", "--checkpoint", "geneformer-v1-10m")
    assert absent.exit_code == 3 and "geneformer-v1-10m is known but not fetched" in absent.output


@pytest.mark.parametrize(
    ("text", "value"), [("-2", -2), ("0.5", 0.5), ("true", True), ('"3"', "3"), ("[1, 2]", [1, 2]), ("cls", "cls"), ("a=b", "a=b")]
)
def test_values_of_options_are_what_they_look_like(text, value):
    assert pair(f"name={text}", "--option") == ("name", value)


def test_how_many_genes_a_model_knows_is_told_with_a_warning_below_half():
    facts = {"n_found": 5_400, "n_genes": 8_841, "n_vocabulary": 60_697, "share": 5_500 / 8_841, "looked_up_by": "symbol", "translated": ""}
    assert _known_genes("scGPT", facts) == "scGPT knows 5,500 of your 8,841 genes (62 %), looked up by symbol."
    translated = facts | {"looked_up_by": "ensembl_id", "translated": "a table"}
    assert _known_genes("scGPT", translated).endswith(", looked up by Ensembl id and a table.")
    few = _known_genes("scGPT", facts | {"share": 800 / 8_841})
    assert few == "Warning: scGPT knows only 800 of your 8,841 genes (9 %), looked up by symbol."


def test_terms_and_genes_are_told_when_the_checks_have_passed(shared, cells, tmp_path):
    assert METHODS.get("scgpt").card.model.commercial is None
    folder = shared / "parity" / "scgpt"
    done = embed("scgpt", folder / "cells.h5ad", "-o", tmp_path / "out.npz", "--checkpoint", folder, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.output.index("Nobody says whether") < done.output.index("scGPT knows") < done.output.index(" cells, ")
    refused = embed("scgpt", cells, "-o", tmp_path / "out.npz", "--checkpoint", folder, "--organism", "human")
    assert refused.exit_code == 3 and "Nobody says" not in refused.output


def test_ctrl_c_says_what_is_finished_and_where(cells, tmp_path, monkeypatch):
    def interrupted(asked, shards, claims, tell):
        tell(Progress(256, N_CELLS, 0))
        raise KeyboardInterrupt

    monkeypatch.setattr(once, "embed_here", interrupted)
    stopped = embed("depth", cells, "-o", tmp_path / "out.h5ad")
    said = "Stopped at 256 of 700 cells; the same command goes on from there (finished cells are in "
    assert stopped.exit_code == 130 and said + str(tmp_path / ".out.h5ad.shards") in stopped.output


def test_the_terms_of_the_weights_are_told():
    from dataclasses import replace

    model = METHODS.get("geneformer").card.model
    assert "non-commercial use only (licence: CC" in _terms(replace(model, commercial=False, weights_licence="CC BY-NC 4.0"))
    assert "Nobody says whether" in _terms(replace(model, commercial=None))


LARGE = """
import json, sys
import scrutiny.data.backed
scrutiny.data.backed.LARGEST_IN_MEMORY = 0
from scrutiny.cli.app import app
from scrutiny.engine.meter import _peak_mb  # what getrusage says would include the process that started this one
try:
    app(sys.argv[1:])
except SystemExit as end:
    print(json.dumps([end.code, _peak_mb()]))
"""


def run_large(*arguments):
    """Exit code and peak memory in MB of `scrutiny embed` on a file that stays on disk."""
    done = subprocess.run([sys.executable, "-c", LARGE, "embed", *map(str, arguments)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def write_made_up(path, n_cells, per_cell, genes):
    """Counts of these genes, as in the benchmark."""
    import runpy

    import h5py

    runpy.run_path(str(BENCHMARK))["write_made_up"](path, n_cells=n_cells, n_genes=len(genes), per_cell=per_cell)
    with h5py.File(path, "r+") as file:
        file["var/_index"][:] = genes


def test_a_file_on_disk_is_embedded_in_little_memory(tmp_path):
    write_made_up(tmp_path / "cells.h5ad", 30_000, 200, [f"gene_{i}" for i in range(20_000)])
    (code, peak), said = run_large("depth", tmp_path / "cells.h5ad", "-o", tmp_path / "out.h5ad")
    assert code == 0 and peak < 450, f"{said}the libraries alone take 230 MB; the dense matrix would be 2,400 MB"


@pytest.mark.slow
def test_a_hundred_thousand_cells_by_a_model(shared, tmp_path):
    folder = shared / "parity" / "geneformer_v1"
    genes = anndata.read_h5ad(folder / "cells.h5ad").var["ensembl_id"].astype(str).unique()
    genes = genes[genes != ""]
    write_made_up(tmp_path / "cells.h5ad", 100_000, 200, genes[: len(genes) // 200 * 200])
    arguments = ("geneformer", tmp_path / "cells.h5ad", "--checkpoint", folder, "-o", tmp_path / "out.h5ad")
    (code, peak), said = run_large(*arguments)
    print(said)
    assert code == 0 and peak < 900
    assert anndata.read_h5ad(tmp_path / "out.h5ad", backed="r").obsm["X_geneformer"].shape == (100_000, 32)
