"""Jobs done in this process: what is shown to whom, what is recorded, what is made only once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from toys import toys as chosen

from scrutiny.core.errors import ContractError, MissingDependency
from scrutiny.core.protocols import Problem
from scrutiny.core.registry import DERIVED
from scrutiny.core.scores import Status
from scrutiny.engine.embedding import Chosen, request
from scrutiny.engine.execute import perform
from scrutiny.engine.jobs import Ended, Finished, Holding
from scrutiny.engine.plan import Grid, Scored, make_plan
from scrutiny.engine.store import Store
from scrutiny.engine.study import Workers

ALL = ("toy/separate", "toy/batches", "toy/split")


@pytest.fixture
def do(cells, store_folder):
    """Do a grid in this process; returns the messages."""

    def run(methods, tasks=("toy/separate",), data=cells, labels=(), retry=False, **more):
        store, said = Store(store_folder), []
        plan = make_plan(Grid((Scored(data, labels),), methods, tasks, **more), store, retry=retry)
        setting = Workers(threads=1).setting(store)
        for job in plan.jobs():
            said.append(perform(job, data, setting, said.append, alone=False))
        return said

    return run


def by_method(folder):
    return {run.spec.method.removeprefix("toy/"): run for run in Store(folder).runs()}


def n_calls(calls):
    return len(Path(calls).read_text().splitlines()) if Path(calls).exists() else 0


def test_each_metric_has_its_own_fate(do, store_folder):
    do(chosen("counting"))
    (run,) = Store(store_folder).runs()
    assert run.status is Status.OK and run.n_dims == 5
    found = {score.metric.removeprefix("toy/"): score for score in run.scores}
    assert found["separation"].status is Status.OK and 0 < found["separation"].value < 1
    assert (found["broken"].status, found["broken"].reason) == (Status.FAILED, "RuntimeError: the metric is broken")
    assert found["nan"].status is Status.FAILED and "finite" in found["nan"].reason
    assert found["lacking"].status is Status.NOT_APPLICABLE and "something_else" in found["lacking"].reason
    assert all(found[name].value is None for name in ("broken", "nan", "lacking"))


def test_a_method_that_fails_is_a_record_with_its_reason(do, store_folder):
    do(chosen("misaligned", "raising", "refusing"))
    runs = by_method(store_folder)
    assert runs["misaligned"].status is Status.FAILED and runs["misaligned"].reason.startswith("Misaligned: the output has 3 cells")
    assert runs["raising"].status is Status.FAILED and runs["raising"].reason == "ValueError: the toy is broken"
    assert "second line" in runs["raising"].facts["traceback"]
    assert runs["refusing"].status is Status.NOT_APPLICABLE and runs["refusing"].reason == "the toy does not fit these cells"
    assert not runs["raising"].scores and Store(store_folder).scores()["value"].isna().all()


def test_what_is_kept_tells_what_it_rests_on(do, store_folder, cells):
    do(chosen("counting"))
    (run,) = Store(store_folder).runs()
    assert run.facts["kind"] == "baseline" and run.facts["label_column"] == "cell_type" and run.facts["n_labels"] == 3
    assert run.facts["n_cells"] == cells.n_cells and run.facts["primary"] == "toy/separation" and run.facts["trained_on"] == []
    assert {"scrutiny", "numpy", "python"} <= set(run.versions)
    assert run.cost.peak_memory_mb > 0 and run.cost.seconds_score > 0 and not run.cost.cached
    np.testing.assert_array_equal(Store(store_folder).output(run.output_key).cell_ids, cells.cell_ids)


def test_one_output_serves_all_tasks_without_a_split(do, calls):
    do(chosen("counting", calls=calls), ALL)
    assert n_calls(calls) == 2  # all cells; the training cells of the split


def test_another_label_column_never_embeds_again(do, calls, cells, store_folder):
    do(chosen("counting", calls=calls))
    do(chosen("counting", calls=calls), labels=("cell_type", "coarse"))
    do(chosen("counting", calls=calls), data=replace(cells, obs=cells.obs.assign(cell_type=list("ab") * 60)))
    assert n_calls(calls) == 1 and len(Store(store_folder).runs()) == 3
    assert sorted(run.cost.cached for run in Store(store_folder).runs()) == [False, True, True]


def test_another_batch_column_embeds_again_only_what_reads_it(do, tmp_path, cells):
    reads, ignores = str(tmp_path / "reads"), str(tmp_path / "ignores")
    other = replace(cells, obs=cells.obs.assign(batch=["x", "y", "z"] * 40))
    for data in (cells, other):
        do((*chosen("reads_batch", calls=reads), *chosen("counting", calls=ignores)), data=data)
    assert n_calls(reads) == 2 and n_calls(ignores) == 1


def test_a_failed_embedding_is_not_tried_for_every_task(do, calls, store_folder):
    do(chosen("raising", calls=calls), ("toy/separate", "toy/batches"), labels=("cell_type", "coarse"))
    assert n_calls(calls) == 1
    assert [run.status for run in Store(store_folder).runs()] == [Status.FAILED] * 3


def test_what_failed_is_tried_again_on_request_only(do, calls, store_folder):
    for retry in (False, False, True):
        do(chosen("raising", calls=calls), retry=retry)
    assert n_calls(calls) == 2 and len(list((store_folder / "failed").iterdir())) == 2


def test_a_cleaned_cache_is_made_again_when_needed(do, calls, store_folder):
    do(chosen("counting", calls=calls))
    Store(store_folder).clean_cache()
    do(chosen("counting", calls=calls), ("toy/batches",))
    assert n_calls(calls) == 2


def test_methods_see_the_columns_that_their_card_names_and_no_truth(do, store_folder):
    do(chosen("reads_batch", "taught"), ALL)
    assert {run.status for run in Store(store_folder).runs()} == {Status.OK}


def test_controls_are_shown_the_truth_and_have_no_replicates(do, store_folder):
    do(chosen("peeking", "counting"))
    runs = by_method(store_folder)
    assert runs["peeking"].scores[0].value == pytest.approx(1.0) and runs["peeking"].scores[0].replicates is None
    assert len(runs["counting"].scores[0].replicates.kept) == 5


def test_a_ready_made_array_reaches_the_method_that_asks_for_it(do, store_folder, cells):
    oracle = np.unique(cells.role("label"), return_inverse=True)[1][:, None].astype(np.float32)
    data = replace(cells, obsm={"X_mine": oracle, "X_other": oracle * 0})
    do((Chosen("precomputed", {"key": "X_mine"}),), ("toy/separate", "toy/split"), data=data)
    assert [run.scores[0].value for run in Store(store_folder).runs()] == [pytest.approx(1.0)] * 2
    do((Chosen("precomputed", {"key": "X_mine"}),), data=replace(data, obsm={"X_mine": oracle * 0 + np.arange(120)[:, None]}))
    assert len(Store(store_folder).runs()) == 3  # another array under the same name is another run


def test_the_messages_tell_what_is_held(do):
    said = do(chosen("counting"))
    held = [[marker.name[-2:] for marker in message.markers] for message in said if isinstance(message, Holding)]
    assert held == [[".1"], [".1", ".1"], [".1"], []]
    assert isinstance(said[-1], Ended) and said[-1] == Ended()
    assert [message.status for message in said if isinstance(message, Finished)] == [Status.OK]


def test_no_marker_stays_behind(do, store_folder):
    do(chosen("counting", "raising", "refusing"), ALL)
    assert list((store_folder / "started").iterdir()) == []


def test_a_missing_package_found_while_running_is_looked_at_again(do, store_folder, monkeypatch):
    def lack(self, train, *, seed):
        raise MissingDependency("pip install it")

    monkeypatch.setattr(toys.Counting, "fit", lack)
    do(chosen("counting"))
    assert [run.reason for run in Store(store_folder).runs()] == ["pip install it"]
    monkeypatch.undo()
    do(chosen("counting"))
    assert [run.status for run in Store(store_folder).runs()] == [Status.OK]


def test_an_output_of_another_type_is_a_broken_contract(do, store_folder, monkeypatch):
    monkeypatch.setattr(toys.Counting, "embed", lambda self, query: np.zeros((query.n_cells, 2)))
    do(chosen("counting"))
    assert ContractError.__name__ in Store(store_folder).runs()[0].reason


def test_a_split_is_the_same_for_every_method(do, store_folder):
    do(chosen("counting", "peeking"), ("toy/split",))
    store = Store(store_folder)
    ids = [store.output(run.output_key).cell_ids for run in store.runs()]
    np.testing.assert_array_equal(*ids)
    assert len(ids[0]) == 60


def test_tasks_on_the_same_cells_share_one_search_for_neighbours(do, store_folder, monkeypatch):
    searched = []
    real = DERIVED.get("neighbors")
    spy = replace(real, function=lambda embedding: searched.append(1) or real.function(embedding))
    found = DERIVED.get
    monkeypatch.setattr(DERIVED, "get", lambda name: spy if name == "neighbors" else found(name))
    do(chosen("peeking"), ("cell_types", "integration"))
    assert len(searched) == 1
    table = Store(store_folder).scores()
    assert table.loc[table["metric"] == "knn_purity", "value"].nunique() == 1


def test_a_task_that_renames_cells_is_not_given_the_truth_of_others(do, store_folder, monkeypatch):
    def renaming(self, data, rng, pose=toys.Separate.pose):
        problem = pose(self, data, rng)
        renamed = replace(problem.query, obs=problem.query.obs.set_axis([f"new {cell}" for cell in data.cell_ids], axis=0))
        return replace(problem, query=renamed)

    monkeypatch.setattr(toys.Separate, "pose", renaming)
    do(chosen("peeking"))
    assert "ContractError: the task asks for cells that 'planted' has not" in Store(store_folder).runs()[0].reason


def test_a_column_in_two_roles_is_shown_in_the_one_that_is_read(cells):
    """Donors are often the batches: hiding one role must not take the column of the other."""
    both = cells.with_roles(donor=cells.roles["batch"])
    shown = request(Chosen("toy/reads_batch"), 0, Problem(both, both, {}), both).query
    assert dict(shown.roles) == {"batch": cells.roles["batch"]}
    assert list(shown.obs.columns) == [cells.roles["batch"]]
    copied = cells.with_roles(batch=cells.roles["label"])  # but never the column of the label
    assert request(Chosen("toy/reads_batch"), 0, Problem(copied, copied, {}), copied).query.obs.empty
