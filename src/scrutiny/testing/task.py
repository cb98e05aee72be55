"""The contract of a task: named checks that any package can run on its own class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import UNLABELLED
from scrutiny.core.outputs import OUTPUTS, CellEmbedding, Output
from scrutiny.core.protocols import Problem
from scrutiny.core.registry import METRICS
from scrutiny.core.scores import Measured
from scrutiny.data.synth import planted, planted_terms
from scrutiny.methods.annotation.majority import Majority
from scrutiny.methods.linear import HvgPca
from scrutiny.methods.means import GeneMean

from .checks import CheckResult, run_checks
from .witness import data_untouched, fresh, generators_untouched


@dataclass(frozen=True, eq=False)
class TaskTrial:
    """A task to be checked: ``make()`` gives a new instance, ``data`` are cells on which it can be posed."""

    make: Callable[[], Any]
    data: Dataset

    @property
    def card(self) -> TaskCard:
        return self.make().card

    def pose(self, data: Dataset | None = None, *, seed: int = 0) -> Problem:
        return self.make().pose(fresh(self.data) if data is None else data, np.random.default_rng(seed))

    def evidence(self, problem: Problem) -> dict[str, Any]:
        """What the task and its context give for the answer of a plain method."""
        task = self.make()
        return {**task.context(fresh(self.data)), **task.evidence(self.answer(problem), problem)}

    def answer(self, problem: Problem) -> Output:
        """Principal components, the mean of each gene or the commonest label, by what the task asks for."""
        options = {**self.card.verb_options, **problem.asks}
        if self.card.asks == "embed":
            vectors = HvgPca(n_dims=10).fit(problem.train, seed=0).embed(problem.query).values
            return CellEmbedding(vectors, problem.query.cell_ids)
        if self.card.asks == "predict_labels":
            return Majority().fit(problem.train, seed=0).predict_labels(problem.query)
        found: Output = getattr(GeneMean().fit(problem.train, seed=0), self.card.asks)(problem.query, **options)
        return found.aligned_to(problem.query.cell_ids)


def check_card(trial: TaskTrial) -> None:
    """The card is complete, hangs on the class, and names metrics and a verb that exist."""
    card = getattr(type(trial.make()), "card", None)
    assert isinstance(card, TaskCard), "the class needs an attribute 'card' that is a TaskCard; plans read it without posing the task"
    assert card.name and card.summary and card.version, "name, summary and version of the card must not be empty"
    assert card.asks in OUTPUTS, f"asks for the verb '{card.asks}'; methods have {sorted(OUTPUTS)}"
    unknown = [name for name in card.metrics if name not in METRICS]
    assert card.metrics and not unknown, f"no metric is called {unknown}; register it or add its entry point"
    assert card.primary in card.metrics, f"the primary metric '{card.primary}' is not among the metrics"
    assert not card.roles & card.optional, f"{sorted(card.roles & card.optional)} are required and optional at once"


def check_truth_is_hidden(trial: TaskTrial) -> None:
    """Cells to be answered for carry neither the label nor any column or array that nobody asked for."""
    problem = trial.pose()
    query = problem.query
    assert not query.has("label"), "the query still has the role 'label'; use query.hide('label')"
    assert query.terms is None, "the query still tells the terms of the labels; use query.hide('label')"
    leftover = [c for c in query.obs.columns if c not in query.roles.values()]
    assert not leftover and not query.obsm, (
        f"the query carries {leftover or list(query.obsm)}, which may copy the label; use query.hide('label')"
    )
    if trial.card.query_visible:
        assert not problem.train.has("label"), (
            "query_visible says that train and query are the same unlabelled cells; the labels are in train"
        )
        same = np.array_equal(problem.train.cell_ids, query.cell_ids)
        assert same, "query_visible says that train and query are the same unlabelled cells; they differ"


def check_scored_labels_are_not_learnt(trial: TaskTrial) -> None:
    """Where labels are asked for, no cell that is scored shows its label in training."""
    if trial.card.asks != "predict_labels":
        raise NotApplicable("labels are not asked for")
    problem = trial.pose()
    shown = problem.train.cell_ids[problem.train.role("label") != UNLABELLED]
    both = np.intersect1d(shown, problem.scored_cells.cell_ids)
    assert not len(both), f"{len(both)} cells are scored and show their label in training, e.g. '{both[0]}'"


def check_cells_are_of_the_data(trial: TaskTrial) -> None:
    """Train and query are cells of the data with their own values, found by id."""
    problem = trial.pose()
    for what, part in (("train", problem.train), ("query", problem.query)):
        rows = trial.data.obs.index.get_indexer(part.obs.index)
        assert part.n_cells > 0 and (rows >= 0).all(), f"{what} holds no cells, or cells that are not in the data"
        moved = abs(trial.data.values[rows] - part.values).sum() if part.n_genes == trial.data.n_genes else np.inf
        assert moved == 0, f"the values of {what} are not those of its cells in the data"


def check_evidence(trial: TaskTrial) -> None:
    """Evidence has the output, one entry per scored cell in every array, and all that the primary metric needs."""
    problem = trial.pose()
    given = trial.evidence(problem)
    has_output = "embedding" in given if trial.card.asks == "embed" else any(hasattr(value, "part") for value in given.values())
    assert has_output, f"the evidence must name the output, e.g. 'embedding'; it has {sorted(given)}"
    n_cells = problem.scored_cells.n_cells
    odd = {name: len(array) for name, array in given.items() if isinstance(array, np.ndarray) and len(array) != n_cells}
    assert not odd, f"arrays of another length than the {n_cells} scored cells: {odd}"
    try:
        value = Evidence(given)[trial.card.primary]
    except NotApplicable as error:
        raise AssertionError(f"the primary metric {trial.card.primary} cannot be computed: {error}") from error
    assert np.isfinite(value), f"the primary metric gave {value}"


def check_metrics_run(trial: TaskTrial) -> None:
    """Every metric of the card gives a number or is not applicable with a reason."""
    evidence = Evidence(trial.evidence(trial.pose()))
    for name in trial.card.metrics:
        try:
            found = evidence[name]
        except NotApplicable as error:
            assert str(error), f"{name} is not applicable without a reason"
        else:
            value = found.value if isinstance(found, Measured) else found
            assert np.isfinite(value), f"{name} gave {value}"


def check_truth_follows_the_cells(trial: TaskTrial) -> None:
    """The truth is joined by id: the same cells in another order keep their values."""
    rows = np.random.default_rng(1).permutation(trial.data.n_cells)
    first, second = trial.pose(), trial.pose(trial.data.take(rows))
    ids = np.intersect1d(first.query.cell_ids, second.query.cell_ids)
    if not len(ids):
        raise NotApplicable("the two draws have no cell in common")
    here, there = (p.query.obs.index.get_indexer(ids) for p in (first, second))
    by_cell = {name: values for name, values in first.truth.items() if isinstance(values, np.ndarray)}
    stable = {name for name, values in by_cell.items() if len(values) == first.query.n_cells} - _drawn(trial, first)
    moved = [name for name in sorted(stable) if not np.array_equal(first.truth[name][here], second.truth[name][there])]
    assert not moved, f"{moved} of the truth went to other cells when the cells came in another order"


def check_posed_alike(trial: TaskTrial) -> None:
    """The same seed poses the same problem, and all chance comes from the generator that is given."""
    first, second = trial.pose(seed=3), trial.pose(seed=3)
    for what in ("train", "query"):
        same = np.array_equal(getattr(first, what).cell_ids, getattr(second, what).cell_ids)
        assert same, f"posed twice with one seed, {what} holds other cells; draw from the generator that is given"
    same = all(np.array_equal(first.truth[name], second.truth[name]) for name in first.truth)
    assert same, "posed twice with one seed, the truth differs; draw from the generator that is given"


def check_nothing_else_touched(trial: TaskTrial) -> None:
    """The data and the global random generators are as they were."""
    trial.evidence(trial.pose())  # what a first import does to the generators is not the task's doing
    given = fresh(trial.data)
    with data_untouched(given), generators_untouched():
        trial.evidence(trial.pose(given))
        trial.make().context(given)


def check_roles_are_needed(trial: TaskTrial) -> None:
    """Without a role that the card requires, posing is not applicable, with a reason."""
    for role in sorted(trial.card.roles):
        try:
            trial.pose(trial.data.with_roles(**{role: None}))
        except NotApplicable as error:
            assert str(error), "NotApplicable needs a reason"
        else:
            raise AssertionError(f"posed without the role '{role}', which its card requires")


def _drawn(trial: TaskTrial, problem: Problem) -> set[str]:
    """Names of the truth that chance decides: they differ between seeds."""
    other = trial.pose(seed=1)
    return {name for name, array in problem.truth.items() if not np.array_equal(array, other.truth[name])}


TASK_CHECKS = (
    check_card,
    check_truth_is_hidden,
    check_scored_labels_are_not_learnt,
    check_cells_are_of_the_data,
    check_evidence,
    check_metrics_run,
    check_truth_follows_the_cells,
    check_posed_alike,
    check_nothing_else_touched,
    check_roles_are_needed,
)


def check_task(
    make: Callable[[], Any],
    *,
    data: Dataset | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on a task; ``make`` is its class or a function that gives a new instance.

    Parameters
    ----------
    data
        Cells on which it can be posed; by default 90 made-up cells with labels, batches, donors, studies, species and tissues.
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    """
    trial = TaskTrial(make, example_cells() if data is None else data)
    return run_checks(TASK_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def example_cells() -> Dataset:
    """Made-up cells with labels, batches and groups like them, a copy of the label in a column of its own, and an array made of it."""
    data = planted(90, 60, n_labels=4, n_batches=3, label_effect=1.0)
    copied = np.unique(data.role("label"), return_inverse=True)[1][:, None].astype(np.float32)
    groups = {role: data.role("batch") for role in ("donor", "study", "species", "tissue")}
    columns = data.obs.assign(cluster=data.role("label"), **groups)
    grouped = replace(data, obs=columns, obsm={"X_labels": copied}, terms=planted_terms(data.role("label")))
    return grouped.with_roles(**{role: role for role in groups})
