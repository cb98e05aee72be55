"""Embeddings come back from every format with the right cells."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrutiny.core.errors import InputError, Misaligned
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.write import write_embedding

IDS = np.array(["c", "a", "b"])
VALUES = np.array([[3.0, 30], [1, 10], [2, 20]], dtype=np.float32)


@pytest.fixture
def source(tmp_path):
    adata = anndata.AnnData(sparse.csr_matrix(np.eye(3)), obs=pd.DataFrame({"kind": ["x", "y", "x"]}, index=["a", "b", "c"]))
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_a_copy_of_the_file_gets_the_array_in_its_own_order(source, tmp_path):
    before = source.read_bytes()
    out = tmp_path / "out.h5ad"
    written = anndata.read_h5ad(write_embedding(CellEmbedding(VALUES, IDS), out, key="X_mine", source=source, about={"method": "mine"}))
    assert written.obsm["X_mine"][:, 0].tolist() == [1, 2, 3]
    assert written.uns["X_mine"]["method"] == "mine"
    assert list(written.layers) == ["counts"]
    assert written.obs["kind"].tolist() == ["x", "y", "x"]
    assert source.read_bytes() == before


def test_tables_and_arrays_carry_ids(tmp_path):
    embedding = CellEmbedding(VALUES, IDS)
    table = pd.read_parquet(write_embedding(embedding, tmp_path / "e.parquet", key="X"))
    assert table.loc["b"].tolist() == [2, 20]
    text = pd.read_csv(write_embedding(embedding, tmp_path / "e.csv", key="X"), index_col=0)
    pd.testing.assert_frame_equal(text.astype(np.float32), table)
    stored = np.load(write_embedding(embedding, tmp_path / "e.npz", key="X"), allow_pickle=False)
    assert dict(zip(stored["cell_ids"], stored["values"][:, 0])) == {"a": 1, "b": 2, "c": 3}
    alone = anndata.read_h5ad(write_embedding(embedding, tmp_path / "e.h5ad", key="X"))
    assert alone.obsm["X"].tolist() == VALUES.tolist()


def test_what_cannot_be_written_leaves_nothing_behind(source, tmp_path):
    embedding = CellEmbedding(VALUES, IDS)
    with pytest.raises(InputError, match="never written into"):
        write_embedding(embedding, source, key="X", source=source)
    with pytest.raises(InputError, match=r"\.h5ad, \.parquet, \.csv, \.npz; found 'x.txt'"):
        write_embedding(embedding, tmp_path / "x.txt", key="X")
    with pytest.raises(Misaligned):
        write_embedding(CellEmbedding(VALUES[:2], IDS[:2]), tmp_path / "out.h5ad", key="X", source=source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad"]


class OnDisk:
    """Vectors that come block by block and never as a whole."""

    n_dims = 2
    cell_ids = np.array(["a", "b", "c"])

    def __init__(self, *sizes):
        self.sizes = sizes

    def blocks(self):
        for stop, size in zip(np.cumsum(self.sizes), self.sizes):
            yield np.repeat(np.arange(stop - size, stop, dtype=np.float32)[:, None], 2, axis=1)


@pytest.mark.parametrize("suffix", [".h5ad", ".parquet", ".csv", ".npz"])
def test_blocks_of_any_size_give_the_same_file(source, tmp_path, suffix):
    found = [write_embedding(OnDisk(*sizes), tmp_path / f"{sizes}{suffix}", key="X", source=source) for sizes in ((3,), (2, 1), (1, 1, 1))]
    if suffix == ".h5ad":
        read = [anndata.read_h5ad(path).obsm["X"] for path in found]
    elif suffix == ".npz":
        read = [np.load(path)["values"] for path in found]
    else:
        read = [(pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path, index_col=0)).to_numpy() for path in found]
    assert all(values.tolist() == [[0, 0], [1, 1], [2, 2]] for values in read)
    with pytest.raises(Misaligned, match="2 rows but 3 cell ids"):
        write_embedding(OnDisk(2), tmp_path / f"short{suffix}", key="X", source=source)
    assert not (tmp_path / f"short{suffix}").exists() and not list(tmp_path.glob(".*"))


def test_an_array_of_that_name_is_replaced(source, tmp_path):
    first = write_embedding(CellEmbedding(VALUES, IDS), tmp_path / "one.h5ad", key="X_mine", source=source, about={"method": "one"})
    second = write_embedding(OnDisk(3), tmp_path / "two.h5ad", key="X_mine", source=first, about={"method": "two", "n_genes": 7})
    written = anndata.read_h5ad(second)
    assert written.obsm["X_mine"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert written.uns["X_mine"] == {"method": "two", "n_genes": 7}
