import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import toys
from toys import toys as chosen

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS, METRICS, register_method
from scrutiny.core.scores import Run, Status
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.plan import Grid, Scored, State, make_plan
from scrutiny.engine.store import Store

SEPARATE = ("toy/separate",)


def planned(cells, methods, tasks=SEPARATE, store=None, **more):
    return make_plan(Grid((Scored(cells),), methods, tasks, **more), store or Store("/nowhere/at/all"))


def reason(cells, *names, task="toy/separate"):
    (run,) = planned(cells, chosen(*names), (task,)).runs
    assert run.state is State.NOT_APPLICABLE
    return run.reason


@pytest.fixture(scope="module", autouse=True)
def picky():
    """Methods that apply to few data."""

    def method(name, **more):
        known = f"toy/{name}"
        if known not in METHODS:
            register_method(type(name, (toys.Toy,), {"card": MethodCard(known, "a toy", **more)}))

    method("mouse", organisms=frozenset({"mouse"}))
    method("scaled", scale=Scale.SCALED)
    method("small", max_cells=10)
    method("donor", reads=frozenset({"donor"}))
    method("lacking_package", requires=("no_such_module_at_all",))
    method("expensive", seconds_to_start=1000.0)
    method("moderate", seconds_to_start=100.0)


def test_all_of_a_grid_is_planned_in_its_order(cells):
    plan = planned(cells, chosen("counting", "seeded"), ("toy/separate", "toy/batches"), seeds=(0, 1))
    found = [(run.spec.task, run.spec.method, run.spec.seed) for run in plan.runs]
    each = [("toy/counting", 0), ("toy/seeded", 0), ("toy/seeded", 1)]
    assert found == [(task, *rest) for task in ("toy/separate", "toy/batches") for rest in each]
    assert {run.state for run in plan.runs} == {State.TO_DO}
    assert len({run.spec.key for run in plan.runs}) == len(plan.runs)


def test_a_job_holds_all_that_shares_an_output(cells):
    plan = planned(cells, chosen("counting", "seeded"), ("toy/separate", "toy/batches"), seeds=(0, 1))
    jobs = {(job.method, job.seed): [spec.task for spec in job.specs] for job in plan.jobs()}
    assert jobs == {key: ["toy/separate", "toy/batches"] for key in (("toy/counting", 0), ("toy/seeded", 0), ("toy/seeded", 1))}


def test_several_label_columns_are_several_runs_of_one_job(cells):
    grid = Grid((Scored(cells, ("cell_type", "coarse")),), chosen("counting"), SEPARATE)
    plan = make_plan(grid, Store("/nowhere"))
    assert [run.spec.task_options for run in plan.runs] == [{"label": "cell_type"}, {"label": "coarse"}]
    assert [run.facts["n_labels"] for run in plan.runs] == [3, 2] and len(plan.jobs()) == 1


def test_what_cannot_run_has_a_reason(cells):
    assert "knows ['mouse']" in reason(cells, "mouse")
    assert "needs scaled" in reason(cells, "scaled")
    assert "10 cells" in reason(cells, "small")
    assert "no column in the role 'donor'" in reason(cells, "donor")
    assert "pip install no_such_module_at_all" in reason(cells, "lacking_package")
    assert "shown the answers" in reason(cells, "taught")
    assert "unseen" in reason(cells, "together", task="toy/split")
    assert "role 'label'" in reason(cells.with_roles(label=None), "counting")
    one = replace(cells, obs=cells.obs.assign(batch="only"))
    assert "all cells have 'only'" in reason(one, "reads_batch")
    assert "at least two values of 'batch'" in reason(one, "counting", task="toy/batches")


def test_names_that_do_not_exist_are_answered_with_near_matches(cells):
    with pytest.raises(InputError, match="did you mean.*toy/counting"):
        planned(cells, chosen("countin"))
    with pytest.raises(InputError, match="toy/separate"):
        planned(cells, chosen("counting"), ("toy/seperate",))
    with pytest.raises(InputError, match=r"no option 'call'; did you mean \['calls'\]"):
        planned(cells, chosen("counting", call="x"))
    with pytest.raises(InputError, match="names of data sets must differ"):
        make_plan(Grid((Scored(cells), Scored(cells)), chosen("counting"), SEPARATE), Store("/nowhere"))
    with pytest.raises(InputError, match="X_pca"):
        ready = replace(cells, obsm={"X_pca": np.zeros((cells.n_cells, 2), np.float32)})
        planned(ready, (Chosen("precomputed", {"key": "X_pcaa"}),))


def test_done_and_failed_are_not_to_do_again_unless_asked(cells, store_folder):
    store = Store(store_folder)
    specs = [run.spec for run in planned(cells, chosen("counting", "seeded", "raising")).runs]
    store.put(Run(specs[0], Status.OK))
    store.put(Run(specs[1], Status.FAILED, "by chance"))
    grid = Grid((Scored(cells),), chosen("counting", "seeded", "raising"), SEPARATE)
    assert [run.state for run in make_plan(grid, store).runs] == [State.DONE, State.FAILED, State.TO_DO]
    assert [run.state for run in make_plan(grid, store, retry=True).runs] == [State.DONE, State.TO_DO, State.TO_DO]


def test_the_key_depends_on_what_the_numbers_depend_on(cells):
    def key(data, method="reads_batch", task="toy/separate", **options):
        return planned(data, chosen(method, **options), (task,)).runs[0].spec.key

    same = key(cells)
    assert key(cells) == same
    assert key(replace(cells, name="renamed")) != same, "equal cells under two names are both in the report"
    assert key(replace(cells, obs=cells.obs.assign(more=1))) == same
    assert key(cells, tag="x") != same
    assert key(cells.take(np.arange(100))) != same
    other_batches = replace(cells, obs=cells.obs.assign(batch=cells.obs["batch"].to_numpy()[::-1].copy()))
    assert key(other_batches) != same
    assert key(other_batches, "counting") == key(cells, "counting")


def test_the_version_of_a_metric_is_part_of_the_key(cells, monkeypatch):
    before = planned(cells, chosen("counting")).runs[0].spec.key
    newer = replace(toys.separation, card=replace(toys.separation.card, version="2"))
    monkeypatch.setitem(METRICS._registered, "toy/separation", newer)
    assert planned(cells, chosen("counting")).runs[0].spec.key != before


def test_where_the_budget_is_small_the_most_expensive_goes_first(cells):
    methods = chosen("counting", "expensive", "moderate", "peeking")
    states = lambda budget: {r.spec.method[4:]: r.state.value for r in planned(cells, methods, budget=budget).runs}  # noqa: E731
    assert set(states(None).values()) == {"to do"}
    assert states(500) == {"counting": "to do", "expensive": "not applicable", "moderate": "to do", "peeking": "to do"}
    assert states(50) == {"counting": "to do", "expensive": "not applicable", "moderate": "not applicable", "peeking": "to do"}
    assert states(0.1) == states(50)
    dropped = planned(cells, methods, budget=500.0).of(State.NOT_APPLICABLE)
    assert "about 100" in dropped[0].reason and "budget of 500 s" in dropped[0].reason


def test_a_done_run_still_counts_in_the_budget(cells, store_folder):
    store = Store(store_folder)
    methods = chosen("counting", "expensive", "moderate")
    for run in planned(cells, methods, budget=500.0).of(State.TO_DO):
        store.put(Run(run.spec, Status.OK))
    again = planned(cells, methods, store=store, budget=500.0)
    assert [run.state for run in again.runs] == [State.DONE, State.NOT_APPLICABLE, State.DONE]


def test_a_split_costs_an_embedding_of_its_own(cells):
    both = planned(cells, chosen("moderate"), ("toy/separate", "toy/batches", "toy/split"))
    assert 200 < both.seconds < 220


def test_keys_are_the_same_in_every_process(cells):
    code = (
        "import sys; sys.path[:0] = {path!r}; import toys; from test_plan import planned, chosen; from scrutiny.data.synth import planted\n"
        "print([r.spec.key for r in planned(planted(60, 30), chosen('counting', 'peeking', tag='t'), ('toy/separate', 'toy/split')).runs])"
    ).format(path=[str(__import__("pathlib").Path(__file__).parent)])
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "42")
    }
    assert len(said) == 1 and "[" in said.pop()
