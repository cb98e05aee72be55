"""`scrutiny adapt`: from a file to an adapter that other cells are annotated with."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.data.synth import planted
from scrutiny.methods.foundation.drafts import draft, save
from scrutiny.tuning.adaptation.files import read_about


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tiny Geneformer with random weights, and cells of planted types in two files."""
    from anndata import AnnData

    folder = tmp_path_factory.mktemp("home")
    names = [f"ENSG{i:011d}" for i in range(150)]
    genes = pd.DataFrame({"symbol": [f"GENE{i}" for i in range(150)], "ensembl_id": names, "median": 1.0}, index=names)
    sizes = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 64}
    draft("geneformer", folder / "weights", genes=genes, sizes=sizes)
    save(METHODS.get("control/untrained_geneformer")(str(folder / "weights"), device="cpu").with_seed(0))
    for name, seed in (("atlas", 3), ("new", 4)):
        data = planted(200, 150, seed=seed)
        AnnData(data.values, obs=data.obs.copy(), var=genes[["symbol", "ensembl_id"]]).write_h5ad(folder / f"{name}.h5ad")
    return folder


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_an_adapter_is_made_and_used(home, tmp_path):
    runs = f"adapters={tmp_path / 'runs'}"
    common = ("--label", "cell_type", "--checkpoint", home / "weights")
    options = ("--option", "epochs=1", "--option", runs, "--device", "cpu", "--organism", "human")
    model = ("adapt", home / "atlas.h5ad", "--model", "geneformer", "--how", "lora")
    done = run(*model, *common, *options, "--weights", tmp_path / "model", "-o", tmp_path / "adapter")
    assert done.exit_code == 0, done.output or done.exception
    about = read_about(tmp_path / "adapter")
    assert about.way == "lora" and f"{about.trained['n_trainable']:,} numbers were trained" in done.output
    assert (tmp_path / "model" / "config.json").is_file()
    assert "is there already" in str(run(*model, *common, *options, "-o", tmp_path / "adapter").exception)
    adapter = ("--method", "geneformer+lora", "--option", f"adapter={tmp_path / 'adapter'}", "--organism", "human")
    told = run("annotate", home / "new.h5ad", "--reference", home / "atlas.h5ad", *common, *adapter, "-o", tmp_path / "labels.csv")
    assert told.exit_code == 0, told.output or told.exception
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 200
    assert "may have learnt from these very cells" in told.output and "kept out" not in told.output


def test_what_is_no_way_or_no_model_is_told(home, tmp_path):
    common = ("adapt", home / "atlas.h5ad", "--label", "cell_type", "-o", tmp_path / "adapter")
    assert isinstance(run(*common, "--model", "hvg_pca", "--how", "lora").exception, InputError)
    refused = run(*common, "--model", "geneformer", "--how", "lorra").exception
    assert isinstance(refused, InputError) and "lora" in str(refused)
