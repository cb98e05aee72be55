"""Read depth through the engine: scored, kept, and told of what does not apply."""

import numpy as np
import pytest

from scrutiny.core.protocols import Problem
from scrutiny.core.scores import Status
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen, Question, request
from scrutiny.engine.plan import State
from scrutiny.engine.study import Study

CELLS = planted(240, 60, n_batches=1, label_effect=1.5, depth=100.0)
METHODS = ("gene_mean", "knn_smoothing", "control/thinned", "control/overall_mean", "hvg_pca")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Study((CELLS,), METHODS, tasks=("read_depth",)).run(tmp_path_factory.mktemp("results"))


def test_scores_with_intervals(store):
    runs = {run.spec.method: run for run in store.runs()}
    scores = {method: {score.metric: score for score in run.scores} for method, run in runs.items() if run.status is Status.OK}
    assert set(scores) == set(METHODS) - {"hvg_pca"}
    skill = {method: found["depth_skill"].value for method, found in scores.items()}
    assert skill["control/thinned"] == 0
    assert skill["knn_smoothing"] > skill["gene_mean"] > skill["control/overall_mean"]
    assert all(score.status is Status.OK for found in scores.values() for score in found.values())
    assert len(scores["gene_mean"]["depth_skill"].replicates.kept) == 100
    assert scores["gene_mean"]["depth_skill"].details["bins"]
    assert any("20% of the molecules were kept" in note for note in runs["gene_mean"].facts["notes"])


def test_methods_without_the_verb_are_told(store):
    plan = Study((CELLS,), METHODS, tasks=("read_depth",)).plan(store.folder)
    assert {run.spec.method: run.reason for run in plan.of(State.NOT_APPLICABLE)} == {
        "hvg_pca": "the task read_depth asks for 'deepen', which hvg_pca has not"
    }
    assert not plan.of(State.TO_DO)


def test_what_is_asked_is_part_of_the_key():
    def key(**asks):
        problem = Problem(CELLS, CELLS, {}, asks)
        return request(Chosen("gene_mean"), 0, problem, CELLS, Question("deepen", asks)).key

    ones = np.ones(CELLS.n_cells)
    assert key(totals=ones) == key(totals=ones.copy()) != key(totals=2 * ones)
