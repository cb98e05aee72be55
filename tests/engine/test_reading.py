"""Labels read off embeddings through the engine: one embedding for all readers, and nobody is shown what it is asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scrutiny.core.cards import MethodCard
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import register_method
from scrutiny.core.scores import Status
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.execute import perform
from scrutiny.engine.plan import Grid, Scored, State, make_plan
from scrutiny.engine.store import Store
from scrutiny.engine.study import Workers


class Noting:
    """First columns of the matrix; notes what it is asked for in the file ``calls``."""

    def __init__(self, calls: str = "") -> None:
        self.calls = calls

    def fit(self, train, *, seed):
        assert not train.has("label") and not len(train.obs.columns), "shown what its card does not name"
        return self

    def embed(self, query):
        assert not len(query.obs.columns)
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{query.n_cells}\n")
        return CellEmbedding(np.log1p(query.values.toarray()), query.cell_ids)


def card(name, **more):
    return MethodCard(f"toy/{name}", "a toy", kind="baseline", seconds_to_start=0.0, seconds_per_1000_cells=0.0, **more)


@register_method
class Fitted(Noting):
    card = card("noting")


@register_method
class ByItself(Noting):
    card = card("noting_alone", independent=True)


@register_method
class AllAtOnce:
    card = card("noting_together", transductive=True)

    def fit_embed(self, data, *, seed):
        raise AssertionError("asked although it cannot embed new cells")


@pytest.fixture
def do(cells, store_folder):
    """Do a grid in this process; gives its runs by method and task."""

    def run(methods, tasks=("annotation",)):
        store = Store(store_folder)
        chosen = tuple(Chosen(name, options) for name, options in methods)
        plan = make_plan(Grid((Scored(cells),), chosen, tasks), store)
        setting = Workers(threads=1).setting(store)
        for job in plan.jobs():
            perform(job, cells, setting, lambda message: None, alone=False)
        return {(run.spec.method, run.spec.task): run for run in store.runs()}, plan

    return run


@pytest.mark.parametrize(("name", "asked"), [("toy/noting", ["120"]), ("toy/noting_alone", ["120"])])
def test_readers_share_one_embedding(do, calls, name, asked):
    runs, _ = do([(f"{name}+knn", {"calls": calls}), (f"{name}+logreg", {"calls": calls})])
    assert {run.status for run in runs.values()} == {Status.OK}, [run.reason for run in runs.values()]
    assert Path(calls).read_text().split() == asked, "embedded once for both"
    for run in runs.values():
        assert dict((score.metric, score.value) for score in run.scores)["macro_f1"] > 0.95, "planted labels are plain to see"
        assert run.cost.trainable is not None and run.cost.n_answered == 60, "one of two batches is asked for"


def test_the_embedding_of_other_tasks_serves_too(do, calls):
    do([("toy/noting_alone", {"calls": calls}), ("toy/noting_alone+knn", {"calls": calls})], ("cell_types", "annotation"))
    assert Path(calls).read_text().split() == ["120"]


def test_what_the_embedding_took_counts(do, store_folder):
    runs, _ = do([("toy/noting+knn", {})])
    (run,) = runs.values()
    cache = Store(store_folder).cache
    embedding = next(facts for name in cache.names("*") if (facts := cache.get(name).facts).get("n_answered") == 120)
    assert run.cost.seconds_embed >= embedding["seconds_embed"] / 2, "half of the cells were asked for"
    assert run.cost.seconds_fit >= embedding["seconds_fit"] + embedding["seconds_embed"] / 2, "the others count as fitting"


def test_what_embeds_all_cells_at_once_cannot_be_read(do):
    _, plan = do([("toy/noting_together+knn", {})])
    (run,) = plan.runs
    assert run.state is State.NOT_APPLICABLE and "toy/noting_together embeds all cells at once" in run.reason


def test_methods_of_other_tasks_are_not_missed(do):
    _, plan = do([("toy/noting", {}), ("toy/noting+knn", {})], ("cell_types", "annotation"))
    assert sorted((run.spec.method, run.spec.task) for run in plan.runs) == [("toy/noting", "cell_types"), ("toy/noting+knn", "annotation")]


def test_controls_bracket_what_is_told(do):
    runs, _ = do([(name, {}) for name in ("control/shuffled_labels", "control/label_oracle", "majority")])
    value = {name: dict((s.metric, s.value) for s in run.scores) for (name, _), run in runs.items()}
    assert value["control/label_oracle"]["macro_f1"] == 1
    assert value["control/shuffled_labels"]["accuracy"] < 0.6, "three labels, equally often"
    assert value["majority"]["macro_f1"] == pytest.approx(1 / 6, abs=0.01), "F1 of one of three labels is 1/2, of the others 0"


def test_an_ensemble_takes_what_its_members_told(do, calls, store_folder):
    names = ["toy/noting+knn", "toy/noting+centroid"]
    options = [{"calls": calls, "trials": 2}, {"calls": calls}]
    members = [{"name": name, "options": of_member} for name, of_member in zip(names, options)]
    runs, _ = do([*zip(names, options), ("ensemble", {"members": members})])
    assert {run.status for run in runs.values()} == {Status.OK}, [run.reason for run in runs.values()]
    assert Path(calls).read_text().split() == ["120"], "nothing is embedded again"
    alone = [runs[name, "annotation"] for name in names]
    together = runs["ensemble", "annotation"]
    cache = Store(store_folder).cache
    first, second, mean = (cache.get(run.output_key).by_name["probabilities"] for run in (*alone, together))
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    assert together.cost.seconds_fit == pytest.approx(sum(run.cost.seconds_fit for run in alone))
    assert [told.get("search") for told in together.facts["told_by_members"]] == [alone[0].facts["search"], None]
    assert together.cost.trainable == sum(run.cost.trainable for run in alone)


def test_another_ready_made_array_is_told_from_anew(cells, store_folder):
    """Also where only the vectors of training cells are others, and through an ensemble."""
    named = {"options": {"key": "X_mine"}}
    members = [{"name": f"precomputed+{head}", **named} for head in ("knn", "centroid")]
    chosen = (Chosen("precomputed+knn", {"key": "X_mine"}), Chosen("ensemble", {"members": members}))
    store, seen = Store(store_folder), []
    vectors = np.eye(3)[np.unique(cells.role("label"), return_inverse=True)[1]]
    is_query = np.arange(cells.n_cells) < 0
    for _ in range(2):
        data = replace(cells, obsm={"X_mine": np.where(is_query[:, None], vectors, vectors[:, [1, 2, 0]]) if seen else vectors})
        plan = make_plan(Grid((Scored(data),), chosen, ("annotation",)), store)
        for job in plan.jobs():
            perform(job, data, Workers(threads=1).setting(store), lambda message: None, alone=False)
        runs = [run for run in store.runs() if run.spec.key not in seen]
        assert {run.status for run in runs} == {Status.OK}, [run.reason for run in runs]
        told = {run.spec.method: store.cached_output(run.output_key) for run in runs}
        true = {name: data.role("label")[data.obs.index.get_indexer(one.cell_ids)] for name, one in told.items()}
        right = {name: float((one.labels == true[name]).mean()) for name, one in told.items()}
        assert right == dict.fromkeys(["precomputed+knn", "ensemble"], 0.0 if seen else 1.0)
        is_query = np.isin(cells.cell_ids, told["ensemble"].cell_ids)
        seen += [run.spec.key for run in runs]


def test_what_a_method_tells_of_its_search_is_in_the_facts_also_from_the_cache(do, store_folder):
    runs, _ = do([("toy/noting+knn", {"trials": 4})])
    (run,) = runs.values()
    assert run.facts["search"]["budget"] == 4 and run.facts["search"]["trials"] <= 4 and run.facts["search"]["chosen"]["k"] in (5, 15, 50)
    for file in (store_folder / "runs").rglob("*.json"):
        file.unlink()
    again, _ = do([("toy/noting+knn", {"trials": 4})])
    (other,) = again.values()
    assert other.cost.cached and other.facts["search"] == run.facts["search"]
