"""Trajectory, cell cycle and variable genes: planted truth, scanpy as the second opinion, cases that cannot be scored."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import METRICS
from scrutiny.metrics.conservation import diffusion_pseudotime, explained_by_regression


def curve(n_cells=300, seed=0, noise=0.02):
    """Cells along three quarters of a circle; pseudotime is the angle. Start and end are close in space, far along the curve."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(0, 1, n_cells))
    angle = 1.5 * np.pi * time
    embedding = np.column_stack([np.cos(angle), np.sin(angle)]) + noise * rng.normal(size=(n_cells, 2))
    return {"embedding": embedding.astype(np.float32), "pseudotime": time}


def test_the_order_along_a_curve_is_found():
    assert Evidence(curve())["trajectory"] > 0.99


def test_a_shuffle_has_no_order():
    given = curve()
    given["pseudotime"] = np.random.default_rng(1).permutation(given["pseudotime"])
    assert abs(Evidence(given)["trajectory"] - 0.5) < 0.1


def test_only_the_order_of_the_given_pseudotime_counts():
    given = curve()
    assert Evidence({**given, "pseudotime": np.exp(5 * given["pseudotime"])})["trajectory"] == Evidence(given)["trajectory"]


def test_pseudotime_may_be_text_and_cells_without_are_left_out():
    given = curve()
    rng = np.random.default_rng(2)
    far = rng.normal(50, 1, (60, 2)).astype(np.float32)
    wider = {
        "embedding": np.vstack([given["embedding"], far]),
        "pseudotime": np.concatenate([given["pseudotime"].astype(str), np.full(60, "nan")]),
    }
    measured = Evidence(wider).measure("trajectory")
    assert measured.value == pytest.approx(Evidence(given)["trajectory"], abs=1e-6)
    assert measured.details == {"cells_with_pseudotime": 300, "cells_in_largest_component": 300}


def test_an_embedding_that_falls_apart_loses_the_order_of_what_broke_off():
    given = curve()
    broken = given["embedding"].copy()
    broken[200:] += 100
    measured = Evidence({**given, "embedding": broken}).measure("trajectory")
    assert measured.details["cells_in_largest_component"] == 200
    assert 0.5 < measured.value < Evidence(given)["trajectory"] - 0.05


def test_diffusion_pseudotime_equals_scanpy():
    import anndata
    import scanpy

    e = Evidence(curve(noise=0.1))
    reference = anndata.AnnData(sparse.csr_matrix((300, 1)), obsp={"connectivities": e["connectivities"], "distances": e["connectivities"]})
    reference.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": 15, "method": "umap"},
    }
    reference.uns["iroot"] = 3
    scanpy.tl.diffmap(reference)
    scanpy.tl.dpt(reference)
    ours = diffusion_pseudotime(e["connectivities"], root=3)
    np.testing.assert_allclose(ours, reference.obs["dpt_pseudotime"], atol=1e-3)


def test_trajectories_that_say_nothing_are_not_applicable():
    given = curve()
    for pseudotime, reason in (
        (np.full(300, np.nan), "30 cells"),
        (np.where(np.arange(300) < 20, 0.1, np.nan), "30 cells"),
        (np.ones(300), "same pseudotime"),
    ):
        with pytest.raises(NotApplicable, match=reason):
            Evidence({**given, "pseudotime": pseudotime})["trajectory"]
    with pytest.raises(NotApplicable, match="pseudotime"):
        Evidence({"embedding": given["embedding"]})["trajectory"]


def cycling(seed=0, n_cells=200, n_dims=6, strength=2.0):
    """Two batches; the first two dimensions follow the S and G2M scores."""
    rng = np.random.default_rng(seed)
    phase = rng.normal(size=(n_cells, 2))
    reference = rng.normal(size=(n_cells, n_dims))
    reference[:, :2] += strength * phase
    batch = np.arange(n_cells) % 2
    return {"reference": reference.astype(np.float32), "phase_scores": phase, "batch": batch.astype(str)}


def test_the_same_embedding_keeps_the_cell_cycle_and_noise_loses_it():
    given = cycling()
    assert Evidence({**given, "embedding": given["reference"]})["cell_cycle"] == pytest.approx(1.0)
    noise = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
    assert Evidence({**given, "embedding": noise})["cell_cycle"] < 0.1


def test_more_cell_cycle_than_before_is_not_conserved_either():
    given = cycling(strength=0.5)
    exaggerated = given["reference"].copy()
    exaggerated[:, :2] *= 30
    assert Evidence({**given, "embedding": exaggerated})["cell_cycle"] < 0.6


def test_the_cell_cycle_score_by_hand():
    given = cycling()
    halved = given["reference"].copy()
    halved[:, :2] /= 2
    measured = Evidence({**given, "embedding": halved}).measure("cell_cycle")
    for name, score in measured.details["per_batch"].items():
        rows = given["batch"] == name
        before, after = (explained_by_regression(x[rows], given["phase_scores"][rows]) for x in (given["reference"], halved))
        assert score == pytest.approx(1 - abs(after - before) / before)
    assert measured.value == pytest.approx(np.mean(list(measured.details["per_batch"].values())))


@pytest.mark.parametrize("n_dims", [6, 80])
def test_explained_variance_equals_regression_on_fifty_components(n_dims):
    rng = np.random.default_rng(3)
    covariates = rng.normal(size=(120, 2))
    embedding = rng.normal(size=(120, n_dims)) + covariates @ rng.normal(size=(2, n_dims))
    components = PCA(min(50, n_dims), svd_solver="full").fit_transform(embedding)
    r2 = [LinearRegression().fit(covariates, c).score(covariates, c) for c in components.T]
    variances = components.var(axis=0)
    assert explained_by_regression(embedding, covariates) == pytest.approx(np.average(r2, weights=variances), abs=1e-9)


def test_cell_cycles_that_say_nothing_are_not_applicable():
    given = cycling()
    flat = {**given, "embedding": given["reference"], "phase_scores": np.ones((200, 2))}
    with pytest.raises(NotApplicable, match="cell cycle"):
        Evidence(flat)["cell_cycle"]
    tiny = {**given, "embedding": given["reference"], "batch": np.arange(200).astype(str)}
    with pytest.raises(NotApplicable, match="30 cells"):
        Evidence(tiny)["cell_cycle"]
    with pytest.raises(NotApplicable, match="phase_scores"):
        Evidence({"embedding": given["reference"], "reference": given["reference"], "batch": given["batch"]})["cell_cycle"]


def test_small_batches_are_left_out():
    given = cycling()
    batch = given["batch"].copy()
    batch[:10] = "tiny"
    measured = Evidence({**given, "batch": batch, "embedding": given["reference"]}).measure("cell_cycle")
    assert measured.details["per_batch"].keys() == {"0", "1"}


def test_overlap_of_variable_genes_by_hand():
    before = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool)
    after = np.array([[1, 1, 0, 1, 1], [0, 0, 1, 1, 1]], bool)
    measured = METRICS.get("hvg_overlap")(before, after)
    assert measured.details["per_batch"] == pytest.approx([2 / 3, 0.0])
    assert measured.value == pytest.approx(1 / 3)


def test_an_embedding_has_no_variable_genes():
    with pytest.raises(NotApplicable, match="an embedding has no genes"):
        Evidence({"embedding": np.ones((5, 2))})["hvg_overlap"]
    none = np.zeros((2, 4), bool)
    with pytest.raises(NotApplicable, match="none of the 2 batches"):
        METRICS.get("hvg_overlap")(none, none)
