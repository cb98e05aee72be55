"""Datasets: identity, roles, hiding, fingerprints."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import ContractError, InputError, Misaligned, NotApplicable
from scrutiny.core.matrix import CsrMatrix, digest_of_matrix
from scrutiny.core.outputs import CellEmbedding


@pytest.fixture
def data():
    obs = pd.DataFrame(
        {"cell_type": ["T", "B", "T", "NK"], "cell_type_copy": ["T", "B", "T", "NK"], "donor": [1, 2, 1, 2], "depth": [3, 4, 5, 6]},
        index=["c1", "c2", "c3", "c4"],
    )
    values = np.array([[1, 0, 2], [0, 3, 0], [0, 0, 1], [4, 0, 0]])
    return from_arrays("toy", values, obs, ["g1", "g2", "g3"], roles={"label": "cell_type", "batch": "donor"}, obsm={"X_mine": np.eye(4)})


def test_hiding_takes_copies_of_the_label_and_ready_made_arrays_along(data):
    hidden = data.hide("label")
    assert list(hidden.obs.columns) == ["donor"]
    assert hidden.roles == {"batch": "donor"}
    assert not hidden.obsm
    assert "cell_type" in data.obs, "the original must stay as it was"


def test_hiding_drops_a_column_that_plays_two_roles(data):
    both = data.with_roles(batch="cell_type")
    assert both.hide("label").roles == {}
    assert list(both.hide("label").obs.columns) == []


def test_integer_codes_are_categories(data):
    assert data.role("batch").tolist() == ["1", "2", "1", "2"]


def test_a_role_that_is_not_there_is_not_applicable_and_says_how_to_name_one(data):
    with pytest.raises(NotApplicable, match="--role perturbation=COLUMN"):
        data.role("perturbation")


def test_a_misspelt_column_names_near_matches(data):
    with pytest.raises(InputError, match=r"no column 'Cell_typ'.*'cell_type'"):
        data.with_roles(label="Cell_typ")


@pytest.mark.parametrize(("cells", "genes", "twice"), [(["a", "a"], ["g", "h"], "cell ids"), (["a", "b"], ["g", "g"], "gene ids")])
def test_ids_occur_once(cells, genes, twice):
    with pytest.raises(InputError, match=f"{twice} must be unique"):
        from_arrays("x", np.eye(2), pd.DataFrame(index=cells), genes)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"\(2, 2\).*3 cells"):
        from_arrays("x", np.eye(2), pd.DataFrame(index=["a", "b", "c"]), ["g", "h"])


def test_fingerprint_follows_values_ids_and_scale_but_not_columns(data):
    same = data.with_roles(label="cell_type_copy")
    assert same.fingerprint == data.fingerprint
    assert same.column_key(["label"]) == data.column_key(["label"]), "names of columns do not matter, values do"
    assert data.with_roles(label="donor").column_key(["label"]) != data.column_key(["label"])
    assert data.take(np.array([1, 0, 2, 3])).fingerprint != data.fingerprint
    named = replace(data, var=data.var.assign(symbol=["A", "B", "C"]))
    assert named.gene_names_key != data.gene_names_key, "cell-cycle genes are found by symbol"
    assert replace(data, var=data.var.assign(symbol="")).gene_names_key == data.gene_names_key
    logged = from_arrays("toy", data.values, data.obs, data.genes, scale=Scale.LOG)
    assert logged.fingerprint != data.fingerprint


def test_a_missing_array_names_near_matches(data):
    with pytest.raises(InputError, match=r"no array 'X_min'.*X_mine"):
        data.obsm_key("X_min")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7))
def test_digest_does_not_depend_on_the_chunking_or_the_storage_order(seed, step):
    values = sparse.random(11, 6, density=0.4, format="csc", rng=np.random.default_rng(seed), dtype=np.float32)

    class Chunked(CsrMatrix):
        def chunks(self, n_rows=None):
            return super().chunks(step)

    assert digest_of_matrix(Chunked(values)) == CsrMatrix(values.toarray()).digest


def test_stored_zeros_and_duplicates_do_not_change_the_digest():
    rows, columns = [0, 0, 1, 1], [1, 1, 0, 1]
    doubled = sparse.coo_matrix(([1.0, 2.0, 5.0, 0.0], (rows, columns)), shape=(2, 2))
    assert CsrMatrix(doubled).digest == CsrMatrix([[0, 3], [5, 0]]).digest


class TestEmbedding:
    ids = np.array(["a", "b", "c"])

    def test_is_brought_to_the_asked_order(self):
        shuffled = CellEmbedding(np.array([[2.0], [0.0], [1.0]]), np.array(["c", "a", "b"]))
        assert shuffled.aligned_to(self.ids).values.ravel().tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("values", "ids", "error", "said"),
        [
            (np.eye(3), ["a", "b", "x"], Misaligned, r"1 of the asked cells are missing \['c'\]"),
            (np.eye(3), ["a", "b", "b"], Misaligned, "occurs more than once"),
            (np.eye(4), ["a", "b", "c", "d"], Misaligned, "4 cells, 3 were asked for"),
            (np.eye(3), ["a", "b"], Misaligned, "3 rows but 2 cell ids"),
            (np.ones(3), ["a", "b", "c"], ContractError, r"shape \(3,\)"),
            (np.ones((3, 0)), ["a", "b", "c"], ContractError, "n_dims >= 1"),
            (np.array([[1], [np.nan], [1]]), ["a", "b", "c"], ContractError, "1 of 3 cells"),
            (np.array([[1], [1e300], [1]]), ["a", "b", "c"], ContractError, "not finite as float32"),
        ],
    )
    def test_faults_are_refused(self, values, ids, error, said):
        with np.errstate(over="ignore"), pytest.raises(error, match=said):
            CellEmbedding(values, np.array(ids)).aligned_to(self.ids)
