"""The contract of a method that predicts expression: named checks that any package can run on its own class."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.core.outputs import Reconstruction
from scrutiny.engine.embedding import sees_truth

from .checks import CheckResult, run_checks
from .embedder import TOLERANCE, example_cells
from .witness import data_untouched, fresh, generators_untouched

HIDE = 0.3
"""Share of the genes that is hidden where a check hides any."""


@dataclass(frozen=True, eq=False)
class ReconstructorTrial:
    """A method to be checked: ``make()`` gives a new instance, ``data`` are cells of which it can predict the expression."""

    make: Callable[[], Any]
    data: Dataset

    @property
    def card(self) -> MethodCard:
        return self.make().card

    def shown(self, data: Dataset) -> Dataset:
        """The data as the engine hands them over: with the columns that the card reads, and no array."""
        return fresh(data).hide(*(role for role in data.roles if role not in self.card.reads or role == "label"))

    def fitted(self, *, seed: int = 0) -> Any:
        """A new instance, fitted on all cells; one that looks at all cells at once is given its seed when it is asked."""
        method = self.make()
        return method if self.card.transductive else method.fit(self.shown(self.data), seed=seed)

    def ask(self, method: Any, given: Dataset, *, hide: float = 0.0, seed: int = 0) -> Any:
        """What a fitted method returns for exactly what is given."""
        if self.card.transductive:
            return method.fit_reconstruct(given, seed=seed, hide=hide)
        if sees_truth(self.card):
            cells = self.data.take(self.data.obs.index.get_indexer(given.obs.index))
            return method.reconstruct(given, hide=hide, truth={role: cells.role(role) for role in ("label", "batch") if cells.has(role)})
        return method.reconstruct(given, hide=hide)

    def predicted(self, method: Any, query: Dataset, *, hide: float = 0.0, seed: int = 0) -> Reconstruction:
        """The entries of the query in the order of its cells."""
        return self.ask(method, self.shown(query), hide=hide, seed=seed).aligned_to(query.cell_ids)


def check_card(trial: ReconstructorTrial) -> None:
    """The card is complete, hangs on the class, and the verb is there and takes ``hide``."""
    method = trial.make()
    card = getattr(type(method), "card", None)
    assert isinstance(card, MethodCard), "the class needs an attribute 'card' that is a MethodCard; plans read it without an instance"
    assert card.name and card.summary and card.version, "name, summary and version of the card must not be empty"
    verbs = ("fit_reconstruct",) if card.transductive else ("fit", "reconstruct")
    lacking = [verb for verb in verbs if not callable(getattr(method, verb, None))]
    assert not lacking, f"transductive={card.transductive} promises {verbs}; the class has no {lacking}"


def check_entries(trial: ReconstructorTrial) -> None:
    """A Reconstruction of a known quantity: finite, with exactly the asked cells, genes of the data, and no entry twice."""
    found = trial.ask(trial.fitted(), trial.shown(trial.data))
    assert isinstance(found, Reconstruction), f"returned {type(found).__name__} instead of a Reconstruction (entries of cells and genes)"
    found.aligned_to(trial.data.cell_ids)
    strange = sorted(set(found.gene_ids.tolist()) - set(trial.data.genes.tolist()))
    assert not strange, f"predicts genes that the data have not, e.g. {strange[:3]}; gene_ids are names of the data"
    assert len(found.rows), "predicts nothing of these cells"


def check_true_values(trial: ReconstructorTrial) -> None:
    """What is said to be true does not depend on what is hidden, and is 0 where a zero stands for several."""
    method = trial.fitted()
    whole, part = (_by_gene(trial.predicted(method, trial.data, hide=hide)) for hide in (0.0, HIDE))
    both = np.intersect1d(whole.keys, part.keys)
    off = np.abs(whole.at(both, "true") - part.at(both, "true")).max(initial=0)
    assert off <= TOLERANCE * (whole.found.true.std() or 1), f"the true values changed by up to {off:.2g} when {HIDE:.0%} were hidden"
    weight = whole.found.weight
    if weight is not None:
        assert (whole.found.true[weight != 1] == 0).all(), "entries with a weight other than 1 are zeros of which a sample is listed"


def check_share_hidden(trial: ReconstructorTrial) -> None:
    """Nothing is hidden unless asked, and then that share of the entries of each cell."""
    method = trial.fitted()
    none, some = (trial.predicted(method, trial.data, hide=hide) for hide in (0.0, HIDE))
    assert not none.hidden.any(), f"{none.hidden.sum()} entries are marked as hidden though none was asked to be"
    lengths, hidden = (np.bincount(some.rows, x, some.n_cells) for x in (None, some.hidden))
    off = np.abs(hidden - HIDE * lengths).max()
    assert off <= 2, f"{HIDE:.0%} of the entries of each cell should be hidden; in a cell it is {off:.1f} entries off"


def check_hidden_values_are_not_used(trial: ReconstructorTrial) -> None:
    """Were the values of two hidden genes of a cell exchanged, all predictions would stay."""
    method = trial.fitted()
    before = trial.predicted(method, trial.data, hide=HIDE)
    if before.quantity == "rank":
        raise NotApplicable("genes are ranked by their values, so those that are hidden move all places")
    exchanged = _with_hidden_exchanged(trial.data, before)
    assert exchanged.matrix.digest != trial.data.matrix.digest, "no hidden value could be exchanged; give cells with more expressed genes"
    after = trial.predicted(method, exchanged, hide=HIDE)
    _assert_same(before, after, "the predictions follow values that were to be hidden")


def check_row_order(trial: ReconstructorTrial) -> None:
    """Cells in another order get the same predictions: draws belong to a cell, not to its row."""
    if _looks_at_all(trial.card):
        raise NotApplicable("a cell depends on the others, or is told to be another one")
    rows, method = np.random.default_rng(1).permutation(trial.data.n_cells), trial.fitted()
    for hide in (0.0, HIDE):
        before = trial.predicted(method, trial.data, hide=hide).part(rows)
        after = trial.predicted(method, trial.data.take(rows), hide=hide)
        _assert_same(before, after, "cells in another order got other predictions")


def check_gene_order(trial: ReconstructorTrial) -> None:
    """Genes in another order change nothing: genes are found by id, not by position."""
    columns, method = np.random.default_rng(2).permutation(trial.data.n_genes), trial.fitted()
    before, after = (_by_gene(trial.predicted(method, data)) for data in (trial.data, trial.data.take_genes(columns)))
    both = np.intersect1d(before.keys, after.keys)
    assert len(both), "genes in another order gave entries of other genes"
    off = np.abs(before.at(both, "predicted") - after.at(both, "predicted")).max() / (before.found.predicted.std() or 1)
    assert off <= TOLERANCE, f"genes in another order gave other predictions (by up to {off:.2g} standard deviations)"


def check_subset(trial: ReconstructorTrial) -> None:
    """Five cells, and one alone, get the predictions that they have among all the others."""
    if _looks_at_all(trial.card):
        raise NotApplicable("a cell depends on the others, or is told to be another one")
    method = trial.fitted()
    everyone = trial.predicted(method, trial.data)
    for rows in (np.arange(5), np.array([3])):
        found = trial.predicted(method, trial.data.take(rows))
        _assert_same(everyone.part(rows), found, f"{len(rows)} of the cells alone got other predictions than among all")


def check_repeatable(trial: ReconstructorTrial) -> None:
    """Two instances with one seed agree to the last bit, also in what they hide."""
    first, second = (trial.predicted(trial.fitted(seed=5), trial.data, hide=HIDE, seed=5) for _ in range(2))
    same = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("columns", "hidden", "predicted"))
    assert same, "two runs with one seed differ; seed every draw, also of what is hidden"


def check_seed_is_declared(trial: ReconstructorTrial) -> None:
    """A card without ``seeded`` means that the seed changes nothing but what is hidden."""
    if trial.card.seeded:
        raise NotApplicable("the card says seeded: the output may follow the seed")
    first, second = (trial.predicted(trial.fitted(seed=seed), trial.data, seed=seed) for seed in (0, 1))
    _assert_same(first, second, "two seeds gave other predictions; the card must say seeded=True")


def check_global_generators_untouched(trial: ReconstructorTrial) -> None:
    """The global generators of Python, numpy and torch are neither read nor seeded."""
    trial.predicted(trial.fitted(), trial.data, hide=HIDE)  # what a first import does to them is not the method's doing
    with generators_untouched():
        trial.predicted(trial.fitted(), trial.data, hide=HIDE)


def check_input_untouched(trial: ReconstructorTrial) -> None:
    """The data handed over are the same afterwards."""
    query, method = trial.shown(trial.data), trial.fitted()
    with data_untouched(query):
        trial.ask(method, query, hide=HIDE)


def check_pickle(trial: ReconstructorTrial) -> None:
    """A fitted instance survives the way to another process."""
    method = trial.fitted()
    copy = pickle.loads(pickle.dumps(method))
    _assert_same(trial.predicted(method, trial.data), trial.predicted(copy, trial.data), "a pickled copy gave other predictions")


RECONSTRUCTOR_CHECKS = (
    check_card,
    check_entries,
    check_true_values,
    check_share_hidden,
    check_hidden_values_are_not_used,
    check_row_order,
    check_gene_order,
    check_subset,
    check_repeatable,
    check_seed_is_declared,
    check_global_generators_untouched,
    check_input_untouched,
    check_pickle,
)


def check_reconstructor(
    make: Callable[[], Any],
    *,
    data: Dataset | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on a method with the verb `reconstruct`; ``make`` is its class or a function that gives a new instance.

    Parameters
    ----------
    data
        At least 6 cells of which it can predict the expression; by default 90 made-up cells of 60 made-up genes, of the first organism of
        its card. A model that knows real genes only needs real ones.
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    """
    trial = ReconstructorTrial(make, example_cells(make().card) if data is None else data)
    return run_checks(RECONSTRUCTOR_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def _looks_at_all(card: MethodCard) -> bool:
    return card.transductive or sees_truth(card)


@dataclass(frozen=True, eq=False)
class _ByGene:
    """Entries under keys (n_entries,) of cell and name of the gene, sorted."""

    found: Reconstruction
    keys: NDArray[np.str_]
    order: NDArray[np.intp]

    def at(self, keys: NDArray[np.str_], name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = getattr(self.found, name)
        return values[self.order[np.searchsorted(self.keys, keys)]]


def _by_gene(found: Reconstruction) -> _ByGene:
    keys = np.char.add(np.char.add(found.cell_ids[found.rows], "\n"), found.gene_ids[found.columns])
    order = np.argsort(keys)
    return _ByGene(found, keys[order], order)


def _with_hidden_exchanged(data: Dataset, found: Reconstruction) -> Dataset:
    """In each cell the two hidden expressed genes with the most different values change them."""
    values = data.values.tolil()
    column = data.var.index.get_indexer(found.gene_ids)
    for row in range(data.n_cells):
        own = column[found.columns[(found.rows == row) & found.hidden]]
        counts = values[row, own].toarray().ravel()
        if np.count_nonzero(counts) > 1:
            expressed = np.flatnonzero(counts)
            one, other = expressed[counts[expressed].argmin()], expressed[counts[expressed].argmax()]
            values[row, own[one]], values[row, own[other]] = counts[other], counts[one]
    return replace(data, matrix=CsrMatrix(values))


def _assert_same(first: Reconstruction, second: Reconstruction, message: str) -> None:
    same = np.array_equal(first.rows, second.rows) and np.array_equal(first.columns, second.columns)
    assert same, f"{message} (entries of other genes)"
    off = float(np.abs(first.predicted - second.predicted).max(initial=0)) / (float(first.predicted.std()) or 1.0)
    assert off <= TOLERANCE, f"{message} (by up to {off:.2g} standard deviations)"
