"""Normalisation, variable genes and principal components against scanpy, scikit-learn and stored parity values."""

import warnings

import anndata
import numpy as np
import pytest
from scipy import sparse

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.data.prepare import gene_moments, highly_variable, log_normalise, log_values, pca
from scrutiny.data.synth import planted


def dataset(path):
    adata = anndata.read_h5ad(path)
    return from_arrays(path.stem, adata.X, adata.obs, adata.var_names), adata


def test_log_normalise_by_hand():
    counts = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0]], dtype=np.float32))
    logged = log_normalise(counts, np.array([4.0, 0.0]), target=8.0)
    assert logged.dtype == np.float32
    np.testing.assert_allclose(logged.toarray(), [[np.log(3), np.log(7), 0], [0, 0, 0]], rtol=1e-6)
    assert counts.data.tolist() == [1, 3]


def test_totals_are_over_all_genes_also_when_some_are_chosen():
    data = planted()
    every = log_values(data, np.arange(data.n_genes)).toarray()
    np.testing.assert_array_equal(log_values(data, np.array([5, 2])).toarray(), every[:, [5, 2]])


def test_logged_values_are_taken_as_they_are():
    counts = planted()
    logged = log_values(counts, np.arange(counts.n_genes))
    data = from_arrays("logged", logged, counts.obs, counts.genes, scale=Scale.LOG)
    np.testing.assert_array_equal(log_values(data, np.arange(9)).toarray(), logged[:, :9].toarray())
    np.testing.assert_array_equal(highly_variable(data, 30), highly_variable(counts, 30))


@pytest.mark.parametrize("n_rows", [1, 7, 1000])
def test_moments_do_not_depend_on_the_chunks(n_rows):
    data = planted()
    mean, variance = gene_moments(data.matrix.chunks(n_rows))
    dense = data.values.toarray().astype(float)
    np.testing.assert_allclose(mean, dense.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, dense.var(axis=0, ddof=1), rtol=1e-9)


@pytest.mark.parametrize(("name", "n_top"), [("sc_mixology", 2000), ("pbmc3k", 2000), ("zheng_facs", 500), ("pbmc_3chem_symphony", 300)])
def test_variable_genes_are_those_of_scanpy(shared_data, name, n_top):
    import scanpy

    data, adata = dataset(shared_data / f"{name}.h5ad")
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    scanpy.pp.highly_variable_genes(adata, flavor="seurat", n_top_genes=n_top)
    np.testing.assert_array_equal(highly_variable(data, n_top), np.flatnonzero(adata.var["highly_variable"]))


def test_few_genes_are_all_variable():
    assert highly_variable(planted(n_genes=40), 2000).tolist() == list(range(40))


def test_genes_that_never_vary_are_never_chosen():
    counts = planted(n_genes=50).values.toarray()
    counts[:, 7] = 0
    data = from_arrays("with a silent gene", counts, planted(n_genes=50).obs, map(str, range(50)))
    assert 7 not in highly_variable(data, 49)


def test_scaled_values_have_no_variable_genes():
    obs = planted(n_cells=20).obs
    data = from_arrays("z", np.random.default_rng(0).standard_normal((20, 9)), obs, map(str, range(9)), scale=Scale.SCALED)
    with pytest.raises(NotApplicable, match="scaled values.*give counts or log values"):
        highly_variable(data, 5)


def test_components_are_those_of_the_parity_fixture(shared, shared_data):
    stored = np.load(shared / "parity" / "metrics" / "pbmc_3chem_symphony_embeddings.npz")
    data, _ = dataset(shared_data / "pbmc_3chem_symphony.h5ad")
    assert data.cell_ids.tolist() == stored["cell_id"].tolist()
    fitted = pca(data)
    np.testing.assert_allclose(fitted.transform(data), stored["pca"], atol=2e-6)
    np.testing.assert_allclose(fitted.variance, stored["pca_variance"], rtol=1e-7)


def test_scaled_components_are_those_of_scanpy_and_sklearn(shared_data):
    import scanpy
    from sklearn.decomposition import PCA

    data, adata = dataset(shared_data / "pancreas_baron_human_mouse.h5ad")
    columns = highly_variable(data, 600)
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    scaled = adata[:, columns].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.scale(scaled, max_value=10)
    theirs = PCA(20, svd_solver="full").fit(scaled.X.astype(float))
    fitted = pca(data, 20, scale=True, columns=columns)
    ours, expected = fitted.transform(data), theirs.transform(scaled.X.astype(float))
    signs = np.sign((ours * expected).sum(axis=0))
    np.testing.assert_allclose(ours, expected * signs, atol=2e-3)
    np.testing.assert_allclose(fitted.variance, theirs.explained_variance_, rtol=1e-5)
    assert fitted.variance.sum() / fitted.total_variance == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-5)


def test_unseen_cells_are_projected_and_genes_found_by_id():
    data = planted()
    fitted = pca(data.take(np.arange(200)), 10, scale=True)
    rows, shuffled = np.arange(200, 240), np.random.default_rng(0).permutation(data.n_genes)
    straight = fitted.transform(data.take(rows))
    assert straight.shape == (40, 10) and straight.dtype == np.float32
    np.testing.assert_allclose(fitted.transform(data.take(rows).take_genes(shuffled)), straight, atol=1e-5)
    with pytest.raises(InputError, match="lacks 1 of the 120 genes of the fit, e.g. .*gene_00119"):
        fitted.transform(data.take_genes(np.arange(119)))


def test_components_do_not_depend_on_the_chunks(monkeypatch):
    data = planted()
    whole = pca(data, 5).transform(data)
    monkeypatch.setattr("scrutiny.core.matrix.CHUNK_NONZEROS", 500)
    assert len(list(CsrMatrix(data.values).chunks())) > 10
    np.testing.assert_allclose(pca(data, 5).transform(data), whole, atol=1e-5)


def test_no_more_components_than_the_cells_span():
    data = planted(n_cells=6)
    assert pca(data, 50).transform(data).shape == (6, 5)


def test_too_many_genes_are_refused(monkeypatch):
    monkeypatch.setattr("scrutiny.data.prepare.MAX_PCA_GENES", 100)
    with pytest.raises(InputError, match="PCA of 120 genes.*at most 100"):
        pca(planted(), columns=np.arange(120))
