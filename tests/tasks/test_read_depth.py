"""Read depth: what is shown, what is asked, and planted truths: the truth itself scores 1, doing nothing 0."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import ContractError, NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.data.prepare import log_entries
from scrutiny.data.synth import planted
from scrutiny.methods.deepening import Thinned, deepened
from scrutiny.tasks import read_depth
from scrutiny.tasks.read_depth import ReadDepth, entries
from scrutiny.testing import check_task

CELLS = planted(120, 60, n_batches=3, depth=150.0)


def posed(data=CELLS, seed=0, **options):
    return ReadDepth(**options).pose(data, np.random.default_rng(seed))


def answer(problem, predicted):
    return deepened(problem.query, problem.asks["rows"], problem.asks["columns"], np.asarray(predicted, np.float32))


def scored(problem, output):
    return Evidence(ReadDepth().evidence(output.aligned_to(problem.query.cell_ids), problem))


def full_of(problem, data=CELLS):
    return data.take(data.obs.index.get_indexer(problem.query.obs.index))


def test_contract():
    check_task(ReadDepth, expected_failures={"check_cells_are_of_the_data": "molecules of the query are removed"})


def test_a_batch_is_held_out_and_thinned_and_the_others_are_shown_in_full():
    problem = posed()
    full = full_of(problem)
    names, sizes = np.unique(CELLS.role("batch"), return_counts=True)
    nearest = names[np.abs(sizes - 36).argmin()]
    assert np.unique(full.role("batch")).tolist() == [nearest]
    assert (CELLS.take(CELLS.obs.index.get_indexer(problem.train.obs.index)).values != problem.train.values).nnz == 0
    assert not set(problem.train.cell_ids) & set(problem.query.cell_ids) and problem.train.n_cells + problem.query.n_cells == 120
    removed = full.values - problem.query.values
    assert removed.min() == 0
    assert problem.query.values.sum() / full.values.sum() == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(problem.asks["totals"], full.values.toarray().sum(axis=1))
    assert f"batch '{nearest}' was held out; of {full.n_cells} of them 20% of the molecules were kept" in problem.query.notes[-1]
    assert not problem.query.has("label") and not problem.train.has("label")


def test_without_batches_a_share_of_the_cells_is_held_out_by_id():
    data = CELLS.with_roles(batch=None)
    backwards = data.take(np.arange(120)[::-1])
    first, second = posed(data), posed(backwards)
    assert first.query.n_cells == 36 and "on both sides" in first.query.notes[-1]
    there = second.query.obs.index.get_indexer(first.query.obs.index)
    assert (there >= 0).all()
    assert (first.query.values != second.query.values[there]).nnz == 0  # a cell is thinned alike wherever it stands
    asked = [{(p.query.cell_ids[i], j) for i, j in zip(p.asks["rows"], p.asks["columns"])} for p in (first, second)]
    assert asked[0] == asked[1]


def test_asked_are_all_expressed_genes_and_as_many_others_that_stand_for_all():
    counts = CELLS.values
    rows, columns, weight = entries(counts, 0, CELLS.cell_ids)
    dense = counts.toarray()
    values = dense[rows, columns]
    n_expressed = (dense > 0).sum(axis=1)
    assert np.array_equal(np.bincount(rows, values > 0), n_expressed)
    assert np.array_equal(np.bincount(rows, values == 0), np.minimum(n_expressed, 60 - n_expressed))
    assert np.allclose(np.bincount(rows, weight), 60) and (weight[values > 0] == 1).all()
    assert (np.diff(rows * 60 + columns) > 0).all()


def test_the_truth_scores_1_and_doing_nothing_0():
    problem = posed()
    places = problem.asks["rows"], problem.asks["columns"]
    assert np.array_equal(problem.truth["full"], log_entries(full_of(problem), *places))
    perfect = scored(problem, answer(problem, problem.truth["full"]))
    assert perfect["depth_skill"] == 1 and perfect["depth_mse"] == 0 and perfect["depth_pearson"] == pytest.approx(1)
    assert perfect.measure("depth_skill").details["share_answered"] == pytest.approx(1)
    nothing = scored(problem, Thinned().fit(problem.train, seed=0).deepen(problem.query, **problem.asks, truth={}))
    assert nothing["depth_skill"] == 0
    flat = scored(problem, answer(problem, problem.asks["columns"]))
    assert flat.measure("depth_skill").details["slope"] == pytest.approx(0, abs=1e-6)
    halfway = scored(problem, answer(problem, (problem.truth["full"] + problem.truth["given"]) / 2))
    assert halfway["depth_skill"] == pytest.approx(0.75)


def test_genes_that_a_method_does_not_know_are_left_out_and_told():
    problem = posed()
    some = np.flatnonzero(problem.asks["columns"] < 30)
    output = deepened(problem.query, *(problem.asks[name][some] for name in ("rows", "columns")), problem.truth["full"][some])
    found = scored(problem, output).measure("depth_skill")
    assert found.value == 1 and found.details["share_answered"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "bin"}, "expected 'log count'"),
        ({"gene_ids": np.array([f"other_{i}" for i in range(60)])}, "gene 'other_0', which the cells have not"),
        ({"gene_ids": CELLS.genes[::-1]}, "entries that were not asked for"),
    ],
)
def test_odd_answers_are_refused(change, message):
    problem = posed()
    output = replace(answer(problem, problem.truth["full"]), **change)
    with pytest.raises(ContractError, match=message):
        ReadDepth().evidence(output.aligned_to(problem.query.cell_ids), problem)


def test_many_cells_are_sampled(monkeypatch):
    monkeypatch.setattr(read_depth, "MOST_CELLS", 10)
    problem = posed()
    assert problem.query.n_cells == 10 and problem.train.n_cells == 81


def test_what_has_no_molecules_or_too_few_cells_cannot_be_posed():
    with pytest.raises(NotApplicable, match="needs counts"):
        posed(replace(CELLS, scale=Scale.LOG))
    with pytest.raises(NotApplicable, match="leaves 42 cells"):
        posed(CELLS.take(np.arange(60)).with_roles(batch=None))
