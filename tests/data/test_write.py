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
