"""`scrutiny annotate`: control cells of a blood sample tell the labels of stimulated ones; what is written, said and refused."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.errors import InputError
from scrutiny.data.read import read
from scrutiny.data.shared_genes import on_shared_genes
from scrutiny.engine.annotate import annotate as annotated
from scrutiny.engine.study import Study


def annotate(*arguments):
    return CliRunner().invoke(app, ["annotate", *map(str, arguments)])


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A reference and a query of 240 cells of four types, 60 genes by symbol and by Ensembl id; a fifth type is in the query alone."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("halves")
    rates = rng.gamma(1.0, 3.0, (5, 60))
    symbols = [f"GENE{i}" for i in range(60)]
    for name, n_types in (("reference", 4), ("query", 5)):
        kinds = np.arange(240) % n_types
        counts = rng.poisson(rates[kinds]).astype(np.float32)
        obs = pd.DataFrame({"kind": [f"kind {k}" for k in kinds], "run": name}, index=[f"{name}{i}" for i in range(240)])
        adata = anndata.AnnData(sparse.csr_matrix(counts), obs=obs)
        order = rng.permutation(60) if name == "query" else np.arange(60)
        adata.var_names = [symbols[i] if name == "reference" else f"ENSG{i:011d}.3" for i in range(60)]
        adata.var["ensembl_id"] = [f"ENSG{i:011d}" for i in range(60)]
        adata[:, order].copy().write_h5ad(folder / f"{name}.h5ad")
    return folder / "reference.h5ad", folder / "query.h5ad"


def test_labels_are_told_and_a_new_type_is_unknown(halves, tmp_path):
    reference, query = halves
    done = annotate(query, "--reference", reference, "--label", "kind", "--reject", "-o", tmp_path / "labels.csv")
    assert done.exit_code == 0, done.output
    table, truth = pd.read_csv(tmp_path / "labels.csv", index_col="cell_id"), anndata.read_h5ad(query).obs["kind"]
    known = truth != "kind 4"
    assert table.index.tolist() == truth.index.tolist()
    assert (table["likeliest"][known] == truth[known]).mean() > 0.95
    assert (table["label"][~known] == "unknown").mean() > (table["label"][known] == "unknown").mean()
    assert table["confidence"].between(0, 1).all()
    n_unknown = int((table["label"] == "unknown").sum())
    assert "24 cells of the reference that were kept out, 100.0% are told right" in done.output
    assert f"{n_unknown} of 240 cells" in done.output and "60 genes are shared" in done.output


def test_cells_of_the_reference_that_are_called_unknown_teach_nothing(halves, tmp_path):
    labelled = anndata.read_h5ad(halves[0])
    kinds = labelled.obs["kind"].astype(str).to_numpy(copy=True)
    kinds[:160][kinds[:160] == "kind 3"] = "Unknown"
    labelled.obs["kind"] = kinds
    labelled.write_h5ad(tmp_path / "reference.h5ad")
    done = annotate(halves[1], "--reference", tmp_path / "reference.h5ad", "--label", "kind", "-o", tmp_path / "labels.csv")
    assert done.exit_code == 0, done.output
    assert "40 cells of the reference are called 'unknown'" in done.output
    assert "Unknown" not in set(pd.read_csv(tmp_path / "labels.csv")["label"])


def test_a_copy_of_the_file_gets_three_columns(halves, tmp_path):
    reference, query = halves
    done = annotate(query, "--reference", reference, "--label", "kind", "--method", "hvg_pca+knn", "-o", tmp_path / "out.h5ad")
    assert done.exit_code == 0, done.output
    before, after = anndata.read_h5ad(query), anndata.read_h5ad(tmp_path / "out.h5ad")
    assert after.obs.columns.tolist() == ["kind", "run", "scrutiny_label", "scrutiny_confidence", "scrutiny_likeliest"]
    pd.testing.assert_frame_equal(after.obs[["kind", "run"]], before.obs)
    assert (after.X != before.X).nnz == 0 and "unknown" not in set(after.obs["scrutiny_label"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5ad"]


def test_cells_in_another_order_get_the_same_labels(halves):
    reference, query = (read(path) for path in halves)
    reference, rows = reference.with_roles(label="kind"), np.random.default_rng(1).permutation(240)
    first = annotated(query, reference).table(reject=True)
    second = annotated(query.take(rows), reference).table(reject=True)
    assert second["label"].equals(first["label"].iloc[rows])
    np.testing.assert_allclose(second["confidence"], first["confidence"].iloc[rows], atol=1e-5)


def test_the_method_that_results_recommend_is_taken(halves, tmp_path):
    reference, query = halves
    study = Study.from_file(reference, label="kind", methods=("majority", "hvg_pca+knn", "control/shuffled_labels", "control/label_oracle"))
    study = Study(study.datasets, study.methods, ("annotation",))
    study.run(tmp_path / "results", threads=1)
    done = annotate(query, "--reference", reference, "--label", "kind", "--store", tmp_path / "results", "-o", tmp_path / "labels.tsv")
    assert done.exit_code == 0, done.output
    assert "recommends hvg_pca+knn for annotation" in done.output
    assert pd.read_csv(tmp_path / "labels.tsv", sep="\t").shape == (240, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--label", "kid", "-o", "labels.csv"), "no column 'kid'"),
        (("--label", "kind", "-o", "labels.pdf"), "labels are written as .csv, .tsv, .h5ad"),
        (("--label", "kind", "-o", "labels.csv", "--method", "hvg_pca+logrek"), "logreg"),
        (("--label", "kind", "-o", "labels.csv", "--store", "x", "--method", "majority"), "--store names the method"),
    ],
)
def test_what_is_wrong_is_said(halves, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = annotate(halves[1], "--reference", halves[0], *arguments)
    assert isinstance(done.exception, InputError) and said in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_an_embedding_alone_tells_no_labels(halves, tmp_path):
    done = annotate(halves[1], "--reference", halves[0], "--label", "kind", "--method", "hvg_pca", "-o", tmp_path / "labels.csv")
    assert done.exit_code == 3


def test_genes_that_are_not_shared_are_refused(halves):
    reference, query = (read(path) for path in halves)
    strange = replace(query.take_genes(np.arange(30)), var=pd.DataFrame(index=[f"other{i}" for i in range(30)]))
    with pytest.raises(InputError, match="share 0 of 30 genes"):
        on_shared_genes(reference, strange)
    both = on_shared_genes(reference, query)
    np.testing.assert_array_equal(both.first.genes, both.second.genes)
    np.testing.assert_array_equal(both.first.genes, reference.var["ensembl_id"])


def test_stimulated_blood_cells_after_their_controls(shared_data, tmp_path):
    """Kang et al. 2018: labels of cells that were stimulated with interferon, from cells that were not."""
    cells = anndata.read_h5ad(shared_data / "kang_ifnb.h5ad")
    paths = {side: tmp_path / f"{side}.h5ad" for side in ("ctrl", "stim")}
    for side, path in paths.items():
        cells[cells.obs["condition"] == side].copy().write_h5ad(path)
    done = annotate(paths["stim"], "--reference", paths["ctrl"], "--label", "cell_type", "--reject", "-o", tmp_path / "labels.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "labels.csv", index_col="cell_id")
    truth = cells.obs["cell_type"].astype(str)[table.index]
    accepted = table["label"] != "unknown"
    assert (table["likeliest"] == truth).mean() > 0.8
    assert (table["label"] == truth)[accepted].mean() >= (table["likeliest"] == truth).mean()
