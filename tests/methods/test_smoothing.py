"""Cheap answers to what deeper sequencing would show, on cells whose truth is planted."""

import numpy as np
import pytest

from scrutiny.core.dataset import from_arrays
from scrutiny.core.evidence import Evidence
from scrutiny.core.protocols import Deepener
from scrutiny.core.registry import METHODS
from scrutiny.data.synth import planted
from scrutiny.methods.deepening import Thinned
from scrutiny.methods.means import GeneMean, OverallMean
from scrutiny.methods.smoothing import KnnSmoothing, PcaSmoothing, kept_apart
from scrutiny.tasks.read_depth import ReadDepth

CELLS = planted(300, 80, n_batches=1, label_effect=1.5, depth=100.0)


@pytest.fixture(scope="module")
def problem():
    return ReadDepth().pose(CELLS, np.random.default_rng(0))


def answer(method, problem, **more):
    return method.fit(problem.train, seed=0).deepen(problem.query, **problem.asks, **more)


def skill(output, problem):
    return Evidence(ReadDepth().evidence(output.aligned_to(problem.query.cell_ids), problem))["depth_skill"]


def test_the_mean_of_each_gene_is_the_same_for_every_cell(problem):
    found = answer(GeneMean(), problem)
    dense = problem.train.values.toarray()
    means = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True)).mean(axis=0)
    assert np.allclose(found.predicted, means[problem.asks["columns"]], rtol=1e-5)
    flat = answer(OverallMean(), problem, truth={})
    assert np.allclose(flat.predicted, means.mean(), rtol=1e-5)


def test_what_the_query_shows_stands_beside(problem):
    dense = problem.query.values.toarray()
    shown = np.log1p(1e4 * dense / np.maximum(dense.sum(axis=1, keepdims=True), 1))[problem.asks["rows"], problem.asks["columns"]]
    found = answer(Thinned(), problem, truth={})
    assert np.allclose(found.true, shown, rtol=1e-5) and np.array_equal(found.predicted, found.true)


@pytest.mark.parametrize("method", [PcaSmoothing, KnnSmoothing])
def test_smoothing_tells_types_that_the_mean_of_all_does_not(problem, method):
    found = answer(method(), problem)
    assert skill(found, problem) > skill(answer(GeneMean(), problem), problem) + 0.1
    assert (found.predicted >= 0).all()
    assert np.array_equal(found.predicted, answer(method(), problem).predicted)  # all chance comes from the seed


@pytest.mark.parametrize("method", [PcaSmoothing, KnnSmoothing])
def test_cells_that_are_all_alike_are_told_exactly(method):
    """Every cell has the same shares of counts, and depth alone differs: with many molecules there is next to nothing to err in."""
    shares = np.linspace(1, 20, 40)
    counts = np.round(np.outer(np.linspace(900, 1100, 100), shares))
    cells = from_arrays("alike", counts, CELLS.obs.iloc[:100], [f"g{i}" for i in range(40)])
    posed = ReadDepth(0.2).pose(cells, np.random.default_rng(0))
    expected = np.log1p(1e4 * shares / shares.sum())[posed.asks["columns"]]
    assert np.abs(answer(method(), posed).predicted - expected).max() < 0.02


def test_nothing_given_is_changed(problem):
    before = [data.values for data in (problem.train, problem.query)]
    answer(KnnSmoothing(), problem)
    assert all((kept != data.values).nnz == 0 for kept, data in zip(before, (problem.train, problem.query)))


@pytest.mark.parametrize("name", ["gene_mean", "pca_smoothing", "knn_smoothing", "control/thinned", "scfoundation", "scimilarity"])
def test_they_have_the_verb(name):
    assert isinstance(METHODS.get(name), type) and hasattr(METHODS.get(name), "deepen")
    assert name.startswith("sc") or isinstance(METHODS.get(name)(), Deepener)


def test_cells_that_tell_the_trust_are_of_all_batches_where_ids_begin_with_the_batch():
    ids = np.array([f"b{batch}_{i:04d}" for batch in range(3) for i in range(900)])
    rows = kept_apart(ids)
    assert len(rows) <= 256 and np.unique([cell[:2] for cell in ids[rows]], return_counts=True)[1].min() >= 80
    assert kept_apart(ids[:12]).tolist() == [0, 5, 10]
