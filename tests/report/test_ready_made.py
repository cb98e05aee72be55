"""Scores of ready-made embeddings: one row a metric, whatever was scored into the same folder before."""

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.errors import InputError
from scrutiny.data.synth import planted
from scrutiny.engine.study import Study
from scrutiny.report.gather import gather
from scrutiny.report.ready_made import score_embedding


@pytest.fixture(scope="module")
def data():
    from dataclasses import replace

    cells = planted(n_cells=90, n_genes=40)
    rng = np.random.default_rng(0)
    good = np.unique(cells.role("label"), return_inverse=True)[1][:, None] + rng.normal(0, 0.1, (90, 2))
    obs = cells.obs.assign(plate=[f"p{i % 3}" for i in range(90)])
    return replace(cells, obs=obs, obsm={"X_good": good, "X_noise": rng.normal(size=(90, 2))})


def columns(data):
    return {"label": data.roles["label"], "batch": data.roles["batch"]}


def test_calls_into_one_folder_do_not_mix(data, tmp_path):
    fresh = score_embedding(data, "X_good", **columns(data))
    score_embedding(data, "X_noise", **columns(data), out=tmp_path)
    score_embedding(data, "X_good", label=data.roles["label"], batch="plate", out=tmp_path)
    again = score_embedding(data, "X_good", **columns(data), out=tmp_path)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), fresh.drop(columns="seconds"))
    assert not fresh.duplicated(["task", "metric"]).any()


def test_a_report_shows_only_runs_on_the_columns_of_the_last_study(data, tmp_path):
    methods = ("hvg_pca", "control/shuffle", "control/batch_only", "control/label_oracle")
    by_plate = data.with_roles(batch="plate")
    Study((data,), methods, ("integration",)).run(tmp_path)
    Study((by_plate,), methods[:2], ("integration",)).run(tmp_path)
    (comparison,) = gather([Study((data,), methods, ("integration",)).run(tmp_path)]).comparisons
    alone = gather([Study((data,), methods, ("integration",)).run(tmp_path / "alone")]).comparisons[0]
    assert comparison.value("hvg_pca", "scib_total") == pytest.approx(alone.value("hvg_pca", "scib_total"))
    (other,) = gather([Study((by_plate,), methods[:2], ("integration",)).run(tmp_path)]).comparisons
    assert set(other.values.index) == {"hvg_pca", "control/shuffle"}


def test_something_to_score_against_is_needed(data):
    with pytest.raises(InputError, match="give label=, batch= or both"):
        score_embedding(data, "X_good")
    with pytest.raises(InputError, match="no array 'X_god'.*X_good"):
        score_embedding(data, "X_god", label=data.roles["label"])
