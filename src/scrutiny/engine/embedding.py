"""An output that is asked for: what, of which method, what it is shown, what its key depends on, and the making of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import ContractError, InputError, NotApplicable
from scrutiny.core.keys import digest_of_array, digest_of_json, digest_of_strings
from scrutiny.core.options import as_declared, parameters_of, unknown_option
from scrutiny.core.outputs import OUTPUTS, CellEmbedding, Output
from scrutiny.core.protocols import PredictionReader, Problem
from scrutiny.core.registry import METHODS
from scrutiny.core.scores import Cost
from scrutiny.data.splits import groups_of

from .meter import Meter
from .provenance import module_versions
from .shards import SHARD, Shards, embed_in_shards

TRUTH = ("label", "batch")
"""Roles that controls are shown."""


@dataclass(frozen=True)
class Chosen:
    """A method by name, with options of its constructor."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """A new instance.

        Raises
        ------
        InputError
            If there is no such method or it has no such option (near matches are named), or a value is not of the declared kind.
        """
        cls, options = METHODS.get(self.name), dict(self.options)
        parameters = parameters_of(cls)
        takes_more = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
        unknown = [option for option in options if option not in parameters]
        if unknown and not takes_more:
            raise unknown_option(f"the method '{self.name}'", unknown[0], [*parameters])
        try:
            digest_of_json(options)
            return cls(**as_declared(options, parameters))
        except TypeError as error:
            for option in unknown:
                if f"unexpected keyword argument '{option}'" in str(error):  # handed on to a base class that does not know it either
                    raise unknown_option(f"the method '{self.name}'", option, [*parameters]) from error
            raise InputError(f"the method '{self.name}' cannot be made with the options {options}: {error}") from error


def recorded_options(chosen: Chosen, method: Any) -> dict[str, Any]:
    """Options as records have them: those that say where something lies are left out, the key of the weights stands for them.

    A method names such options in ``outside_key`` and offers the content of its weights as ``weights_key``.
    """
    options = {name: value for name, value in chosen.options.items() if name not in getattr(method, "outside_key", ())}
    try:
        key = getattr(method, "weights_key", "")
    except NotApplicable:  # there are no weights, which the plan says
        key = ""
    return {**options, "weights": key} if key else options


class Question(NamedTuple):
    """What is asked of a method: a verb, and the options that the task gives it."""

    verb: str = "embed"
    options: Mapping[str, Any] = {}
    """Plain values, or arrays on the cells that it is about."""

    @property
    def key(self) -> tuple[str, dict[str, Any]]:
        """What the key of an output holds of it."""
        return self.verb, {name: digest_of_array(x) if isinstance(x, np.ndarray) else x for name, x in self.options.items()}


EMBED = Question()


class Made(NamedTuple):
    """An output and what it cost."""

    output: Output
    seconds_fit: float
    seconds_embed: float
    peak_memory_mb: float | None
    gpu: str = ""
    """Name of the accelerator, where one was used."""
    trainable: int | None = None
    """Parameters that were learnt, where the method counts them."""
    n_answered: int | None = None
    """Cells that ``seconds_embed`` were spent on."""
    told: Mapping[str, Any] = {}
    """What the method says, once it has answered, of how it came to it: facts of the Run."""

    def after(self, embedding: Cost, n_cells: int) -> Made:
        """With the cost of an embedding that was read; of its cells the ``n_cells`` of the query count as asked, the others as fitting."""
        asked = embedding.seconds_embed * n_cells / (embedding.n_answered or n_cells)
        fit = self.seconds_fit + embedding.seconds_fit + embedding.seconds_embed - asked
        peaks = [peak for peak in (self.peak_memory_mb, embedding.peak_memory_mb) if peak is not None]
        return self._replace(
            seconds_fit=fit,
            seconds_embed=self.seconds_embed + asked,
            peak_memory_mb=max(peaks, default=None),
            gpu=self.gpu or embedding.gpu,
        )

    @property
    def cost(self) -> dict[str, Any]:
        """What of it a `Cost` keeps."""
        return {name: value for name, value in self._asdict().items() if name not in ("output", "told")}


@dataclass(frozen=True, eq=False)
class Request:
    """An output that is asked for: of which method, on which cells, with what it may see."""

    chosen: Chosen
    method: Any
    seed: int
    train: Dataset
    query: Dataset
    truth: Mapping[str, NDArray[np.str_]]
    question: Question = EMBED

    @property
    def card(self) -> MethodCard:
        return self.method.card

    @property
    def is_sharded(self) -> bool:
        """Whether finished parts are worth keeping: cells are embedded one by one, and there are many."""
        return self.question == EMBED and self.card.independent and self.query.n_cells > SHARD

    @property
    def key(self) -> str:
        """Everything that the output depends on, and nothing else: another label column gives the same key."""
        card = self.card
        return digest_of_json(
            {
                "method": [card.name, card.version, recorded_options(self.chosen, self.method)],
                "libraries": module_versions(card.requires),
                "asks": self.question.key,
                "seed": self.seed if card.seeded or self.question.options else None,  # what a verb is told to hide is drawn by the seed
                "cells": [[data.fingerprint, data.gene_names_key, data.column_key(card.reads)] for data in (self.train, self.query)],
                "arrays": {name: [data.obsm_key(name) for data in (self.train, self.query)] for name in sorted(self.query.obsm)},
                "truth": {role: digest_of_strings(values) for role, values in sorted(self.truth.items())},
            }
        )

    def make(self, meter: Meter, shards: Shards | None = None) -> Made:
        """Fit and ask; checked and in the order of the query.

        Parameters
        ----------
        shards
            Where finished parts are kept by methods that embed each cell by itself, so that a killed process goes on with the next;
            the caller removes them.

        Raises
        ------
        NotApplicable, Misaligned, ContractError
            What the method raises, or what its output breaks.
        """
        meter.begin()
        started = time.perf_counter()
        if self.card.transductive:
            fitted = started
            output = getattr(self.method, f"fit_{self.question.verb}")(self.query, seed=self.seed, **self.question.options)
        else:
            method = self.method.fit(self.train, seed=self.seed)
            fitted = time.perf_counter()
            if shards is not None:
                output = embed_in_shards(self, method, shards)
            else:
                output = self.ask(method, self.query, self.truth)
        ended = time.perf_counter() if shards is None else fitted + shards.seconds  # with what an earlier process did of it
        return self._made(output, fitted - started, ended - fitted, meter)

    def read(self, embedded: CellEmbedding, meter: Meter) -> Made:
        """Of a method that reads labels off the embedding of another one: learn from that of the train cells, tell those of the query.

        Parameters
        ----------
        embedded
            Of all these cells, and any others.

        Raises
        ------
        NotApplicable, Misaligned, ContractError
            What the method raises, or what its output breaks.
        """
        meter.begin()
        started = time.perf_counter()
        cells, labels = embedded.of_cells(self.train.cell_ids), self.train.role("label")
        method = self.method.fit(cells, labels, seed=self.seed, groups=groups_of(self.train))
        fitted = time.perf_counter()
        output = getattr(method, self.question.verb)(embedded.of_cells(self.query.cell_ids), **self.question.options)
        return self._made(output, fitted - started, time.perf_counter() - fitted, meter)

    def _made(self, output: Any, seconds_fit: float, seconds_embed: float, meter: Meter) -> Made:
        aligned = self.checked(output).aligned_to(self.query.cell_ids)
        gpu, trainable = getattr(self.method, "gpu", ""), getattr(self.method, "n_trainable", None)
        told = getattr(self.method, "told", {})
        seconds_fit += getattr(self.method, "seconds_earlier", 0.0)  # of a training that another process did a part of, or all
        return Made(aligned, seconds_fit, seconds_embed, meter.peak_mb(), gpu, trainable, self.query.n_cells, told)

    def combine(self, found: Sequence[tuple[Output, Cost]]) -> Made:
        """Of a method that tells labels from what others told: the outputs of its members, on these cells, and what they cost together."""
        started = time.perf_counter()
        output = self.checked(getattr(self.method, self.question.verb)([output for output, _ in found])).aligned_to(self.query.cell_ids)
        costs = [cost for _, cost in found]
        trainable = [cost.trainable for cost in costs]
        return Made(
            output,
            sum(cost.seconds_fit for cost in costs),
            sum(cost.seconds_embed for cost in costs) + time.perf_counter() - started,
            max((cost.peak_memory_mb for cost in costs if cost.peak_memory_mb is not None), default=None),
            next((cost.gpu for cost in costs if cost.gpu), ""),
            None if None in trainable else sum(n for n in trainable if n is not None),
            self.query.n_cells,
        )

    def ask(self, method: Any, query: Dataset, truth: Mapping[str, NDArray[np.str_]]) -> Any:
        """What a fitted method answers for some of the cells."""
        shown = {"truth": truth} if sees_truth(self.card) else {}
        return getattr(method, self.question.verb)(query, **self.question.options, **shown)

    def checked(self, output: Any) -> Output:
        """The output. Raises ContractError if it is not of the kind that the verb returns."""
        kind = OUTPUTS[self.question.verb]
        if not isinstance(output, kind):
            raise ContractError(f"{self.card.name} returned a {type(output).__name__}; expected a {kind.__name__} (values with cell ids)")
        return output


def sees_truth(card: MethodCard) -> bool:
    """Whether a method is shown the truth: controls are, but for untrained twins, which are run like their models."""
    return card.kind == "control" and not card.twin_of


def request(chosen: Chosen, seed: int, problem: Problem, data: Dataset, question: Question = EMBED) -> Request:
    """Show a method the cells of a problem and the columns that its card says it reads, and a control the truth.

    ``data`` is the whole data set, from which ready-made arrays and the truth of the query are taken, by cell id.
    """
    method = chosen.make()
    rows = data.obs.index.get_indexer(problem.query.obs.index)
    if (rows < 0).any():
        raise ContractError(f"the task asks for cells that '{data.name}' has not, e.g. '{problem.query.cell_ids[rows < 0][0]}'")
    names = arrays_read(method)
    train, query = (replace(shown(part, method.card), obsm=_arrays(data, part, names)) for part in (problem.train, problem.query))
    truth = {role: data.role(role)[rows] for role in TRUTH if sees_truth(method.card) and data.has(role)}
    return Request(chosen, method, seed, train, query, truth, question)


def arrays_read(method: Any) -> tuple[str, ...]:
    """Names of the ready-made arrays that a method is told from, sorted: its own, and those of its members."""
    own = getattr(method, "obsm_key", None)
    members = [Chosen(*member).make() for member in method.members] if isinstance(method, PredictionReader) else []
    return tuple(sorted({*([own] if own is not None else []), *(name for member in members for name in arrays_read(member))}))


def _arrays(data: Dataset, part: Dataset, names: Sequence[str]) -> dict[str, NDArray[np.floating]]:
    """The arrays (n_part, ...) of some of the cells. Raises InputError if the data have not one of them."""
    if not names:
        return {}
    rows = data.obs.index.get_indexer(part.obs.index)
    return {name: data.obsm[name][rows] for name in names if data.obsm_key(name)}


def shown(data: Dataset, card: MethodCard) -> Dataset:
    """What a method sees. A column in two roles (the donors as batches) stays for the one that it reads, unless the other is the label."""
    unread = [role for role in data.roles if role not in card.reads]
    read = data.with_roles(**{role: None for role in unread if role != "label"}).hide(*(role for role in unread if role == "label"))
    return replace(read, terms=None)
