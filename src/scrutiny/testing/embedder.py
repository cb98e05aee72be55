"""The contract of an embedder: named checks that any package can run on its own class."""

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
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import sees_truth
from scrutiny.metrics.neighbors import nearest

from .checks import CheckResult, run_checks
from .witness import data_untouched, fresh, generators_untouched

TOLERANCE = 1e-3
"""Largest difference between vectors that count as the same, as a share of the standard deviation of all values."""
SAME_NEIGHBORS = 0.5
"""Share of the 15 nearest cells that must stay, where all cells are embedded at once and rounding may tip a method."""


@dataclass(frozen=True, eq=False)
class EmbedderTrial:
    """An embedder to be checked: ``make()`` gives a new instance, ``data`` are cells that it can embed, with labels and batches."""

    make: Callable[[], Any]
    data: Dataset

    @property
    def card(self) -> MethodCard:
        return self.make().card

    def shown(self, data: Dataset, *hidden: str) -> Dataset:
        """The data as the engine hands them over: with the columns that the card reads and the array that the method asks for."""
        array = getattr(self.make(), "obsm_key", None)
        left = fresh(data).hide(*(role for role in data.roles if role not in self.card.reads or role in hidden))
        return replace(left, obsm={name: values for name, values in data.obsm.items() if name == array})

    def fit(self, given: Dataset, *, seed: int = 0) -> Any:
        """A new instance, fitted on exactly what is given; one that embeds all cells at once is not fitted."""
        method = self.make()
        return method if self.card.transductive else method.fit(given, seed=seed)

    def ask(self, method: Any, given: Dataset, *, seed: int = 0) -> CellEmbedding:
        """What a fitted method returns for exactly what is given; controls are shown the truth besides."""
        if self.card.transductive:
            return method.fit_embed(given, seed=seed)
        if sees_truth(self.card):
            cells = self.data.take(self.data.obs.index.get_indexer(given.obs.index))
            return method.embed(given, truth={role: cells.role(role) for role in ("label", "batch") if cells.has(role)})
        return method.embed(given)

    def fitted(self) -> Any:
        return self.fit(self.shown(self.data))

    def vectors(self, method: Any, query: Dataset, *, seed: int = 0) -> NDArray[np.float32]:
        """Embedding (n_cells, n_dims) of the query, labels hidden, in the order of its cells."""
        return self.ask(method, self.shown(query, "label"), seed=seed).aligned_to(query.cell_ids).values


def check_card(trial: EmbedderTrial) -> None:
    """The card is complete, hangs on the class, and agrees with the verbs."""
    method = trial.make()
    card = getattr(type(method), "card", None)
    assert isinstance(card, MethodCard), "the class needs an attribute 'card' that is a MethodCard; plans read it without an instance"
    assert card.name and card.summary and card.version, "name, summary and version of the card must not be empty"
    verbs = ("fit_embed",) if card.transductive else ("fit", "embed")
    lacking = [verb for verb in verbs if not callable(getattr(method, verb, None))]
    assert not lacking, f"transductive={card.transductive} promises {verbs}; the class has no {lacking}"
    assert card.optional <= card.reads, f"optional roles {sorted(card.optional - card.reads)} are not among those it reads"
    assert ("label" in card.reads) == card.supervised, "a method reads the role 'label' if, and only if, it is supervised"


def check_ids_and_values(trial: EmbedderTrial) -> None:
    """A CellEmbedding of float32, finite, with exactly the ids that were asked for."""
    output = trial.ask(trial.fitted(), trial.shown(trial.data, "label"))
    assert isinstance(output, CellEmbedding), f"returned {type(output).__name__} instead of a CellEmbedding (values with cell ids)"
    assert output.values.dtype == np.float32, f"values must be float32, found {output.values.dtype}"
    output.aligned_to(trial.data.cell_ids)


def check_row_order(trial: EmbedderTrial) -> None:
    """Cells in another order get the same vectors: ids belong to their rows and no row number is a feature."""
    rows = np.random.default_rng(1).permutation(trial.data.n_cells)
    method = trial.fitted()
    before, after = trial.vectors(method, trial.data), trial.vectors(method, trial.data.take(rows))
    _assert_alike(trial, before[rows], after, "cells in another order got other vectors; are rows sorted and ids not?")


def check_gene_order(trial: EmbedderTrial) -> None:
    """Genes in another order change nothing: genes are found by id, not by position."""
    columns = np.random.default_rng(2).permutation(trial.data.n_genes)
    method = trial.fitted()
    before, after = trial.vectors(method, trial.data), trial.vectors(method, trial.data.take_genes(columns))
    _assert_alike(trial, before, after, "genes in another order gave other vectors; find genes by id, not by position")


def check_subset(trial: EmbedderTrial) -> None:
    """Seven cells, and one alone, get the vectors that they have among all the others."""
    if trial.card.transductive:
        raise NotApplicable("the card says transductive: all cells are embedded at once")
    method = trial.fitted()
    everyone = trial.vectors(method, trial.data)
    for rows in (np.arange(7), np.array([3])):
        found = trial.vectors(method, trial.data.take(rows))
        message = f"{len(rows)} of the cells alone got other vectors than among all: a cell depends on the others"
        _assert_same(everyone[rows], found, message, scale=everyone.std())


def check_repeatable(trial: EmbedderTrial) -> None:
    """Two instances with one seed agree to the last bit."""
    given = trial.shown(trial.data)
    first, second = (trial.vectors(trial.fit(given, seed=5), trial.data, seed=5) for _ in range(2))
    assert np.array_equal(first, second), f"two runs with one seed differ by up to {_difference(first, second):.2g}; seed every draw"


def check_seed_is_declared(trial: EmbedderTrial) -> None:
    """A card without ``seeded`` means that the seed changes nothing, since only one seed is run then."""
    if trial.card.seeded:
        raise NotApplicable("the card says seeded: the output may follow the seed")
    given = trial.shown(trial.data)
    first, second = (trial.vectors(trial.fit(given, seed=seed), trial.data, seed=seed) for seed in (0, 1))
    _assert_same(first, second, "two seeds gave other vectors; the card must say seeded=True")


def check_global_generators_untouched(trial: EmbedderTrial) -> None:
    """The global generators of Python, numpy and torch are neither read nor seeded."""
    trial.vectors(trial.fitted(), trial.data)  # what a first import does to them is not the method's doing
    with generators_untouched():
        trial.vectors(trial.fitted(), trial.data)


def check_input_untouched(trial: EmbedderTrial) -> None:
    """The data handed over are the same afterwards."""
    train, query = trial.shown(trial.data), trial.shown(trial.data, "label")
    with data_untouched(train, query):
        trial.ask(trial.fit(train), query)


def check_blind_to_labels(trial: EmbedderTrial) -> None:
    """Were the labels left in the data, they would change nothing: those of the query, and without supervision all of them."""
    if trial.card.kind == "control":
        raise NotApplicable("controls are shown the truth")
    data = fresh(trial.data)
    column = data.roles["label"]
    shuffled = data.obs[column].to_numpy()[np.random.default_rng(3).permutation(data.n_cells)]
    other = replace(data, obs=data.obs.assign(**{column: shuffled}))
    before = trial.ask(trial.fit(data), data).aligned_to(data.cell_ids)
    after = trial.ask(trial.fit(data if trial.card.supervised else other), other).aligned_to(data.cell_ids)
    _assert_same(before.values, after.values, f"the vectors follow the column '{column}', which they must not know")


def check_cells_without_counts(trial: EmbedderTrial) -> None:
    """A cell without any counts gets a finite vector."""
    kept = np.ones(trial.data.n_cells, dtype=np.float32)
    kept[4] = 0.0
    emptied = replace(trial.data, matrix=CsrMatrix(trial.data.values.multiply(kept[:, None])))
    trial.vectors(trial.fitted(), emptied)


def check_pickle(trial: EmbedderTrial) -> None:
    """A fitted instance survives the way to another process."""
    method = trial.fitted()
    copy = pickle.loads(pickle.dumps(method))
    _assert_same(trial.vectors(method, trial.data), trial.vectors(copy, trial.data), "a pickled copy gave other vectors")


EMBEDDER_CHECKS = (
    check_card,
    check_ids_and_values,
    check_row_order,
    check_gene_order,
    check_subset,
    check_repeatable,
    check_seed_is_declared,
    check_global_generators_untouched,
    check_input_untouched,
    check_blind_to_labels,
    check_cells_without_counts,
    check_pickle,
)


def check_embedder(
    make: Callable[[], Any],
    *,
    data: Dataset | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on an embedder; ``make`` is its class or a function that gives a new instance.

    Parameters
    ----------
    data
        Cells with the roles ``label`` and ``batch`` on which it can run; by default 90 made-up cells of 60 made-up genes, of the first
        organism of its card. A model that knows real genes only needs real ones.
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    """
    trial = EmbedderTrial(make, example_cells(make().card) if data is None else data)
    return run_checks(EMBEDDER_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def example_cells(card: MethodCard) -> Dataset:
    """Made-up counts with labels and batches, of the first organism that a card names."""
    organisms = getattr(card, "organisms", None)  # what is no card is for `check_card` to tell
    organism = sorted(organisms)[0] if organisms else "unknown"
    return replace(planted(90, 60, label_effect=1.5), organism=organism)


def _assert_same(first: NDArray[np.float32], second: NDArray[np.float32], message: str, scale: float | None = None) -> None:
    assert first.shape == second.shape, f"{message} (shapes {first.shape} and {second.shape})"
    off = _difference(first, second) / (scale or first.std() or 1.0)
    assert off <= TOLERANCE, f"{message} (by up to {off:.2g} standard deviations)"


def _assert_alike(trial: EmbedderTrial, first: NDArray[np.float32], second: NDArray[np.float32], message: str) -> None:
    """The same vectors; where all cells are embedded at once, mostly the same neighbours."""
    if not trial.card.transductive:
        _assert_same(first, second, message)
        return
    kept = np.mean([len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(*(nearest(v, 15).indices for v in (first, second)))])
    assert kept >= SAME_NEIGHBORS, f"{message} ({kept:.0%} of the nearest cells are still the same)"


def _difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())
