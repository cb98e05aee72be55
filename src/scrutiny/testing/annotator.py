"""The contract of a method that tells labels: named checks that any package can run on its own class.

A method that reads labels off the embedding of another one, or off what others told, is given that as the engine gives it.
"""

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
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.protocols import EmbeddingReader, PredictionReader
from scrutiny.core.registry import METHODS
from scrutiny.data.splits import groups_of
from scrutiny.engine.embedding import sees_truth, shown

from .checks import CheckResult, run_checks
from .embedder import example_cells
from .witness import data_untouched, fresh, generators_untouched

TOLERANCE = 1e-3
"""Largest difference between probabilities that count as the same."""
SAME_LABELS = 0.85
"""Share of the cells that must be told the same where draws or rounding may fall on other cells."""
SHARE_TO_LEARN = 2 / 3


@dataclass(frozen=True, eq=False)
class AnnotatorTrial:
    """A method to be checked: ``make()`` gives a new instance, ``data`` are cells that it can learn from, with labels and batches."""

    make: Callable[[], Any]
    data: Dataset

    @property
    def card(self) -> MethodCard:
        return self.make().card

    @property
    def _train_rows(self) -> NDArray[np.bool_]:
        return np.random.default_rng(0).permutation(self.data.n_cells) < SHARE_TO_LEARN * self.data.n_cells

    @property
    def train(self) -> Dataset:
        """Cells to learn from, labels included."""
        return self.data.take(np.flatnonzero(self._train_rows))

    @property
    def query(self) -> Dataset:
        """Cells that are not among them, labels included: to be hidden."""
        return self.data.take(np.flatnonzero(~self._train_rows))

    def fitted(self, train: Dataset, *, seed: int = 0) -> Fitted:
        """A new instance that has learnt from exactly these cells, as far as its card reads them."""
        return Fitted.on(self.make(), self.shown(train), seed)

    def shown(self, data: Dataset, *hidden: str) -> Dataset:
        return shown(fresh(data).hide(*hidden) if hidden else fresh(data), self.card)

    def ask(self, fitted: Fitted, query: Dataset) -> Any:
        """What a fitted method returns for exactly these cells; controls are shown the truth besides."""
        truth = {}
        if sees_truth(self.card):
            cells = self.data.take(self.data.obs.index.get_indexer(query.obs.index))
            truth = {"truth": {role: cells.role(role) for role in ("label", "batch") if cells.has(role)}}
        return fitted.tell(query, **truth)

    def told(self, fitted: Fitted, query: Dataset) -> LabelPrediction:
        """The labels of a query, its own hidden, in the order of its cells."""
        return self.ask(fitted, self.shown(query, "label")).aligned_to(query.cell_ids)

    def told_after(self, train: Dataset, *, seed: int = 0) -> LabelPrediction:
        """What is told of the query by an instance that has learnt from these cells."""
        return self.told(self.fitted(train, seed=seed), self.query)

    def check_learns(self) -> None:
        """Raise NotApplicable for a control, which need not look at the training cells."""
        if self.card.kind == "control" and not self.card.twin_of:
            raise NotApplicable("controls are shown the truth and need not learn")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A method with what the engine would have made for it: a fitted embedder, or fitted members."""

    method: Any
    parts: tuple[Any, ...] = ()

    @classmethod
    def on(cls, method: Any, train: Dataset, seed: int) -> Fitted:
        if isinstance(method, EmbeddingReader):
            embedder = METHODS.get(method.embedder)(**method.embedder_options)
            embedder.fit(shown(train, embedder.card), seed=seed)
            cells = embedder.embed(shown(train, embedder.card))
            labels = train.role("label")
            return cls(method.fit(cells.aligned_to(train.cell_ids), labels, seed=seed, groups=groups_of(train)), (embedder,))
        if isinstance(method, PredictionReader):
            made = [METHODS.get(name)(**options) for name, options in method.members]
            return cls(method, tuple(cls.on(member, shown(train, member.card), seed) for member in made))
        return cls(method.fit(train, seed=seed))

    def tell(self, query: Dataset, **truth: Any) -> Any:
        if isinstance(self.method, EmbeddingReader):
            (embedder,) = self.parts
            return self.method.predict_labels(embedder.embed(shown(query, embedder.card)).aligned_to(query.cell_ids))
        if isinstance(self.method, PredictionReader):
            return self.method.predict_labels([part.tell(shown(query, part.method.card)).aligned_to(query.cell_ids) for part in self.parts])
        return self.method.predict_labels(query, **truth)


def check_card(trial: AnnotatorTrial) -> None:
    """The card is complete, hangs on the class, and says that labels are learnt from."""
    method = trial.make()
    card = getattr(type(method), "card", None)
    assert isinstance(card, MethodCard), "the class needs an attribute 'card' that is a MethodCard; plans read it without an instance"
    assert card.name and card.summary and card.version, "name, summary and version of the card must not be empty"
    lacking = [verb for verb in ("fit", "predict_labels") if not callable(getattr(method, verb, None))]
    assert not lacking, f"the class has no {lacking}"
    assert card.optional <= card.reads, f"optional roles {sorted(card.optional - card.reads)} are not among those it reads"
    assert not card.transductive, "labels are told of cells that it has not seen; a card that says transductive is never asked for them"
    is_control = sees_truth(card)
    assert is_control or (card.supervised and "label" in card.reads), "a method that learns labels reads the role 'label' and is supervised"


def check_ids_and_probabilities(trial: AnnotatorTrial) -> None:
    """A LabelPrediction of float32 for exactly the cells that were asked for; names sorted, probabilities that add up to 1."""
    output = trial.ask(trial.fitted(trial.train), trial.shown(trial.query, "label"))
    assert isinstance(output, LabelPrediction), f"returned {type(output).__name__} instead of a LabelPrediction"
    assert output.probabilities.dtype == np.float32, f"probabilities must be float32, found {output.probabilities.dtype}"
    output.aligned_to(trial.query.cell_ids)


def check_labels_are_learnt(trial: AnnotatorTrial) -> None:
    """Only labels of the training cells are told, by the names that they have there."""
    trial.check_learns()
    renamed = _relabelled(trial.train, lambda labels: np.char.add("my ", labels))
    names, known = set(trial.told_after(renamed).label_names), set(renamed.role("label"))
    assert names <= known, f"told the labels {sorted(names - known)}, which no training cell has"


def check_unlabelled_cells(trial: AnnotatorTrial) -> None:
    """Training cells without a label teach no label: '' is never told, and some labelled cells are enough."""
    trial.check_learns()
    some = _relabelled(trial.train, lambda labels: np.where(np.arange(len(labels)) % 3 == 0, UNLABELLED, labels))
    names, known = set(trial.told_after(some).label_names), set(some.role("label")) - {UNLABELLED}
    assert names <= known, f"told {sorted(names - known)} after training cells of which some have no label"


def check_few_labels(trial: AnnotatorTrial) -> None:
    """Where the training cells have fewer than two labels, that is said: NotApplicable."""
    trial.check_learns()
    for kept, what in ((1, "one label"), (0, "no labels at all")):
        few = _relabelled(trial.train, lambda labels, kept=kept: np.where(np.isin(labels, np.unique(labels)[:kept]), labels, UNLABELLED))
        try:
            trial.told_after(few)
        except NotApplicable:
            continue
        raise AssertionError(f"training cells with {what} must raise NotApplicable, with what was found and what is needed")


def check_training_order(trial: AnnotatorTrial) -> None:
    """Training cells in another order teach the same labels, but for draws that fall on other cells."""
    rows = np.argsort(trial.train.role("label"), kind="stable")
    before, after = trial.told_after(trial.train), trial.told_after(trial.train.take(rows))
    same = (before.labels == after.labels).mean()
    assert same >= SAME_LABELS, f"training cells in another order taught other labels ({same:.0%} of the cells are told the same)"


def check_query_order(trial: AnnotatorTrial) -> None:
    """Cells in another order are told the same."""
    rows = np.random.default_rng(1).permutation(trial.query.n_cells)
    fitted = trial.fitted(trial.train)
    before, after = trial.told(fitted, trial.query), trial.told(fitted, trial.query.take(rows))
    _assert_alike(trial, before.part(rows), after, "cells in another order were told otherwise; are rows sorted and ids not?")


def check_gene_order(trial: AnnotatorTrial) -> None:
    """Genes in another order change nothing: genes are found by id, not by position."""
    columns = np.random.default_rng(2).permutation(trial.data.n_genes)
    fitted = trial.fitted(trial.train)
    before, after = trial.told(fitted, trial.query), trial.told(fitted, trial.query.take_genes(columns))
    _assert_alike(trial, before, after, "genes in another order changed what is told; find genes by id, not by position")


def check_subset(trial: AnnotatorTrial) -> None:
    """Seven cells, and one alone, are told what they are told among all the others, unless the card says that cells are told together."""
    fitted = trial.fitted(trial.train)
    everyone = trial.told(fitted, trial.query)
    for rows in (np.arange(7), np.array([3])):
        some = trial.told(fitted, trial.query.take(rows))
        if not trial.card.together:
            message = f"{len(rows)} of the cells alone were told otherwise than among all; a card with together=True says so"
            _assert_same(everyone.part(rows), some, message)


def check_repeatable(trial: AnnotatorTrial) -> None:
    """Two instances with one seed agree to the last bit."""
    first, second = (trial.told_after(trial.train, seed=5) for _ in range(2))
    assert np.array_equal(first.probabilities, second.probabilities), "two runs with one seed differ; seed every draw"


def check_seed_is_declared(trial: AnnotatorTrial) -> None:
    """A card without ``seeded`` means that the seed changes nothing, since only one seed is run then."""
    if trial.card.seeded:
        raise NotApplicable("the card says seeded: what is told may follow the seed")
    first, second = (trial.told_after(trial.train, seed=seed) for seed in (0, 1))
    _assert_same(first, second, "two seeds told otherwise; the card must say seeded=True")


def check_global_generators_untouched(trial: AnnotatorTrial) -> None:
    """The global generators of Python, numpy and torch are neither read nor seeded."""
    trial.told_after(trial.train)  # what a first import does to them is not the method's doing
    with generators_untouched():
        trial.told_after(trial.train)


def check_input_untouched(trial: AnnotatorTrial) -> None:
    """The data handed over are the same afterwards."""
    train, query = trial.shown(trial.train), trial.shown(trial.query, "label")
    with data_untouched(train, query):
        trial.ask(Fitted.on(trial.make(), train, 0), query)


def check_blind_to_labels_of_the_query(trial: AnnotatorTrial) -> None:
    """Were the labels left in the query, they would change nothing."""
    trial.check_learns()
    fitted = trial.fitted(trial.train)
    wrong = _relabelled(trial.query, lambda labels: np.roll(labels, 1))
    before, after = (trial.ask(fitted, fresh(data)).aligned_to(data.cell_ids) for data in (trial.query, wrong))
    _assert_same(before, after, "what is told follows the labels of the query, which must not be looked at")


def check_pickle(trial: AnnotatorTrial) -> None:
    """A fitted instance survives the way to another process."""
    fitted = trial.fitted(trial.train)
    copy = replace(fitted, method=pickle.loads(pickle.dumps(fitted.method)))
    _assert_same(trial.told(fitted, trial.query), trial.told(copy, trial.query), "a pickled copy told otherwise")


ANNOTATOR_CHECKS = (
    check_card,
    check_ids_and_probabilities,
    check_labels_are_learnt,
    check_unlabelled_cells,
    check_few_labels,
    check_training_order,
    check_query_order,
    check_gene_order,
    check_subset,
    check_repeatable,
    check_seed_is_declared,
    check_global_generators_untouched,
    check_input_untouched,
    check_blind_to_labels_of_the_query,
    check_pickle,
)


def check_label_predictor(
    make: Callable[[], Any],
    *,
    data: Dataset | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on a method that tells labels; ``make`` is its class or a function that gives a new instance.

    Parameters
    ----------
    data
        Cells with the roles ``label`` and ``batch`` that it can learn from; two thirds are shown with labels, the others are asked for. By
        default 90 made-up cells of 60 made-up genes, of the first organism of its card.
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    """
    trial = AnnotatorTrial(make, example_cells(make().card) if data is None else data)
    return run_checks(ANNOTATOR_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def _relabelled(data: Dataset, change: Callable[[NDArray[np.str_]], NDArray[np.str_]]) -> Dataset:
    return replace(data, obs=data.obs.assign(**{data.roles["label"]: change(data.role("label"))}))


def _assert_alike(trial: AnnotatorTrial, first: LabelPrediction, second: LabelPrediction, message: str) -> None:
    """The same probabilities; where cells are told together, mostly the same labels."""
    if not trial.card.together:
        _assert_same(first, second, message)
        return
    same = (first.labels == second.labels).mean()
    assert same >= SAME_LABELS, f"{message} ({same:.0%} of the cells are told the same)"


def _assert_same(first: LabelPrediction, second: LabelPrediction, message: str) -> None:
    assert np.array_equal(first.label_names, second.label_names), f"{message} (the labels have other names)"
    off = float(np.abs(first.probabilities - second.probabilities).max())
    assert off <= TOLERANCE, f"{message} (probabilities differ by up to {off:.2g})"
