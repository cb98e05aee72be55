"""For every check of the task contract, a task that breaks it and is caught. That built-in tasks pass is tested with them."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.cards import TaskCard
from scrutiny.core.errors import ContractError
from scrutiny.core.protocols import Problem
from scrutiny.tasks.annotation import AcrossBatches
from scrutiny.tasks.cells import CellTypes
from scrutiny.testing import Outcome, check_task
from scrutiny.testing.task import TASK_CHECKS


class Honest(CellTypes):
    card = TaskCard(
        "acme/types",
        "are types apart?",
        asks="embed",
        metrics=("knn_purity", "asw_label"),
        primary="knn_purity",
        roles=frozenset({"label"}),
        query_visible=True,
    )

    def context(self, data):
        return {}


class OtherPrimary(Honest):
    card = replace(Honest.card, primary="clisi")


class UnknownMetric(Honest):
    card = replace(Honest.card, metrics=("knn_purity", "acme/unheard_of"))


class ShowsLabels(Honest):
    def pose(self, data, rng):
        return replace(super().pose(data, rng), query=data)


class ShowsCopies(Honest):
    """Takes the role away and leaves the column, its copies and what was made from it."""

    def pose(self, data, rng):
        blind = data.with_roles(label=None)
        return replace(super().pose(data, rng), train=blind, query=blind)


class ShowsLabelsOfTrain(Honest):
    """Says that nothing is split, but shows the labels of what methods are fitted on."""

    def pose(self, data, rng):
        return replace(super().pose(data, rng), train=data)


class ShowsTerms(Honest):
    """Hides the labels and leaves which terms there are among them."""

    def pose(self, data, rng):
        problem = super().pose(data, rng)
        return replace(problem, query=replace(problem.query, terms=data.terms))


class MovesCells(Honest):
    """Values and ids in different orders."""

    def pose(self, data, rng):
        problem = super().pose(data, rng)
        return replace(problem, query=replace(problem.query, matrix=problem.query.matrix.take_rows(np.arange(data.n_cells)[::-1])))


class HalfTheTruth(Honest):
    def pose(self, data, rng):
        problem = super().pose(data, rng)
        return replace(problem, truth={"labels": problem.truth["labels"][:40]})


class NothingForThePrimary(Honest):
    def evidence(self, output, problem):
        return {"embedding": output.values}


class OwnNeighbors(Honest):
    """Gives evidence of another make than the metrics know under its name; the primary metric does not use it."""

    card = replace(Honest.card, primary="asw_label")

    def evidence(self, output, problem):
        return {**super().evidence(output, problem), "neighbors": np.zeros((problem.query.n_cells, 15), int)}


class ByRowNumber(Honest):
    """Joins the truth by position in a list of its own."""

    def pose(self, data, rng):
        problem = super().pose(data, rng)
        return replace(problem, truth={"labels": np.sort(problem.truth["labels"])})


class OwnDraw(Honest):
    """Draws the cells from a generator of its own."""

    def pose(self, data, rng):
        rows = np.random.default_rng().permutation(data.n_cells)[:60]
        part = data.take(rows)
        return Problem(part.hide("label"), part.hide("label"), {"labels": part.role("label")})


class DrawsFromNumpy(Honest):
    def pose(self, data, rng):
        np.random.permutation(3)
        return super().pose(data, rng)


class WritesObs(Honest):
    def pose(self, data, rng):
        data.obs.insert(0, "seen", 1)
        return super().pose(data, rng)


class MakesUpLabels(Honest):
    """Without labels it scores against nothing."""

    def pose(self, data, rng):
        if not data.has("label"):
            return Problem(data, data, {"labels": np.full(data.n_cells, "cell")})
        return super().pose(data, rng)


class LearnsFromTheQuery(AcrossBatches):
    """Leaves the scored cells, with their labels, among those that are learnt from."""

    def pose(self, data, rng):
        return replace(super().pose(data, rng), train=data.hide("pseudotime"))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (LearnsFromTheQuery, "check_scored_labels_are_not_learnt"),
        (OtherPrimary, "check_card"),
        (UnknownMetric, "check_card"),
        (ShowsLabels, "check_truth_is_hidden"),
        (ShowsCopies, "check_truth_is_hidden"),
        (ShowsLabelsOfTrain, "check_truth_is_hidden"),
        (ShowsTerms, "check_truth_is_hidden"),
        (MovesCells, "check_cells_are_of_the_data"),
        (HalfTheTruth, "check_evidence"),
        (NothingForThePrimary, "check_evidence"),
        (OwnNeighbors, "check_metrics_run"),
        (ByRowNumber, "check_truth_follows_the_cells"),
        (OwnDraw, "check_posed_alike"),
        (DrawsFromNumpy, "check_nothing_else_touched"),
        (WritesObs, "check_nothing_else_touched"),
        (MakesUpLabels, "check_roles_are_needed"),
    ],
)
def test_a_planted_fault_is_caught(broken, check):
    results = {r.check: r for r in check_task(broken, on_fail="report")}
    assert results[check].outcome is Outcome.FAILED
    with pytest.raises(ContractError, match=check):
        check_task(broken)


def test_every_check_has_a_fault_that_it_catches():
    marks = test_a_planted_fault_is_caught.pytestmark[0].args[1]
    assert {check for _, check in marks} == {check.__name__ for check in TASK_CHECKS}


def test_an_honest_task_passes():
    absent = "check_scored_labels_are_not_learnt"  # it asks for no labels
    assert {r.outcome for r in check_task(Honest) if r.check != absent} == {Outcome.PASSED}
    assert {r.outcome for r in check_task(AcrossBatches)} == {Outcome.PASSED}
