"""A verb other than `embed` through the engine: planted truths, outputs that come back from the cache, and what is broken is recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding, Reconstruction
from scrutiny.core.protocols import Problem
from scrutiny.core.registry import register_method
from scrutiny.core.scores import Status
from scrutiny.engine.embedding import Chosen, Question, request
from scrutiny.engine.execute import perform
from scrutiny.engine.plan import Grid, Scored, make_plan
from scrutiny.engine.store import Store
from scrutiny.engine.study import Workers, usual_methods
from scrutiny.methods.means import GeneMean

TASKS = ("reconstruction", "reconstruction_masked_15", "reconstruction_masked_50")


def card(name, **more):
    return MethodCard(f"toy/{name}", "a toy", **{"kind": "baseline", "seconds_to_start": 0.0, "seconds_per_1000_cells": 0.0, **more})


class Toy(GeneMean):
    """Notes each fit as a line in the file ``calls``, with the cells that it was asked for."""

    def __init__(self, calls: str = "") -> None:
        self.calls = calls

    def reconstruct(self, query, *, hide=0.0):
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{query.n_cells} {hide}\n")
        found = super().reconstruct(query, hide=hide)
        return replace(found, **self.changed(found, query))

    def changed(self, found, query):
        return {}


@register_method
class Truthful(Toy):
    card = card("truthful")

    def changed(self, found, query):
        return {"predicted": found.true}


@register_method
class Alone(Truthful):
    card = card("reconstructs_alone", independent=True)


@register_method
class Flat(Toy):
    card = card("flat", kind="model")

    def changed(self, found, query):
        return {"predicted": np.full_like(found.true, 0.3)}


@register_method
class Twin(Truthful):
    """Run like its model: not shown the truth."""

    card = card("twin", kind="control", twin_of="toy/flat")


@register_method
class Peeking(Truthful):
    card = card("reconstructs_peeking", kind="control")

    def reconstruct(self, query, *, hide=0.0, truth):
        assert len(truth["label"]) == query.n_cells
        return super().reconstruct(query, hide=hide)


@register_method
class Together(Truthful):
    card = card("reconstructs_together", transductive=True)

    def fit_reconstruct(self, data, *, seed, hide=0.0):
        return self.fit(data, seed=seed).reconstruct(data, hide=hide)


@register_method
class Embedding(Toy):
    card = card("returns_embedding")

    def reconstruct(self, query, *, hide=0.0):
        return CellEmbedding(np.ones((query.n_cells, 2), np.float32), query.cell_ids)


@register_method
class Twice(Toy):
    card = card("entry_twice")

    def changed(self, found, query):
        return {"columns": np.where(np.arange(len(found.rows)) == 1, found.columns[0], found.columns), "weight": None}


@register_method
class OfOthers(Toy):
    card = card("other_cells")

    def changed(self, found, query):
        return {"cell_ids": np.char.add("x", query.cell_ids)}


@pytest.fixture
def do(cells, store_folder):
    """Do a grid in this process."""

    def run(methods, tasks=TASKS[:1], data=cells, labels=(), **more):
        store = Store(store_folder)
        plan = make_plan(Grid((Scored(data, labels),), tuple(Chosen(name, options) for name, options in methods), tasks, **more), store)
        setting = Workers(threads=1).setting(store)
        for job in plan.jobs():
            perform(job, data, setting, lambda message: None, alone=False)
        return plan

    return run


def by_method(folder, task=TASKS[0]):
    return {run.spec.method.removeprefix("toy/"): run for run in Store(folder).runs() if run.spec.task == task}


def value(run, metric):
    (score,) = (score for score in run.scores if score.metric == metric)
    return score.value


def test_planted_truths_come_out(do, store_folder):
    names = ("toy/truthful", "toy/flat", "toy/twin", "toy/reconstructs_peeking", "toy/reconstructs_together", "gene_mean")
    do([(name, {}) for name in names], TASKS)
    for task in TASKS:
        runs = by_method(store_folder, task)
        assert {run.status for run in runs.values()} == {Status.OK}, {name: run.reason for name, run in runs.items()}
        for name in ("truthful", "twin", "reconstructs_peeking", "reconstructs_together"):
            assert value(runs[name], "reconstruction_skill") == pytest.approx(1)
        assert abs(value(runs["gene_mean"], "reconstruction_skill")) < 0.1
        assert abs(value(runs["flat"], "reconstruction_slope")) < 1e-6 and value(runs["flat"], "reconstruction_skill") < 0
    assert all(run.n_dims is None for run in runs.values())
    (primary,) = (score for score in runs["gene_mean"].scores if score.metric == "reconstruction_skill")
    assert primary.replicates.n_folds == 5 and len(primary.replicates.kept) == 100
    assert primary.details["quantity"] == "log count" and {"low", "n", "predicted_p90"} <= set(primary.details["bins"][0])
    (primary,) = (score for score in runs["truthful"].scores if score.metric == "reconstruction_skill")
    assert np.allclose(primary.replicates.kept, 1) and np.allclose(primary.replicates.held, 1)


def test_an_output_comes_back_from_the_cache(do, store_folder, tmp_path):
    calls = str(tmp_path / "calls")
    methods = [("toy/truthful", {"calls": calls})]
    do(methods, TASKS)
    before = {task: by_method(store_folder, task)["truthful"] for task in TASKS}
    for path in (store_folder / "runs").iterdir():
        path.unlink()
    do(methods, TASKS)
    assert Path(calls).read_text().splitlines() == ["36 0.0", "36 0.15", "36 0.5"], "one output a task, of 30% of the cells, made once"
    for task, run in before.items():
        again = by_method(store_folder, task)["truthful"]
        assert again.cost.cached and again.output_key == run.output_key
        same = [(score.metric, score.value, score.details, score.replicates) for score in run.scores]
        assert same == [(score.metric, score.value, score.details, score.replicates) for score in again.scores]
    found = Store(store_folder).output(run.output_key)
    assert isinstance(found, Reconstruction) and found.hidden.any() and found.n_cells == 36


def test_cells_alone_are_not_asked_for_all_of_the_data(do, tmp_path):
    calls = str(tmp_path / "calls")
    do([("toy/reconstructs_alone", {"calls": calls})])
    assert Path(calls).read_text() == "36 0.0\n"


def test_what_is_broken_is_recorded_with_its_reason(do, store_folder):
    do([(f"toy/{name}", {}) for name in ("returns_embedding", "entry_twice", "other_cells")])
    runs = by_method(store_folder)
    assert {run.status for run in runs.values()} == {Status.FAILED}
    assert "returned a CellEmbedding; expected a Reconstruction" in runs["returns_embedding"].reason
    assert "occurs more than once" in runs["entry_twice"].reason
    assert "36 were asked for; 36 of the asked cells are missing" in runs["other_cells"].reason


def test_methods_without_the_verb_are_not_applicable(do):
    plan = do([("hvg", {}), ("harmony", {})])
    assert [run.reason for run in plan.runs] == [
        "the task reconstruction asks for 'reconstruct', which hvg has not",
        "the task reconstruction asks for 'fit_reconstruct', which harmony has not",
    ]


def test_controls_of_other_tasks_are_left_out(do):
    plan = do([("control/shuffle", {}), ("control/overall_mean", {})], ("cell_types", "reconstruction"))
    assert [(run.spec.method, run.spec.task) for run in plan.runs] == [
        ("control/shuffle", "cell_types"),
        ("control/overall_mean", "reconstruction"),
    ]


def test_the_usual_methods_are_those_that_have_the_verbs():
    expression = ("pca", "gene_mean", "control/overall_mean", "control/another_cell")
    assert usual_methods(("reconstruction", "reconstruction_masked_15")) == expression
    assert "harmony" in usual_methods() and not {"gene_mean", "control/another_cell"} & set(usual_methods())
    assert set(usual_methods(("cell_types", "reconstruction"))) == {*usual_methods(), *expression}
    with pytest.raises(InputError, match="did you mean"):
        usual_methods(("reconstrution",))


def test_the_seed_is_in_the_key_where_it_draws_what_is_hidden(cells):
    chosen, problem = Chosen("toy/truthful"), Problem(cells, cells, {})

    def key(seed, **options):
        return request(chosen, seed, problem, cells, Question("reconstruct", options)).key

    assert key(0) == key(1) and key(0, hide=0.15) != key(1, hide=0.15)
    assert len({key(0), key(0, hide=0.15), key(0, hide=0.5), request(chosen, 0, problem, cells).key}) == 4
