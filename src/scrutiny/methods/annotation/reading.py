"""Combinations of a method that embeds with a head that reads labels off the embedding: ``hvg_pca+knn``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.options import as_declared, parameters_of
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import METHODS

from .search import MAX_FOLDS, TRIALS, searching_card, told_of_search

FORWARDED = ("prepare", "is_prepared", "seconds_to_prepare", "seconds_per_1000_cells", "obsm_key", "weights_key", "gpu")
"""What the engine asks of methods that have it; a combination has it if its embedder has."""


@dataclass(frozen=True)
class HeadCard:
    """What is to be known of a head. ``version`` rises when its numbers change."""

    name: str
    summary: str
    version: str = "1"
    requires: tuple[str, ...] = ()
    extra: str = ""
    seeded: bool = False
    together: bool = False
    """What is told of a cell depends on the other cells that are asked."""
    seconds_per_1000_cells: float = 0.1
    """To learn from, and read, 1,000 cells of 50 dimensions."""
    citation: str = ""
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Options that a search may choose, each an attribute of the head -> the values that it chooses from, the default among them."""


class Head(Protocol):
    """Learns labels from vectors."""

    card: ClassVar[HeadCard]

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        """``vectors`` (n_cells, n_dims) of labelled cells, ``labels`` (n_cells,) of at least two kinds."""
        ...

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        """(n_cells, n_labels), labels sorted, those of a cell add up to 1."""
        ...

    @property
    def n_trainable(self) -> int:
        """Numbers that were learnt."""
        ...


class Reading:
    """A head on the embedding of another method, which the engine makes; see `scrutiny.core.protocols.EmbeddingReader`.

    Takes the options of the head, and those of the embedder; and ``trials``, where the head has options to search for (`HeadCard.space`):
    how many are tried on parts of the training cells (`search_by_validation`), 0: none, it is fitted as it is.
    """

    card: MethodCard
    embedder: str
    head: type
    embedding_class: type

    def __init__(self, **options: Any) -> None:
        own, of_embedder = parameters_of(self.head), parameters_of(self.embedding_class)
        self.trials = as_declared({TRIALS: options.pop(TRIALS, 0)}, {TRIALS: int})[TRIALS] if self.head.card.space else 0
        self._own = as_declared({name: value for name, value in options.items() if name in own}, own)
        self._head: Any = self.head(**self._own)
        self.told: Mapping[str, Any] = {}
        self.embedder_options = {name: value for name, value in options.items() if name not in own}
        self._embedder = self.embedding_class(**as_declared(self.embedder_options, of_embedder))
        self.outside_key = getattr(self._embedder, "outside_key", frozenset())
        card = combined_card(type(self).card.name, self.head.card, self._embedder.card)
        self.card = searching_card(card, self.trials, seconds_per_trial=MAX_FOLDS * self.head.card.seconds_per_1000_cells)
        if known := getattr(self._embedder, "called", ""):
            self.called = f"{known}+{self.head.card.name}"

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Options of the head and of the embedder, name to declared type."""
        own, of_embedder = parameters_of(cls.head), parameters_of(cls.embedding_class)
        if cls.head.card.space:  # type: ignore[attr-defined]
            own = {**own, TRIALS: int}
        if both := own.keys() & of_embedder.keys():
            raise InputError(f"{cls.card.name}: head and embedder both have the option {sorted(both)}; rename that of the head")
        return own | of_embedder

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if the embedder cannot embed these cells, or none that it has not seen."""
        if self._embedder.card.transductive:
            raise NotApplicable(f"{self.embedder} embeds all cells at once; labels are told of cells that it has not seen")
        if hasattr(self._embedder, "check_applies"):
            self._embedder.check_applies(data)

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know: how it is put together, and what its embedder tells."""
        told = self._embedder.facts(data) if hasattr(self._embedder, "facts") else {}
        return {**told, "embedder": self.embedder, "head": self.head.card.name}

    def fit(self, train: CellEmbedding, labels: NDArray[np.str_], *, seed: int, groups: NDArray[np.str_] | None = None) -> Self:
        """Learn from the labelled cells. Raises NotApplicable if they have fewer than two labels."""
        known = np.flatnonzero(labels != UNLABELLED)
        self._names = np.unique(labels[known])
        if len(self._names) < 2:
            raise NotApplicable(f"the training cells have the labels {self._names.tolist()}; at least two are needed")
        if self.trials:
            self._search(train.values[known], labels[known], None if groups is None else groups[known], seed)
        self._head.fit(train.values[known], labels[known], seed=seed)
        return self

    def _search(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], groups: NDArray[np.str_] | None, seed: int) -> None:
        """Choose the options of the head; what was given, or its default, stays where the labelled cells are too few to tell."""

        def answer(options: Mapping[str, Any], train: NDArray[np.intp], held_out: NDArray[np.intp]) -> NDArray[np.str_]:
            head = self.head(**{**self._own, **options}).fit(vectors[train], labels[train], seed=seed)
            return np.unique(labels[train])[head.probabilities(vectors[held_out]).argmax(axis=1)]

        listed: Mapping[str, tuple[Any, ...]] = self.head.card.space  # type: ignore[attr-defined]
        given = {name: getattr(self._head, name) for name in listed}
        space = {name: (given[name], *(value for value in values if value != given[name])) for name, values in listed.items()}
        self.told = told_of_search(space, answer, labels, groups, trials=self.trials, seed=seed)
        self._head = self.head(**{**self._own, **self.told["search"]["chosen"]})

    def predict_labels(self, query: CellEmbedding) -> LabelPrediction:
        return LabelPrediction(query.cell_ids, self._names, np.asarray(self._head.probabilities(query.values), np.float32))

    @property
    def n_trainable(self) -> int:
        return int(self._head.n_trainable)

    def __reduce__(self) -> tuple[Any, ...]:
        """The class of a combination lies in no module, so another process finds it by its name."""
        return _blank, (type(self).card.name,), self.__dict__

    def __getattr__(self, name: str) -> Any:
        if name in FORWARDED:
            return getattr(self._embedder, name)
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")


def _blank(name: str) -> Any:
    """An instance of a combination that has not been made yet."""
    combined = METHODS.get(name)
    return combined.__new__(combined)


class ReadsEmbedding:
    """Mixed into heads: how the registry combines them with a method that embeds."""

    card: ClassVar[HeadCard]

    @classmethod
    def on(cls, name: str, method: type) -> type:
        """The class of the combination, called ``name``. Raises InputError if the method has no embedding."""
        if not any(hasattr(method, verb) for verb in ("embed", "fit_embed")):
            base = name.rpartition("+")[0]
            raise InputError(f"'{name}': {base} has no embedding that labels could be read off; take a method that embeds")
        card: MethodCard = method.card  # type: ignore[attr-defined]
        fields = {"card": combined_card(name, cls.card, card), "embedder": name.rpartition("+")[0], "__doc__": cls.__doc__}
        return type(f"{method.__name__}{cls.__name__}", (Reading,), {**fields, "head": cls, "embedding_class": method})


def combined_card(name: str, head: HeadCard, embedder: MethodCard) -> MethodCard:
    """The card of a head on an embedder: what the embedder needs, and labels."""
    return replace(
        embedder,
        name=name,
        summary=f"{head.summary}, on: {embedder.summary}",
        version=f"{embedder.version}.{head.version}",
        reads=embedder.reads | {"label"},
        transductive=False,
        supervised=True,
        seeded=embedder.seeded or head.seeded,
        requires=(*embedder.requires, *head.requires),
        extra=embedder.extra or head.extra,
        seconds_per_1000_cells=embedder.seconds_per_1000_cells + head.seconds_per_1000_cells,
        twin_of=f"{embedder.twin_of}+{head.name}" if embedder.twin_of else "",
        independent=False,
        together=head.together,
        citation="; ".join(filter(None, (embedder.citation, head.citation))),
    )
