"""How models with weights are planned, keyed and recorded: by the content of the weights, never by where they lie."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import toys
from toys import Toy

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.protocols import Problem
from scrutiny.core.registry import METHODS, register_method
from scrutiny.core.scores import Status
from scrutiny.data.checkpoints import whole_path
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen, recorded_options, request
from scrutiny.engine.plan import Grid, Scored, State, make_plan
from scrutiny.engine.store import Store
from scrutiny.engine.study import Study, with_twins
from scrutiny.engine.studyfile import read_study_file

TASK = ("toy/separate",)


class Weighted(Toy):
    """A toy model whose "weights" are one text file."""

    outside_key = frozenset({"checkpoint", "device"})

    def __init__(self, checkpoint: str = "", device: str = "auto", layer: int = 0) -> None:
        super().__init__()
        self.checkpoint = checkpoint

    @property
    def weights_key(self) -> str:
        if not self.checkpoint:
            raise NotApplicable("it needs weights")
        return (Path(self.checkpoint) / "weights.txt").read_text()

    def check_applies(self, data) -> None:
        assert self.weights_key

    def facts(self, data):
        return {"weights": {"key": self.weights_key, "n_cells_seen": data.n_cells}}


@pytest.fixture(scope="module", autouse=True)
def models():
    def known(name, **more):
        card = MethodCard(name, "a toy", seconds_per_1000_cells=0.0, seconds_to_start=0.0, **more)
        if name not in METHODS:
            register_method(type(name.split("/")[-1], (Weighted,), {"card": card}))

    known("weighted")
    known("control/untrained_weighted", kind="control", seeded=True, least_seeds=3, twin_of="weighted")


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "weights.txt").write_text("abc123")
    return folder


def planned(cells, methods, store=None, **more):
    return make_plan(Grid((Scored(cells),), tuple(methods), TASK, **more), store or Store("/nowhere/at/all"))


def test_the_place_of_the_weights_is_not_recorded_and_changes_no_key(cells, weights, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(weights, moved)
    here, there = (Chosen("weighted", {"checkpoint": str(folder), "device": "cpu", "layer": 1}) for folder in (weights, moved))
    assert recorded_options(here, here.make()) == {"layer": 1, "weights": "abc123"}
    keys = [planned(cells, [chosen]).runs[0].spec.key for chosen in (here, there)]
    assert keys[0] == keys[1]
    (moved / "weights.txt").write_text("other")
    assert planned(cells, [there]).runs[0].spec.key != keys[0]


def test_without_weights_it_is_not_applicable_and_says_so(cells):
    (run,) = planned(cells, [Chosen("weighted")]).runs
    assert (run.state, run.reason) == (State.NOT_APPLICABLE, "it needs weights")


def test_a_run_carries_the_facts_of_its_weights(cells, weights, store_folder):
    study = Study((cells,), (Chosen("weighted", {"checkpoint": str(weights)}),), TASK)
    (run,) = study.run(store_folder, jobs=1).runs()
    assert run.status is Status.OK
    assert run.facts["weights"] == {"key": "abc123", "n_cells_seen": cells.n_cells}
    assert study.chosen("weighted", run.spec.method_options).options == {"checkpoint": str(weights)}
    with pytest.raises(InputError, match="no method 'weighted' with the options"):
        study.chosen("weighted", {"weights": "other"})


def test_each_model_is_followed_by_its_twin_with_the_same_options():
    model = Chosen("weighted", {"checkpoint": "x"})
    twin = Chosen("control/untrained_weighted", {"checkpoint": "x"})
    assert with_twins([model, Chosen("pca")]) == (model, twin, Chosen("pca"))
    assert with_twins([model, twin]) == (model, twin)


def test_a_draw_runs_with_three_seeds_at_least(cells, weights):
    twin = Chosen("control/untrained_weighted", {"checkpoint": str(weights)})
    assert [run.spec.seed for run in planned(cells, [twin]).runs] == [0, 1, 2]
    assert [run.spec.seed for run in planned(cells, [twin], seeds=(5,)).runs] == [5, 6, 7]
    assert len(planned(cells, [twin], seeds=(0, 1, 2, 3)).runs) == 4


def test_one_twin_of_two_models_of_one_shape_is_planned_once(cells, weights):
    twins = [Chosen("control/untrained_weighted", {"checkpoint": str(weights), "device": device}) for device in ("cpu", "auto")]
    assert len(planned(cells, twins).runs) == 3


def test_a_twin_is_left_out_with_its_model(cells, weights, monkeypatch):
    slow = METHODS.get("weighted").card
    for name in ("weighted", "control/untrained_weighted"):
        cls = METHODS.get(name)
        monkeypatch.setattr(cls, "card", type(slow)(**{**vars(cls.card), "seconds_to_start": 1000.0}))
    options = {"checkpoint": str(weights)}
    grid = [Chosen("weighted", options), Chosen("control/untrained_weighted", options), *toys.toys("counting")]
    states = {run.spec.method: run.state for run in planned(cells, grid, budget=100.0).runs}
    assert states == {"weighted": "not applicable", "control/untrained_weighted": "not applicable", "toy/counting": "to do"}


def test_a_checkpoint_in_a_study_file_is_looked_for_beside_it(tmp_path, weights):
    file = tmp_path / "study.toml"
    text = 'methods = [{ name = "weighted", options = { checkpoint = "weights" } }]\n[[datasets]]\npath = "cells.h5ad"\n'
    file.write_text(text)
    (chosen,) = read_study_file(file)["methods"]
    assert chosen.options == {"checkpoint": str(weights)}


def test_a_folder_of_weights_is_named_by_its_whole_path_and_a_checkpoint_by_its_name(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whole_path("weights") == whole_path("weights", tmp_path) == str(weights)
    assert (whole_path("scgpt-human"), whole_path("")) == ("scgpt-human", "")


def test_an_untrained_twin_is_not_shown_the_truth_so_other_labels_embed_nothing_again(cells, weights):
    twin, control = Chosen("control/untrained_weighted", {"checkpoint": str(weights)}), Chosen("control/label_oracle")
    assert [set(request(chosen, 0, Problem(cells, cells, {}), cells).truth) for chosen in (twin, control)] == [set(), {"label", "batch"}]


def test_a_method_that_takes_cells_one_by_one_embeds_once_for_all_tasks(cells, store_folder, calls):
    name = "toy/independent"
    if name not in METHODS:
        register_method(type("Independent", (Toy,), {"card": toys.card("independent", independent=True)}))
    study = Study((cells,), (Chosen(name, {"calls": calls}),), ("cell_types", "label_transfer"))
    runs = study.run(store_folder, jobs=1).runs()
    assert [run.status for run in runs] == [Status.OK, Status.OK]
    assert len({run.output_key for run in runs}) == 1
    assert len(Path(calls).read_text().splitlines()) == 1


def test_a_killed_embedding_of_a_study_goes_on_with_the_next_shard(store_folder, tmp_path):
    """The first process is killed after one shard of 256 cells; the second one embeds the other 144 only."""
    seen, marker = tmp_path / "seen.txt", tmp_path / "killed"

    class Dies(Toy):
        card = toys.card("dies_once", independent=True)

        def __init__(self) -> None:
            super().__init__()

        def embed(self, query):
            if seen.exists() and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with seen.open("a") as file:
                file.write(f"{query.n_cells}\n")
            return super().embed(query)

    if "toy/dies_once" not in METHODS:
        register_method(Dies)
    study = Study((planted(400, 40),), (Chosen("toy/dies_once"),), ("cell_types",))
    (run,) = study.run(store_folder, jobs=1).runs()
    assert run.status is Status.OK
    assert marker.exists()
    assert [int(n) for n in seen.read_text().split()] == [256, 144]
    assert [path.name for path in (store_folder / "cache").glob("*.*-*.npz")] == []
