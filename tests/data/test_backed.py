"""A matrix on disk must be the same as the same matrix in memory, whatever the layout, the chunks and the selection."""

import pickle
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix, digest_of_matrix
from scrutiny.data.backed import BackedMatrix, as_matrix
from scrutiny.data.stored import Stored, locate, opened
from scrutiny.data.synth import planted

DATA = planted(n_cells=60, n_genes=30)
FORMS = {"by cell": sparse.csr_matrix, "by gene": sparse.csc_matrix, "dense": lambda x: x.toarray()}


def written(folder: Path, layout: str, suffix: str = "h5ad") -> Stored:
    path = folder / f"cells.{suffix}"
    adata = anndata.AnnData(FORMS[layout](DATA.values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(path)
    with opened(path) as root:
        return locate(path, "X", root["X"])


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("layout", FORMS)
def test_every_layout_loads_to_the_same_values(tmp_path, layout, suffix):
    stored = written(tmp_path, layout, suffix)
    assert (stored.layout, stored.shape) == (layout, (60, 30))
    assert as_matrix(stored).digest == DATA.matrix.digest


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("layout", ["by cell", "dense"])
def test_backed_is_in_memory(tmp_path, layout, suffix):
    backed = BackedMatrix(written(tmp_path, layout, suffix))
    assert backed.digest == DATA.matrix.digest
    assert (backed.shape, backed.nnz) == (DATA.matrix.shape, DATA.matrix.nnz)
    assert (backed.to_csr() != DATA.values).nnz == 0


def test_large_ones_stay_on_disk_unless_they_are_stored_by_gene(tmp_path, monkeypatch):
    monkeypatch.setattr("scrutiny.data.backed.LARGEST_IN_MEMORY", 100)
    assert isinstance(as_matrix(written(tmp_path, "by cell")), BackedMatrix)
    assert isinstance(as_matrix(written(tmp_path, "by gene")), CsrMatrix)


def test_it_travels_to_another_process_without_its_values(tmp_path):
    backed = BackedMatrix(written(tmp_path, "by cell")).take_rows(np.array([5, 3]))
    assert backed.digest == pickle.loads(pickle.dumps(backed)).digest
    assert len(pickle.dumps(BackedMatrix(backed.stored))) < 1000


@pytest.fixture(scope="module")
def backed(tmp_path_factory) -> BackedMatrix:
    return BackedMatrix(written(tmp_path_factory.mktemp("backed"), "by cell"))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, 59), min_size=1, max_size=80), columns=st.permutations(range(30)), n_rows=st.integers(1, 70))
def test_any_rows_in_any_order_and_any_chunks(backed, rows, columns, n_rows):
    rows, columns = np.array(rows), np.array(columns[:17])
    lazy = backed.take_rows(rows).take_columns(columns)
    memory = CsrMatrix(DATA.values[rows][:, columns])
    assert lazy.shape == memory.shape and lazy.digest == memory.digest
    stacked = sparse.vstack([chunk.values for chunk in lazy.chunks(n_rows)])
    assert CsrMatrix(stacked).digest == memory.digest
    twice = lazy.take_rows(np.arange(len(rows))[::-1]).take_columns(np.array([3, 1]))
    assert twice.digest == memory.take_rows(np.arange(len(rows))[::-1]).take_columns(np.array([3, 1])).digest


@settings(max_examples=25, deadline=None)
@given(n_rows=st.integers(1, 70))
def test_the_digest_does_not_depend_on_the_chunks(n_rows):
    class Rechunked(CsrMatrix):
        def chunks(self, _=None):
            return super().chunks(n_rows)

    assert digest_of_matrix(Rechunked(DATA.values)) == DATA.matrix.digest


@pytest.mark.parametrize(("read_through", "longest"), [(0, 10**6), (40, 10**6), (10**6, 30)])
def test_scattered_rows_are_read_in_runs_of_any_length(backed, monkeypatch, read_through, longest):
    monkeypatch.setattr("scrutiny.data.backed.READ_THROUGH", read_through)
    monkeypatch.setattr("scrutiny.data.backed.CHUNK_NONZEROS", longest)
    rows = np.random.default_rng(0).choice(60, 25, replace=False)
    assert backed.take_rows(rows).digest == CsrMatrix(DATA.values[rows]).digest


def test_a_chosen_order_is_kept_and_empty_choices_are_fine(backed):
    assert backed.take_rows(np.array([], dtype=int)).to_csr().shape == (0, 30)
    none = backed.take_columns(np.array([], dtype=int))
    assert (none.to_csr().shape, none.nnz) == ((60, 0), 0)


def test_stored_zeros_and_unsorted_entries_do_not_change_the_key(tmp_path):
    messy = sparse.csr_matrix((np.array([2.0, 0.0, 1.0]), np.array([2, 1, 0]), np.array([0, 3, 3])), shape=(2, 3))
    anndata.AnnData(messy).write_h5ad(tmp_path / "messy.h5ad")
    with h5py.File(tmp_path / "messy.h5ad") as root:
        backed = BackedMatrix(locate(tmp_path / "messy.h5ad", "X", root["X"]))
    assert backed.digest == CsrMatrix(np.array([[1, 0, 2], [0, 0, 0]])).digest


def test_indices_outside_the_shape_are_refused(tmp_path):
    stored = written(tmp_path, "by cell")
    with h5py.File(stored.path, "a") as root:
        root["X/indices"][4] = 30
    with pytest.raises(InputError, match=r"points outside its shape \(60, 30\); the file is damaged"):
        BackedMatrix(stored).to_csr()


def test_something_else_than_a_matrix_is_refused(tmp_path):
    with h5py.File(tmp_path / "odd.h5ad", "w") as root:
        root["line"] = np.arange(3)
        root.create_group("group")
        with pytest.raises(InputError, match="'line' has 1 dimension"):
            locate(tmp_path / "odd.h5ad", "line", root["line"])
        with pytest.raises(InputError, match="'group' is stored as 'a group without a type'; expected a dense, CSR or CSC matrix"):
            locate(tmp_path / "odd.h5ad", "group", root["group"])
