"""Annotation in all its ways: who is held out, who shows a label, what is told to the reader, what is calibrated on whom."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.registry import TASKS
from scrutiny.data.synth import planted
from scrutiny.methods.annotation.majority import Majority
from scrutiny.tasks.few_shot import draw_order
from scrutiny.tasks.mapping import unseen_types

CELLS = planted(600, 20, n_labels=5, n_batches=3)
FEW = {k: f"annotation_few_{k}" for k in (1, 5, 10, 50)}


def posed(task, data=CELLS, seed=0):
    return TASKS.get(task)().pose(data, np.random.default_rng(seed))


def with_column(**columns):
    return replace(CELLS, obs=CELLS.obs.assign(**columns)).with_roles(**{name: name for name in columns})


def batch_of(problem, data=CELLS):
    return set(data.obs["batch"][problem.cell_ids])


def test_a_whole_batch_is_held_out():
    problem = posed("annotation")
    assert len(batch_of(problem.query)) == 1 and len(batch_of(problem.train)) == 2
    assert "held out (200 of 600 cells)" in problem.query.notes[-1]
    np.testing.assert_array_equal(problem.truth["labels"], CELLS.obs["cell_type"][problem.query.cell_ids])
    assert problem.truth["labelled_cells"] == problem.truth["training_cells"] == {f"type_{i}": 80 for i in range(5)}


@pytest.mark.parametrize("task", ["annotation", *FEW.values(), "annotation_unseen_types", "reference_mapping"])
def test_what_the_user_holds_out_is_held_out(task):
    side = np.where(np.arange(600) % 4 == 0, "query", "train")
    problem = posed(task, with_column(split=side))
    scored = problem.scored_cells.obs.index
    assert set(np.flatnonzero(np.isin(CELLS.cell_ids, scored)) % 4) == {0} and len(scored) == 150
    assert "the part chosen by the user held out (150 of 600 cells)" in problem.query.notes[0]


def test_a_split_needs_both_sides():
    with pytest.raises(NotApplicable, match="both sides need some"):
        posed("annotation", with_column(split=np.full(600, "train")))


def test_a_random_split_says_what_leaks():
    for problem in (posed("annotation_random"), posed("annotation", CELLS.with_roles(batch=None))):
        assert "drawn at random" in problem.query.notes[-1] and "promise more than a new batch" in problem.query.notes[-1]
        assert batch_of(problem.query) == batch_of(problem.train)


@pytest.mark.parametrize(("task", "role"), [("donors", "donor"), ("studies", "study"), ("species", "species"), ("tissues", "tissue")])
def test_a_group_is_held_out(task, role):
    groups = np.repeat(["x", "y", "z"], [120, 180, 300])
    problem = posed(f"annotation_across_{task}", with_column(**{role: groups}))
    np.testing.assert_array_equal(np.sort(problem.query.cell_ids), np.sort(CELLS.cell_ids[groups == "y"]))
    assert f"the {role} 'y' held out" in problem.query.notes[-1]


def test_labels_that_only_held_out_cells_have_are_left_out_and_counted():
    batch = CELLS.role("batch")
    held = posed("annotation").query.cell_ids
    new = np.where(np.isin(CELLS.cell_ids, held[:7]), "only here", CELLS.role("label"))
    data = replace(CELLS, obs=CELLS.obs.assign(cell_type=new))
    problem = posed("annotation", data)
    assert problem.query.n_cells == 193 and "only here" not in problem.truth["labels"]
    assert "7 of the held-out cells are not scored: no training cell has their label (only here)" in problem.query.notes
    assert len(np.unique(batch)) == 3


def test_few_shots_are_nested_and_share_the_cells_with_annotation():
    whole, shown = posed("annotation"), {}
    for k, task in FEW.items():
        problem = posed(task)
        np.testing.assert_array_equal(problem.train.cell_ids, whole.train.cell_ids)
        np.testing.assert_array_equal(problem.query.cell_ids, whole.query.cell_ids)
        labels = problem.train.role("label")
        labelled = labels != UNLABELLED
        np.testing.assert_array_equal(labels[labelled], whole.train.role("label")[labelled])
        assert problem.truth["labelled_cells"] == {f"type_{i}": k for i in range(5)}
        assert problem.truth["training_cells"] == whole.truth["training_cells"]
        shown[k] = set(problem.train.cell_ids[labelled])
    assert shown[1] < shown[5] < shown[10] < shown[50]


def test_types_with_fewer_cells_show_all_of_them_and_the_notes_say_so():
    rare = np.where(np.arange(600) < 9, "rare", CELLS.role("label"))
    problem = posed("annotation_few_10", replace(CELLS, obs=CELLS.obs.assign(cell_type=rare)))
    n = problem.truth["training_cells"]["rare"]
    assert problem.truth["labelled_cells"]["rare"] == n < 10
    assert f"types with fewer than 10 training cells show all of them: rare ({n})" in problem.query.notes


def test_only_few_shots_are_drawn_anew_for_each_seed():
    assert {name for name in TASKS.names() if TASKS.get(name).card.drawn} == set(FEW.values())


def test_a_draw_does_not_follow_the_order_of_the_file():
    labels, ids = CELLS.role("label"), CELLS.cell_ids
    rows = np.random.default_rng(3).permutation(600)
    first = draw_order(labels, ids, np.random.default_rng(0))
    np.testing.assert_array_equal(draw_order(labels[rows], ids[rows], np.random.default_rng(0)), first[rows])
    for name in np.unique(labels):
        assert sorted(first[labels == name]) == list(range(120))


def test_a_tenth_of_the_reference_is_asked_for_and_not_scored():
    problem, plain = posed("reference_mapping"), posed("annotation")
    kept_out = set(plain.train.cell_ids) - set(problem.train.cell_ids)
    assert len(kept_out) == 40 and kept_out == set(problem.query.cell_ids) - set(problem.scored_cells.cell_ids)
    np.testing.assert_array_equal(problem.scored_cells.cell_ids, plain.query.cell_ids)


def test_calibration_rests_on_the_reference_alone():
    """A method is too sure by a planted factor on the query; told labels of the query change nothing of how it is calibrated."""
    task, problem = TASKS.get("reference_mapping")(), posed("reference_mapping")
    output = Majority().fit(problem.train, seed=0).predict_labels(problem.query)
    given = task.evidence(output, problem)
    assert given["prediction"].n_cells == len(given["labels"]) == 200
    wrong = np.where(problem.truth["is_scored"], "type_0", problem.truth["labels"])
    other = task.evidence(output, replace(problem, truth={**problem.truth, "labels": wrong}))
    assert other["calibration"].temperature == given["calibration"].temperature
    assert other["calibration"].threshold == given["calibration"].threshold


def test_too_few_cells_to_calibrate_on_are_not_applicable():
    with pytest.raises(NotApplicable, match="too few to calibrate on"):
        posed("reference_mapping", planted(120, 20, n_batches=3))


def test_unseen_types_are_in_no_training_cell_and_in_the_query():
    problem = posed("annotation_unseen_types")
    assert "held out of training: " in problem.query.notes[-2]
    unseen = set(problem.truth["labels"][~problem.truth["seen"]])
    assert len(unseen) == 1 and not unseen & set(problem.train.role("label"))
    assert set(problem.truth["labelled_cells"]) == {f"type_{i}" for i in range(5)} - unseen
    scored = problem.truth["is_scored"]
    assert (~problem.truth["seen"][scored]).sum() == 40 and problem.truth["seen"][~scored].all()


def test_the_truth_itself_reaches_the_roof_and_a_sure_guess_notices_nothing():
    task, problem = TASKS.get("annotation_unseen_types")(), posed("annotation_unseen_types")
    names = np.unique(problem.truth["labels"])
    right = LabelPrediction(problem.query.cell_ids, names, (problem.truth["labels"][:, None] == names).astype(np.float32))
    found = Evidence(task.evidence(right, problem))
    assert found["seen_unseen_harmonic"] == found["novelty_auroc"] == found["macro_f1_seen"] == 1.0
    learnt = np.array(sorted(problem.truth["labelled_cells"]))
    taken = np.where(problem.truth["seen"], problem.truth["labels"], learnt[0])
    sure = LabelPrediction(problem.query.cell_ids, learnt, (taken[:, None] == learnt).astype(np.float32))
    assert Evidence(task.evidence(sure, problem))["seen_unseen_harmonic"] == 0.0


def test_about_a_fifth_of_the_types_and_two_are_left():
    def n_unseen(n_types):
        types = np.repeat([f"t{i:02d}" for i in range(n_types)], 20)
        return len(unseen_types(types, types, "cells", np.random.default_rng(0)))

    assert [n_unseen(n) for n in (3, 5, 10, 21)] == [1, 1, 2, 4]
    with pytest.raises(NotApplicable, match="three are needed"):
        n_unseen(2)
    small = np.repeat([f"t{i:02d}" for i in range(10)], [20, *[9] * 9])
    assert unseen_types(small, small, "cells", np.random.default_rng(0)) == ["t00"], "the only one with enough cells"
    few = np.repeat(["a", "b", "c"], 9)
    with pytest.raises(NotApplicable, match="0 of them with at least 10 cells"):
        unseen_types(few, few, "cells", np.random.default_rng(0))
