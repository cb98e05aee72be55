"""Cheap baselines: values by hand, and against scanpy's own recipe on real cells."""

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.data.synth import planted
from scrutiny.methods.linear import Depth, Hvg, HvgPca, ScaledPca


@pytest.fixture
def three_cells():
    obs = pd.DataFrame(index=["a", "b", "c"])
    return from_arrays("three", [[1, 0, 3], [0, 0, 0], [5, 5, 10]], obs, ["g1", "g2", "g3"])


def test_depth_by_hand(three_cells):
    found = Depth().fit(three_cells, seed=0).embed(three_cells)
    np.testing.assert_allclose(found.values, np.log1p([[4, 2], [0, 0], [20, 3]]), rtol=1e-6)
    assert found.cell_ids.tolist() == ["a", "b", "c"]


def test_hvg_is_the_log_of_counts_per_10_000(three_cells):
    found = Hvg().fit(three_cells, seed=0).embed(three_cells)
    np.testing.assert_allclose(found.values, np.log1p([[2500, 0, 7500], [0, 0, 0], [2500, 2500, 5000]]), rtol=1e-6)


def test_hvg_takes_the_asked_number_of_genes_and_finds_them_by_id():
    cells = planted(60, 50)
    method = Hvg(n_top=10).fit(cells, seed=0)
    turned = cells.take_genes(np.arange(50)[::-1])
    found = method.embed(cells).values
    assert found.shape == (60, 11), "two genes tie for the last place, and both are kept"
    np.testing.assert_array_equal(found, method.embed(turned).values)
    with pytest.raises(InputError, match="lacks"):
        method.embed(cells.take_genes(np.arange(5)))


@pytest.mark.parametrize("method", [HvgPca, ScaledPca])
def test_components_of_unseen_cells_do_not_depend_on_their_company(method):
    cells = planted(100, 40)
    fitted = method().fit(cells.take(np.arange(70)), seed=0)
    together = fitted.embed(cells.take(np.arange(70, 100))).values
    np.testing.assert_allclose(fitted.embed(cells.take(np.array([71]))).values[0], together[1], atol=1e-5)


def test_pca_follows_scanpys_recipe(chemistries):
    """normalize_total, log1p, highly_variable_genes, scale(max_value=10), pca of scanpy: equal up to the sign of an axis."""
    scanpy = pytest.importorskip("scanpy")
    anndata = pytest.importorskip("anndata")
    n_top = 500
    table = anndata.AnnData(chemistries.values)
    scanpy.pp.normalize_total(table, target_sum=1e4)
    scanpy.pp.log1p(table)
    scanpy.pp.highly_variable_genes(table, n_top_genes=n_top)
    table = table[:, table.var["highly_variable"]].copy()
    for method, scaled in ((HvgPca, False), (ScaledPca, True)):
        theirs = table.copy()
        if scaled:
            scanpy.pp.scale(theirs, max_value=10)
        scanpy.pp.pca(theirs, n_comps=10, svd_solver="covariance_eigh")
        ours = method(n_dims=10, n_top=n_top).fit(chemistries, seed=0).embed(chemistries).values
        similarity = np.abs(np.sum(ours * theirs.obsm["X_pca"], axis=0)) / np.square(ours).sum(axis=0)
        np.testing.assert_allclose(similarity, 1.0, atol=2e-3)


def test_variable_genes_of_scaled_values_are_not_applicable():
    cells = planted(40, 30)
    scaled = from_arrays("scaled", cells.values.toarray() - 1, cells.obs, cells.genes, scale=Scale.SCALED)
    with pytest.raises(NotApplicable, match="scaled"):
        HvgPca(n_top=10).fit(scaled, seed=0)
    assert HvgPca().fit(scaled, seed=0).embed(scaled).values.shape == (40, 30)
