"""What cannot be read is refused with a message that says what was found, what was expected and what to do."""

import warnings

import anndata
import h5py
import numpy as np
import pytest
from scipy import io, sparse

from scrutiny.core.errors import InputError
from scrutiny.data.read import from_anndata, read
from scrutiny.data.synth import planted

DATA = planted(n_cells=40, n_genes=25)


def as_anndata(values=DATA.values):
    return anndata.AnnData(values, obs=DATA.obs.copy(), var=DATA.var[[]].copy())


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "cells.h5ad"
    as_anndata().write_h5ad(path)
    return path


def refused(path, pattern, **options):
    with pytest.raises(InputError, match=pattern):
        read(path, **options)


def test_a_missing_file_is_answered_with_near_names(good):
    refused(good.with_name("cels.h5ad"), r"there is no file .*cels.h5ad; did you mean \['cells.h5ad'\]\?")
    refused(good.with_name("x.y"), "there is no file .*x.y; the folder .* has nothing of a similar name")
    refused(good.parent / "nowhere" / "cells.h5ad", "there is no folder .*nowhere, so no cells.h5ad in it")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.h5ad").touch()
    refused(tmp_path / "empty.h5ad", r"is empty \(0 bytes\); expected h5ad, zarr, loom.*download it again")


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_file(good, share):
    whole = good.read_bytes()
    good.write_bytes(whole[: int(share * len(whole))])
    refused(good, r"cells.h5ad cannot be read \(.*truncated.*cut short or damaged.*copy it again")


def test_a_file_with_a_destroyed_middle(good):
    with h5py.File(good, "a") as root:
        del root["X/indptr"]
    refused(good, "'X' of .*cells.h5ad lacks indptr; the file is damaged, make it again")
    with h5py.File(good, "a") as root:
        root["X/indptr"] = np.arange(9)
    refused(good, r"'X' of .*cells.h5ad has parts of sizes .*'indptr': 9}, which do not make \(40, 25\)")


def test_files_of_other_kinds(tmp_path):
    (tmp_path / "page.h5ad").write_text("<!DOCTYPE html><html>Sign in</html>")
    refused(tmp_path / "page.h5ad", "is a web page, not data; the download failed or needs a login")
    (tmp_path / "text.h5ad").write_text("hello there")
    refused(tmp_path / "text.h5ad", "is not an HDF5 file .*begins with b'hello th'.*expected h5ad")
    (tmp_path / "cells.rds").write_bytes(b"\x1f\x8b123")
    refused(tmp_path / "cells.rds", "is an R object: write it as h5ad from R, e.g. with the package zellkonverter")
    (tmp_path / "matrix.mtx").write_text("%%MatrixMarket")
    refused(tmp_path / "matrix.mtx", "give the folder that also has features.tsv and barcodes.tsv")


def test_the_content_decides_not_the_suffix(good):
    assert read(good.rename(good.with_suffix(".loom"))).fingerprint == DATA.fingerprint


def test_hdf5_with_something_else_in_it(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as root:
        root["weights"] = np.ones(3)
    refused(tmp_path / "model.h5", r"is an HDF5 file, but with \['weights'\] in it; expected h5ad")
    with h5py.File(tmp_path / "multi.h5mu", "w") as root:
        root.create_group("mod/rna")
    refused(tmp_path / "multi.h5mu", r"MuData file of several modalities; write the RNA alone: mdata\['rna'\]")


def test_folders(good, tmp_path):
    refused(tmp_path, r"is a folder, but neither zarr nor a 10x matrix folder; did you mean one of \['.*cells.h5ad'\]\?")
    (tmp_path / "void").mkdir()
    refused(tmp_path / "void", "is a folder, but neither .*; expected h5ad, zarr")


def write_folder(folder, *, barcodes=DATA.cell_ids, features=DATA.genes):
    io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(DATA.values.T.astype(int)))
    (folder / "barcodes.tsv").write_text("\n".join(barcodes))
    (folder / "genes.tsv").write_text("\n".join(f"{g}\t{g}" for g in features))


def test_matrix_folders_that_lack_or_mix_files(tmp_path):
    write_folder(tmp_path, barcodes=DATA.cell_ids[:-1])
    refused(tmp_path, "matrix.mtx is 25 by 40, but there are 25 features in genes.tsv and 39 barcodes.* do not belong together")
    (tmp_path / "barcodes.tsv").unlink()
    refused(tmp_path, r"has no barcodes.tsv \(plain or .gz\); expected matrix.mtx, features.tsv")


def test_a_matrix_file_that_is_cut_short(tmp_path):
    write_folder(tmp_path)
    whole = (tmp_path / "matrix.mtx").read_text()
    (tmp_path / "matrix.mtx").write_text(whole[: len(whole) // 2])
    refused(tmp_path, "matrix.mtx is not a whole Matrix Market file .*download or copy it again")


def test_a_10x_file_without_genes(tmp_path):
    with h5py.File(tmp_path / "cells.h5", "w") as root:
        root["GRCh38/barcodes"] = DATA.cell_ids.astype("S")
        root["GRCh38/data"] = DATA.values.data
    refused(tmp_path / "cells.h5", "lacks indices, indptr, shape, genes, gene_names in 'GRCh38'; expected a file of Cell Ranger")


def test_a_zarr_folder_without_cells(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "other.zarr", mode="w").create_group("images")
    refused(tmp_path / "other.zarr", r"has no obs and var tables \(it has \['images'\]\); expected an AnnData file")


def test_a_loom_without_names(tmp_path):
    with h5py.File(tmp_path / "cells.loom", "w") as root:
        root["matrix"] = np.ones((3, 2))
        root["col_attrs/n"] = np.arange(2)
        root["row_attrs/Gene"] = np.array(["a", "b", "c"], dtype="S")
    refused(tmp_path / "cells.loom", r"names its cells or genes by none of \['CellID'.*it has \['n'\]")


def test_a_file_that_may_not_be_read(good, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scrutiny.data.formats.offer_of_file", denied)
    refused(good, "cannot be read .*Permission denied.*may not be read")


def test_misspelt_columns_are_answered_with_near_matches(good):
    refused(good, r"'cells' has no column 'celltype' for the role 'label'; did you mean \['cell_type'\]\?", roles={"label": "celltype"})
    refused(good, r"no column 'qqq' for the role 'batch'; the columns are \['cell_type', 'batch'\]", roles={"batch": "qqq"})


def test_repeated_cell_ids_are_refused_or_numbered_on_request():
    adata = as_anndata()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.obs_names = ["cell_a", "cell_a-1", "cell_a", *DATA.cell_ids[3:]]
    with pytest.raises(InputError, match="1 of 40 repeat another, e.g. 'cell_a'; make them unique .* or pass duplicates='rename'"):
        from_anndata(adata)
    data = from_anndata(adata, duplicates="rename")
    assert data.cell_ids[:3].tolist() == ["cell_a", "cell_a-1", "cell_a-2"]
    assert "1 repeated cell ids were numbered (-1, -2 ...), as asked." in data.notes


def test_repeated_gene_symbols_are_replaced_by_ensembl_ids_or_numbered():
    adata = as_anndata()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.var_names = ["TBCE", "TBCE", *DATA.genes[2:]]
    numbered = from_anndata(adata)
    assert numbered.genes[:2].tolist() == ["TBCE", "TBCE-1"]
    assert "1 gene ids repeat another, e.g. 'TBCE'; the repeats were numbered (-1, -2 ...)." in numbered.notes
    adata.var["gene_ids"] = [f"ENSG{j:011d}.{j}" for j in range(25)]
    by_id = from_anndata(adata)
    assert by_id.genes[1] == "ENSG00000000001"
    assert by_id.var["symbol"].iloc[1] == "TBCE"


@pytest.mark.parametrize(
    ("values", "options", "pattern"),
    [
        (np.full((40, 25), np.nan), {}, "X of the AnnData object has .* values that are NaN or infinite; expected finite numbers"),
        (np.zeros((40, 25)), {}, "X of the AnnData object holds nothing but zeros; name the layer"),
        (DATA.values.toarray() - 1, {"scale": "counts"}, "declared as raw counts, but .* entries are negative, as in centred"),
        (DATA.values.toarray() / 7, {"scale": "counts"}, "declared as raw counts, but .* entries are fractions.*--layer NAME"),
        (np.log1p(DATA.values.toarray()), {"scale": "counts"}, "as in log-normalised values; name the layer that holds the counts"),
        (DATA.values, {"scale": "log"}, "declared as log-normalised values, but all entries are whole numbers.*declare --scale counts"),
        (DATA.values, {"scale": "cpm"}, r"there is no scale 'cpm'; it is one of \['counts', 'log', 'scaled', 'normalised'\]"),
    ],
)
def test_values_that_are_not_what_they_should_be(values, options, pattern):
    with pytest.raises(InputError, match=pattern):
        from_anndata(as_anndata(values), **options)


def test_one_bad_value_in_many_is_found(good, monkeypatch):
    with h5py.File(good, "a") as root:
        root["X/data"][3] = np.nan
    monkeypatch.setattr("scrutiny.data.offer.SAMPLE_ENTRIES", 8)
    refused(good, "X of cells.h5ad has 1 values that are NaN or infinite")


def test_nothing_in_it():
    with pytest.raises(InputError, match="holds no matrix: X, layers and .raw are all empty"):
        from_anndata(anndata.AnnData(obs=DATA.obs.copy(), var=DATA.var[[]].copy()))
    with pytest.raises(InputError, match="has no cells; expected at least one"):
        from_anndata(as_anndata()[:0].copy())
