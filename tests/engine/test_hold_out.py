"""Cells that the user holds out: from a study file, an option or a Source to the role that tasks read, and to nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.core.registry import TASKS
from scrutiny.data.sample import sample
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen, request
from scrutiny.engine.execute import perform
from scrutiny.engine.plan import Grid, Scored, make_plan
from scrutiny.engine.sources import SPLIT, Source, _held_out
from scrutiny.engine.store import Store
from scrutiny.engine.study import Study, Workers

CELLS = planted(300, 20, n_batches=3)


def held(**hold_out):
    return _held_out(CELLS, hold_out)


def specs(data, *tasks):
    grid = Grid((Scored(data),), tuple(Chosen(name) for name in ("majority", "hvg_pca", "hvg_pca+knn")), tasks)
    return {(run.spec.method, run.spec.task): run.spec.key for run in make_plan(grid, Store("nowhere")).runs}


def test_values_of_a_column_are_held_out_and_said():
    data = held(batch=("batch_0", "batch_2"))
    np.testing.assert_array_equal(data.role("split") == "query", np.isin(CELLS.role("batch"), ["batch_0", "batch_2"]))
    assert data.notes[-1] == "Held out where labels are learnt: 201 of 300 cells (batch = batch_0 or batch = batch_2)."
    assert SPLIT not in CELLS.obs and held() is CELLS


@pytest.mark.parametrize(
    ("hold_out", "said"),
    [
        ({"bacth": ("x",)}, "no column 'bacth' for the role 'hold_out'; did you mean"),
        ({"batch": ("batch_9",)}, "'batch_9' are to be held out, but 'planted' has \\['batch_0', 'batch_1', 'batch_2'\\]$"),
        ({"batch": ("batch_0", "batch_1", "batch_2")}, "all cells of 'planted' are held out"),
    ],
)
def test_what_cannot_be_held_out_is_refused(hold_out, said):
    with pytest.raises(InputError, match=said):
        held(**hold_out)


def test_a_study_file_holds_out(tmp_path):
    (tmp_path / "study.toml").write_text(
        'tasks = ["annotation", "annotation_few"]\n[[datasets]]\npath = "a.h5ad"\nhold_out = { condition = ["stim"], donor = "d1" }\n'
    )
    study = Study.from_toml(tmp_path / "study.toml")
    assert study.datasets[0].hold_out == {"condition": ("stim",), "donor": ("d1",)}
    assert study.tasks == ("annotation", "annotation_few_1", "annotation_few_5", "annotation_few_10", "annotation_few_50")


def test_a_file_is_read_with_its_split(shared_data):
    source = Source(shared_data / "kang_ifnb.h5ad", labels=("cell_type",), hold_out={"condition": ("stim",)}, cells=400)
    data = source.load().data
    assert data.n_cells == 400
    np.testing.assert_array_equal(data.role("split") == "query", data.obs["condition"] == "stim")
    assert data.facts["hold_out"] == '{"condition": ["stim"]}'


def test_samples_keep_the_share_that_is_held_out():
    data = replace(CELLS, obs=CELLS.obs.assign(side=np.where(np.arange(300) % 10 == 0, "query", "train"))).with_roles(split="side")
    assert abs((sample(data, 100).role("split") == "query").sum() - 10) <= 1


def test_other_tasks_have_the_keys_that_they_had():
    """What is held out is read by tasks that tell labels, so their Runs are others; label transfer, and all else, is as before."""
    others = ("label_transfer", "cell_types", "annotation_random")
    assert specs(CELLS, *others) == specs(held(batch=("batch_0",)), *others)
    mine = ("annotation", "annotation_few_5", "reference_mapping", "annotation_unseen_types")
    before, after = specs(CELLS, *mine), specs(held(batch=("batch_0",)), *mine)
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())
    assert specs(held(batch=("batch_1",)), *mine) != after


def test_no_method_sees_who_is_held_out():
    data = held(batch=("batch_0",))
    problem = TASKS.get("annotation")().pose(data, np.random.default_rng(0))
    for name in ("majority", "hvg_pca"):
        asked = request(Chosen(name), 0, problem, data)
        for part in (asked.train, asked.query):
            assert SPLIT not in part.obs and not part.has("split")


def test_each_seed_of_a_study_draws_other_labelled_cells_alike_for_all_methods(tmp_path):
    methods = tuple(Chosen(name) for name in ("hvg_pca+knn", "hvg_pca+centroid"))
    plan = make_plan(Grid((Scored(CELLS),), methods, ("annotation", "annotation_few_5"), seeds=(0, 1)), Store(tmp_path))
    assert sorted((run.spec.task, run.spec.seed) for run in plan.runs) == sorted(
        2 * [("annotation", 0), ("annotation_few_5", 0), ("annotation_few_5", 1)]
    )
    store, alone = Store(tmp_path), make_plan(Grid((Scored(CELLS),), methods, ("annotation_few_5",)), Store(tmp_path))
    assert {run.spec.key for run in alone.runs} < {run.spec.key for run in plan.runs}, "the first draw is that of a study with one seed"
    for job in plan.jobs():
        perform(job, CELLS, Workers().setting(store), lambda message: None, alone=False)
    keys = {(run.spec.method, run.spec.task, run.spec.seed): run.output_key for run in store.runs()}
    assert len(keys) == 6
    for method in ("hvg_pca+knn", "hvg_pca+centroid"):
        assert keys[method, "annotation_few_5", 0] != keys[method, "annotation_few_5", 1]


def test_the_same_embedding_serves_every_number_of_shots(tmp_path):
    """Fitted on the same cells: only how many show their label differs, which no embedding is told."""
    grid = Grid((Scored(CELLS),), (Chosen("hvg_pca+knn"),), ("annotation", "annotation_few_1", "annotation_few_10"))
    store = Store(tmp_path)
    (job,) = make_plan(grid, store).jobs()
    perform(job, CELLS, Workers().setting(store), lambda message: None, alone=False)
    runs = list(store.runs())
    assert {run.status for run in runs} == {"ok"} and len({run.output_key for run in runs}) == 3
    found = {run.spec.task: {score.metric: score.value for score in run.scores} for run in runs}
    assert found["annotation"]["accuracy"] >= found["annotation_few_1"]["accuracy"]
    outputs = [store.cache.get(key) for key in {path.stem for path in store.cache.folder.glob("*")}]
    assert sum("values" in arrays.by_name for arrays in outputs if arrays is not None) == 1
