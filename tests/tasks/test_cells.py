"""Tasks on all cells: what is hidden, what is given, and which metrics they carry."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.builtins import METRICS
from scrutiny.core.builtins import TASKS as BUILT_IN
from scrutiny.core.dataset import Scale
from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import TASKS
from scrutiny.data.synth import planted
from scrutiny.methods.linear import HvgPca
from scrutiny.tasks.cell_cycle import G2M_GENES, S_GENES
from scrutiny.tasks.cells import BatchMixing, CellTypes, Integration
from scrutiny.testing import check_task

CELLS = planted(120, 60)
WITH_TIME = replace(
    CELLS, obs=CELLS.obs.assign(time=np.where(np.arange(120) < 100, np.arange(120.0), np.nan)), roles={**CELLS.roles, "pseudotime": "time"}
)


def posed(task, data=CELLS):
    return task().pose(data, np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - {"read_depth"}))  # which changes the cells, as its own tests expect
def test_contract(name):
    check_task(TASKS.get(name))


def test_every_metric_is_asked_by_a_task_and_every_primary_is_as_declared():
    cards = [TASKS.get(name).card for name in BUILT_IN]
    assert {name for card in cards for name in card.metrics} == set(METRICS)
    assert {card.name: card.primary for card in cards} == {
        "cell_types": "probe_logreg_macro_f1",
        "integration": "scib_total",
        "batch_mixing": "ilisi",
        "label_transfer": "probe_logreg_macro_f1",
        **dict.fromkeys(("reconstruction", "reconstruction_masked_15", "reconstruction_masked_50"), "reconstruction_skill"),
        "read_depth": "depth_skill",
        **dict.fromkeys((name for name in BUILT_IN if name.startswith("annotation")), "macro_f1"),
        "reference_mapping": "macro_f1",
        "annotation_unseen_types": "seen_unseen_harmonic",
        "type_relations": "scgraph_ontorwr",
    }
    assert all(card.metrics[0] == card.primary for card in cards)
    assert all(len(set(card.metrics)) == len(card.metrics) for card in cards)


def test_batches_stay_visible_and_labels_go():
    problem = posed(Integration, WITH_TIME)
    assert problem.query.roles == {"batch": "batch"}
    assert list(problem.query.obs.columns) == ["batch"]
    assert set(problem.truth) == {"labels", "batch"}


def test_evidence_is_the_embedding_and_the_truth():
    problem = posed(BatchMixing)
    values = np.ones((120, 2), np.float32)
    assert set(BatchMixing().evidence(CellEmbedding(values, CELLS.cell_ids), problem)) == {"embedding", "batch"}


def test_cell_types_does_without_batches():
    problem = posed(CellTypes, CELLS.with_roles(batch=None))
    assert set(problem.truth) == {"labels"}


@pytest.mark.parametrize(("task", "role"), [(CellTypes, "label"), (Integration, "label"), (Integration, "batch"), (BatchMixing, "batch")])
def test_one_group_is_not_applicable(task, role):
    column = CELLS.roles[role]
    with pytest.raises(NotApplicable, match=f"one value in the role '{role}'"):
        posed(task, replace(CELLS, obs=CELLS.obs.assign(**{column: "all"})))


def test_context_is_what_no_method_changes():
    context = CellTypes().context(WITH_TIME)
    assert set(context) == {"reference", "pseudotime"}, "made-up genes are no cell-cycle genes"
    np.testing.assert_array_equal(context["reference"], HvgPca().fit(CELLS, seed=0).embed(CELLS).values)
    assert context["reference"].dtype == np.float32
    assert np.isfinite(context["pseudotime"]).sum() == 100


def test_context_leaves_out_what_the_data_do_not_allow():
    scaled = replace(planted(30, 2100), scale=Scale.SCALED)
    assert set(CellTypes().context(scaled)) == set(), "of scaled values no variable genes can be chosen"
    worded = replace(WITH_TIME, obs=WITH_TIME.obs.assign(time="early"))
    assert set(CellTypes().context(worded)) == {"reference"}


def test_cell_cycle_and_trajectory_are_scored_where_the_data_allow():
    genes = [*S_GENES, *G2M_GENES]
    cells = planted(150, len(genes), label_effect=0.3)
    cells = replace(
        cells, var=cells.var.set_axis(genes), obs=cells.obs.assign(time=np.arange(150.0)), roles={**cells.roles, "pseudotime": "time"}
    )
    task = Integration()
    output = HvgPca().fit(cells, seed=0).embed(cells)
    evidence = Evidence({**task.context(cells), **task.evidence(output, posed(Integration, cells))})
    assert 0.99 < evidence["cell_cycle"] <= 1, "the embedding is the reference itself"
    assert 0 <= evidence["trajectory"] <= 1


def test_pcr_comparison_of_the_reference_itself_is_zero():
    task = Integration()
    output = HvgPca().fit(CELLS, seed=0).embed(CELLS)
    evidence = Evidence({**task.context(CELLS), **task.evidence(output, posed(Integration))})
    assert evidence["pcr_comparison"] == pytest.approx(0.0, abs=1e-6)
