"""Reading: every format gives the same Dataset; counts are found where they are; AnnData objects are left alone."""

import gzip
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix
from scrutiny.data.prepare import log_values
from scrutiny.data.read import from_anndata, read
from scrutiny.data.synth import planted

DATA = planted(n_cells=40, n_genes=25)
LOGGED = log_values(DATA, np.arange(DATA.n_genes))
ROLES = {"label": "cell_type", "batch": "batch"}


def as_anndata(values=DATA.values, **more):
    return anndata.AnnData(values, obs=DATA.obs.copy(), var=DATA.var[[]].copy(), **more)


def written(folder, adata, suffix="h5ad"):
    path = folder / f"cells.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (adata.write_zarr if suffix == "zarr" else adata.write_h5ad)(path)
    return path


def write_10x_v3(path, kinds):
    with h5py.File(path, "w") as root:
        group = root.create_group("matrix")
        group["shape"] = np.array([DATA.n_genes, DATA.n_cells])
        group["barcodes"] = DATA.cell_ids.astype("S")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(DATA.values, name).astype(np.int64)
        group["features/id"] = np.array([f"ENSG{j:011d}" for j in range(DATA.n_genes)], dtype="S")
        group["features/name"] = DATA.genes.astype("S")
        group["features/feature_type"] = np.array(kinds, dtype="S")
    return path


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, lambda x: x.toarray()])
def test_anndata_files(tmp_path, suffix, form):
    data = read(written(tmp_path, as_anndata(form(DATA.values)), suffix), roles=ROLES)
    assert data.fingerprint == DATA.fingerprint
    assert data.column_key(ROLES) == DATA.column_key(ROLES)
    assert (data.name, data.scale, data.organism) == ("cells", Scale.COUNTS, "unknown")


def test_loom(tmp_path):
    with h5py.File(tmp_path / "cells.loom", "w") as root:
        root["matrix"] = DATA.values.toarray().T
        root["layers/spliced"] = DATA.values.toarray().T
        root["col_attrs/CellID"] = DATA.cell_ids.astype("S")
        root["col_attrs/cell_type"] = DATA.role("label").astype("S")
        root["col_attrs/X_umap"] = np.ones((DATA.n_cells, 2))
        root["row_attrs/Gene"] = DATA.genes.astype("S")
    data = read(tmp_path / "cells.loom", roles={"label": "cell_type"})
    assert data.fingerprint == DATA.fingerprint
    assert data.role("label").tolist() == DATA.role("label").tolist()
    assert data.obsm["X_umap"].shape == (40, 2)
    assert read(tmp_path / "cells.loom", layer="spliced").matrix.digest == DATA.matrix.digest


def test_a_loom_file_that_loompy_wrote(tmp_path):
    loompy = pytest.importorskip("loompy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, columns = {"Gene": DATA.genes}, {"CellID": DATA.cell_ids, "cluster": np.arange(DATA.n_cells) % 3}
        loompy.create(str(tmp_path / "cells.loom"), DATA.values.toarray().T, rows, columns)
    data = read(tmp_path / "cells.loom", roles={"label": "cluster"})
    assert data.fingerprint == DATA.fingerprint
    assert set(data.role("label")) == {"0", "1", "2"}


def test_10x_version_3_keeps_expression_only(tmp_path):
    path = write_10x_v3(tmp_path / "filtered_feature_bc_matrix.h5", ["Gene Expression"] * 20 + ["Antibody Capture"] * 5)
    data = read(path)
    assert data.matrix.digest == DATA.matrix.take_columns(np.arange(20)).digest
    assert data.var.loc["ENSG00000000003", "symbol"] == "gene_00003"
    assert data.organism == "human"
    assert any(note == "5 features that are not 'Gene Expression' (Antibody Capture) were left out." for note in data.notes)


def test_10x_version_2(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as root:
        group = root.create_group("GRCh38")
        group["shape"] = np.array([DATA.n_genes, DATA.n_cells])
        group["barcodes"], group["genes"], group["gene_names"] = (x.astype("S") for x in (DATA.cell_ids, DATA.genes, DATA.genes))
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(DATA.values, name)
    assert read(tmp_path / "old.h5").fingerprint == DATA.fingerprint
    with h5py.File(tmp_path / "old.h5", "a") as root:
        root.copy("GRCh38", "mm10")
    with pytest.raises(InputError, match=r"genomes \['GRCh38', 'mm10'\]; expected one"):
        read(tmp_path / "old.h5")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("features", ["features.tsv", "genes.tsv"])
def test_matrix_folders(tmp_path, zipped, features):
    end, opener = (".gz", gzip.open) if zipped else ("", open)
    with opener(tmp_path / f"matrix.mtx{end}", "wb") as file:
        io.mmwrite(file, sparse.coo_matrix(DATA.values.T.astype(int)))
    more = "\tGene Expression" if features == "features.tsv" else ""
    for name, lines in ((features, [f"{g}\tNAME{g}{more}" for g in DATA.genes]), ("barcodes.tsv", DATA.cell_ids)):
        with opener(tmp_path / f"{name}{end}", "wt") as file:
            file.write("\n".join(lines) + "\n")
    data = read(tmp_path, name="folder")
    assert data.fingerprint == DATA.fingerprint


def test_counts_in_a_layer_are_found_and_said(tmp_path):
    adata = as_anndata(LOGGED, layers={"scaled": LOGGED.toarray() - 1, "Counts": DATA.values})
    data = read(written(tmp_path, adata), roles=ROLES)
    assert data.fingerprint == DATA.fingerprint
    assert data.notes[0].startswith("Values are from layer 'Counts' of cells.h5ad (X of cells.h5ad holds log values: ")
    assert "taken as counts: all entries are whole numbers" in data.notes[0]


def test_counts_in_raw_are_found_with_their_own_genes(tmp_path):
    adata = as_anndata()
    adata.raw = adata
    adata = adata[:, :10].copy()
    adata.X = LOGGED[:, :10]
    data = read(written(tmp_path, adata))
    assert data.fingerprint == DATA.fingerprint
    assert ".raw of cells.h5ad" in data.notes[0]
    assert read(tmp_path / "cells.h5ad", layer="X").n_genes == 10


def test_counts_in_any_other_layer_are_found_but_a_mask_is_not_taken_for_counts():
    assert from_anndata(as_anndata(LOGGED, layers={"mine": DATA.values})).matrix.digest == DATA.matrix.digest
    masked = from_anndata(as_anndata(LOGGED, layers={"mutated": (DATA.values > 3).astype(int)}))
    assert (masked.scale, masked.matrix.digest) == (Scale.LOG, CsrMatrix(LOGGED).digest)


def test_the_least_processed_values_are_taken_where_there_are_no_counts():
    adata = as_anndata(LOGGED)
    adata.raw = adata
    adata.X = LOGGED.toarray() - 1
    data = from_anndata(adata)
    assert (data.scale, data.matrix.digest) == (Scale.LOG, CsrMatrix(LOGGED).digest)


def test_an_empty_x_does_not_stand_in_the_way():
    adata = as_anndata(sparse.csr_matrix(DATA.matrix.shape, dtype=np.float32), layers={"raw": DATA.values})
    assert from_anndata(adata).matrix.digest == DATA.matrix.digest
    assert from_anndata(as_anndata(None, layers={"counts": DATA.values}, shape=DATA.matrix.shape)).matrix.digest == DATA.matrix.digest


def test_the_named_layer_is_taken(tmp_path):
    path = written(tmp_path, as_anndata(LOGGED, layers={"counts": DATA.values, "twice": DATA.values * 2}))
    assert read(path, layer="twice").values.sum() == 2 * DATA.values.sum()
    assert read(path, layer="X").scale is Scale.LOG
    assert read(path, scale="log").matrix.digest == CsrMatrix(LOGGED).digest
    with pytest.raises(InputError, match=r"cells.h5ad has no layer 'count'; did you mean \['counts'\]\?"):
        read(path, layer="count")


def test_backed_files_give_the_same_data(tmp_path, monkeypatch):
    path = written(tmp_path, as_anndata())
    monkeypatch.setattr("scrutiny.data.backed.LARGEST_IN_MEMORY", 10)
    backed = read(path, roles=ROLES)
    assert type(backed.matrix).__name__ == "BackedMatrix"
    assert backed.fingerprint == DATA.fingerprint
    rows = np.array([7, 3, 30])
    assert backed.take(rows).fingerprint == DATA.take(rows).fingerprint


def test_backed_objects_and_views(tmp_path):
    path = written(tmp_path, as_anndata())
    adata = anndata.read_h5ad(path, backed="r")
    assert from_anndata(adata).fingerprint == DATA.fingerprint
    assert from_anndata(adata[5:9]).fingerprint == DATA.take(np.arange(5, 9)).fingerprint
    assert from_anndata(as_anndata()[5:9]).fingerprint == DATA.take(np.arange(5, 9)).fingerprint


def test_raw_of_a_backed_object_and_a_file_that_is_open_for_writing(tmp_path):
    adata = as_anndata()
    adata.raw = adata
    adata.X = LOGGED
    path = written(tmp_path, adata)
    for mode in ("r", "r+"):
        backed = anndata.read_h5ad(path, backed=mode)
        assert from_anndata(backed).fingerprint == DATA.fingerprint
        backed.file.close()


def test_an_object_is_never_written_into():
    adata = as_anndata(LOGGED, layers={"counts": DATA.values}, obsm={"X_mine": np.ones((40, 3))})
    before = adata.copy()
    data = from_anndata(adata, roles=ROLES)
    data.obs["new"] = 1
    data.obsm["X_mine"][:] = 7
    assert list(adata.obs) == list(before.obs) and (adata.obsm["X_mine"] == 1).all()
    assert (adata.X != before.X).nnz == 0


def test_ready_made_arrays(tmp_path):
    arrays = {
        "X_mine": np.ones((40, 3)),
        "table": pd.DataFrame({"a": np.ones(40)}, index=DATA.cell_ids),
        "odd": sparse.eye(40, format="csr"),
    }
    path = written(tmp_path, as_anndata(obsm=arrays))
    assert {name: a.shape for name, a in read(path).obsm.items()} == {"X_mine": (40, 3), "table": (40, 1)}
    assert list(read(path, obsm=["X_mine"]).obsm) == ["X_mine"]
    with pytest.raises(InputError, match=r"no array 'X_min' in obsm; there is \['X_mine'\]"):
        read(path, obsm=["X_min"])
    with pytest.raises(InputError, match="obsm 'odd' of cells.h5ad is not a dense table of numbers"):
        read(path, obsm=["odd"])


def test_what_the_file_says_of_itself(tmp_path):
    adata = as_anndata(uns={"title": "Cells of ours", "citation": "Us (2024)", "organism": "Mus musculus", "colors": np.arange(3)})
    data = read(written(tmp_path, adata))
    assert data.facts == {"source": "Cells of ours", "citation": "Us (2024)"}
    assert data.organism == "mouse"
    assert read(tmp_path / "cells.h5ad", organism="human").organism == "human"
    adata = as_anndata()
    adata.obs["organism"] = "Homo sapiens"
    assert from_anndata(adata).organism == "human"


@pytest.mark.parametrize("column", ["feature_name", "symbol", "gene_name"])
def test_symbols_in_a_column_are_believed_where_the_index_is_no_name(column):
    """As in what the Census gives: numbers in the index, names in columns."""
    adata = as_anndata()
    adata.var_names = [str(j) for j in range(DATA.n_genes)]
    adata.var[column] = ["", *(f"SYM{j}" for j in range(1, DATA.n_genes))]
    adata.var["feature_id"] = [f"ENSMUSG{j:011d}" for j in range(DATA.n_genes)]
    data = from_anndata(adata)
    assert list(data.var["symbol"]) == ["0", *(f"SYM{j}" for j in range(1, DATA.n_genes))]
    assert list(data.genes[:2]) == ["0", "1"]
    assert data.organism == "mouse"


def test_a_column_of_symbols_that_holds_ids_is_none():
    adata = as_anndata()
    adata.var["gene"] = [f"ENSG{j:011d}" for j in range(DATA.n_genes)]
    assert list(from_anndata(adata).var["symbol"]) == list(DATA.genes)


def test_integer_batches_and_unused_levels_are_categories():
    adata = as_anndata()
    adata.obs["batch"] = np.arange(40) % 2
    adata.obs["cell_type"] = pd.Categorical(adata.obs["cell_type"], categories=[*sorted(set(adata.obs["cell_type"])), "never seen"])
    data = from_anndata(adata, roles=ROLES)
    assert set(data.role("batch")) == {"0", "1"}
    assert "never seen" not in data.role("label")


def test_old_files():
    import scanpy

    path = f"{scanpy.__path__[0]}/datasets/10x_pbmc68k_reduced.h5ad"
    data = read(path, layer="raw", roles={"label": "bulk_labels"})
    assert (data.n_cells, data.n_genes, data.scale) == (700, 765, Scale.LOG)


EXPECTED = {
    "beeline_mdc_500": ("log", "mouse"),
    "ccle_expr_706": ("scaled", "human"),
    "kang_ifnb": ("counts", "human"),
    "pancreas_3tech_beta_ductal": ("normalised", "human"),
    "pancreas_baron_human_mouse": ("counts", "human"),
    "pbmc3k": ("counts", "human"),
    "pbmc68k_reduced": ("counts", "human"),
    "pbmc_3chem_symphony": ("counts", "human"),
    "pbmc_3chem_unlabelled": ("counts", "human"),
    "pbmc_multistudy": ("counts", "human"),
    "perturb_norman19_mcfaline23": ("counts", "human"),
    "sc_mixology": ("counts", "human"),
    "zheng_facs": ("counts", "human"),
}


def test_real_files(shared_data):
    found = {path.stem: read(path) for path in sorted(shared_data.glob("*.h5ad"))}
    assert {name: (str(data.scale), data.organism) for name, data in found.items()} == EXPECTED
    assert found["zheng_facs"].facts["citation"].startswith("Zheng GXY")
