"""Jobs that need one output are not at it together: the first makes it, the others find it."""

from pathlib import Path

import pytest
import toys  # noqa: F401  registers methods

from scrutiny.core.scores import Status
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.plan import Grid, Scored, make_plan
from scrutiny.engine.store import Store
from scrutiny.engine.study import Study

HEADS = ("knn", "logreg", "centroid")


@pytest.mark.parametrize("name", ["toy/slow", "toy/alone"])
def test_parallel_jobs_embed_once_for_all_heads(cells, store_folder, calls, name):
    options = {"calls": calls, "seconds": 0.5}
    study = Study((cells,), tuple(Chosen(f"{name}+{head}", options) for head in HEADS), ("annotation",))
    runs = study.run(store_folder, jobs=3).runs()
    assert [run.status for run in runs] == [Status.OK] * 3, [run.reason for run in runs]
    fits = [line for line in Path(calls).read_text().splitlines() if line.startswith("fit") or line.isdigit()]
    assert len(fits) == 1
    assert not list((store_folder / "started").iterdir())


def test_heads_of_one_net_share_and_others_do_not(cells, store_folder):
    names = ("hvg_pca+knn", "hvg_pca+logreg", "hvg+knn", "pca")
    plan = make_plan(Grid((Scored(cells),), tuple(Chosen(name) for name in names), ("annotation", "cell_types")), Store(store_folder))
    shares = {job.method: job.shares for job in plan.jobs()}
    assert shares["hvg_pca+knn"] & shares["hvg_pca+logreg"]
    assert not shares["hvg_pca+knn"] & shares["hvg+knn"] and not shares["pca"] & shares["hvg_pca+knn"]


def test_an_ensemble_shares_with_its_members(cells, store_folder):
    ensemble = Chosen("ensemble", {"members": ["hvg_pca+knn", "hvg+logreg"]})
    methods = (ensemble, Chosen("hvg_pca+knn"), Chosen("hvg+logreg"), Chosen("hvg+knn"))
    plan = make_plan(Grid((Scored(cells),), methods, ("annotation",)), Store(store_folder))
    shares = {job.method: job.shares for job in plan.jobs()}
    assert all(shares["ensemble"] & shares[name] for name in ("hvg_pca+knn", "hvg+logreg", "hvg+knn"))
