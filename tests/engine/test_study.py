"""Studies from files to a store, with real data, methods and tasks where they are quick."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import toys as chosen

from scrutiny.core.errors import InputError, StoreError
from scrutiny.data import backed
from scrutiny.data.synth import planted
from scrutiny.engine import study as study_module
from scrutiny.engine.plan import State
from scrutiny.engine.sources import Source
from scrutiny.engine.store import Store
from scrutiny.engine.study import Study, Workers


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An h5ad of 150 cells: labels in two columns, one of them with a gap, and a batch."""
    anndata = pytest.importorskip("anndata")
    data = planted(150, 250)
    obs = data.obs.assign(coarse=data.obs["cell_type"].replace({"type_2": "type_1"}))
    obs.iloc[3, obs.columns.get_loc("coarse")] = None
    path = tmp_path_factory.mktemp("study") / "cells.h5ad"
    anndata.AnnData(data.values, obs=obs, var=pd.DataFrame(index=data.genes)).write_h5ad(path)
    return path


def test_a_file_is_read_with_the_named_columns(file):
    (scored,) = Study.from_file(file, label=("cell_type", "coarse"), batch="batch").grid.datasets
    assert scored.labels == ("cell_type", "coarse") and scored.data.roles == {"label": "cell_type", "batch": "batch"}
    assert scored.data.n_cells == 149, "the cell without a coarse label is left out"
    assert any("have no label" in note for note in scored.data.notes)


def test_without_names_columns_are_proposed_and_the_notes_say_so(file):
    (scored,) = Study.from_file(file).grid.datasets
    assert scored.data.roles["label"] == "cell_type" and scored.data.roles["batch"] == "batch"
    assert any("taken from 'cell_type'" in note for note in scored.data.notes)


def test_a_large_file_is_sampled_and_the_notes_say_so(file):
    (scored,) = Study.from_file(file, label="cell_type", batch="batch", cells=60).grid.datasets
    assert scored.data.n_cells == 60 and any("sample of 60 of 150 cells" in note for note in scored.data.notes)
    (whole,) = Study.from_file(file, label="cell_type", cells=None).grid.datasets
    assert whole.data.n_cells == 150


def test_a_misspelt_column_is_answered_with_near_matches(file):
    for source in (
        Source(file, labels=("cell_typ",)),
        Source(file, labels=("cell_type", "corse")),
        Source(file, roles={"batch": "batsch"}),
    ):
        with pytest.raises(InputError, match="did you mean"):
            source.load()
    with pytest.raises(InputError, match="'path' or a name in the 'catalog'"):
        Source().load()


def test_the_default_plan_says_what_labels_allow(file):
    plan = Study.from_file(file, label="cell_type", batch="batch").plan("/nowhere")
    assert {run.spec.task for run in plan.runs} == {"cell_types", "integration", "label_transfer"}
    told = {(run.spec.task, run.spec.method): run for run in plan.of(State.NOT_APPLICABLE)}
    assert "no split" in told["cell_types", "scanvi"].reason and "unseen" in told["label_transfer", "harmony"].reason
    assert not any(run.kind == "control" for run in told.values())


def test_without_labels_it_says_what_is_lacking(file):
    (scored,) = Study((Source(file, roles={"batch": "batch"}),)).grid.datasets
    plan = Study((scored,)).plan("/nowhere")
    to_do = {run.spec.task for run in plan.of(State.TO_DO)}
    assert to_do == {"batch_mixing"}
    assert all("label" in run.reason for run in plan.of(State.NOT_APPLICABLE) if run.spec.task == "cell_types")


def test_a_run_keeps_its_facts_and_what_could_not_be_run(file, store_folder):
    study = Study(
        (Source(file, labels=("cell_type", "coarse"), roles={"batch": "batch"}),), chosen("counting", "taught"), ("toy/separate",)
    )
    store = study.run(store_folder)
    facts = store.study()
    told = facts["datasets"]["cells"]
    assert told["n_cells"] == 149 and told["label_columns"] == ["cell_type", "coarse"] and told["confounding"]["coarse"]["n_labels"] == 2
    assert facts["metrics"]["toy/separation"]["recipe"] == "a toy" and facts["tasks"]["toy/separate"]["primary"] == "toy/separation"
    cells = store.cells("cells")
    assert list(cells.columns) == ["batch", "cell_type", "coarse"] and len(cells) == 149
    table = store.scores()
    assert set(table.loc[table["method"] == "toy/taught", "status"]) == {"not_applicable"}
    assert set(table["label_column"]) == {"cell_type", "coarse"}
    assert table.loc[table["primary"] & (table["method"] == "toy/counting"), "value"].between(0, 1).all()


def test_what_was_skipped_runs_once_it_can(cells, store_folder, monkeypatch):
    import toys

    needy = replace(toys.Counting.card, requires=("no_such_module",))
    monkeypatch.setattr(toys.Counting, "card", needy)
    study = Study((cells,), chosen("counting"), ("toy/separate",))
    assert [run.reason.split(":")[0] for run in study.run(store_folder).runs()] == [
        "toy/counting needs no_such_module, which is not installed"
    ]
    monkeypatch.undo()
    assert [run.status for run in study.run(store_folder).runs()] == ["ok"]


def test_data_on_disk_reach_the_child_by_a_path_from_where_the_user_is(file, store_folder, monkeypatch):
    monkeypatch.setattr(backed, "LARGEST_IN_MEMORY", 0)
    monkeypatch.chdir(file.parent)
    study = Study((Source(Path(file.name), labels=("cell_type",), roles={"batch": "batch"}, cells=None),), ("hvg_pca",), ("integration",))
    assert isinstance(study.grid.datasets[0].data.matrix, backed.BackedMatrix)
    assert [run.status for run in study.run(store_folder).runs()] == ["ok"]


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(cells, tmp_path, calls):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--out"):
        Study((cells,), chosen("counting", calls=calls), ("toy/separate",)).run(tmp_path / "file" / "results")


def test_jobs_share_the_cores_and_those_of_a_scheduler_take_one_each(store_folder, monkeypatch):
    monkeypatch.setattr(study_module, "cpu_count", lambda: 8)
    workers = Workers(), Workers(jobs=3), Workers(threads=5), Workers(engine="dask", scheduler="tcp://host:8786")
    assert [place.setting(Store(store_folder)).threads for place in workers] == [8, 2, 5, 1]


def test_workers_that_cannot_be():
    with pytest.raises(InputError, match="at least 1"):
        Workers(jobs=0)
    with pytest.raises(InputError, match="'local' or 'dask'"):
        Workers(engine="spark")


def test_real_methods_and_tasks_together(store_folder):
    """A planted difference of types is found, and the shuffled control finds none."""
    data = planted(200, 150, batch_effect=0.2)
    study = Study((data,), ("pca", "control/shuffle", "control/label_oracle"), ("cell_types", "integration", "label_transfer"))
    table = study.run(store_folder, jobs=2, threads=1).scores()
    assert not (table["status"] == "failed").any(), table.loc[table["status"] == "failed", ["method", "metric", "reason"]].to_string()
    primary = table[table["primary"]].pivot(index="task", columns="method", values="value")
    assert (primary["pca"] > 0.8).all() and (primary["control/shuffle"] < primary["pca"] - 0.2).all()
    assert primary.loc["cell_types", "control/label_oracle"] > 0.99
    kept = table.loc[table["primary"] & (table["method"] == "pca"), "replicates_kept"]
    assert all(len(values) % 5 == 0 and np.isfinite(values).all() for values in kept)
