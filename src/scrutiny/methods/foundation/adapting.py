"""One adaptation of one net: the cells that it learns from, the training, and the adapter that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import UNLABELLED
from scrutiny.nets.inference import device_of
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.adaptation.anatomy import Anatomy, anatomy
from scrutiny.tuning.adaptation.files import About, read_into, write_adapter
from scrutiny.tuning.adaptation.holdout import held_out
from scrutiny.tuning.adaptation.labels import LabelHead, Labels, class_weights, probe, shown
from scrutiny.tuning.adaptation.recipe import Recipe, are_few
from scrutiny.tuning.adaptation.ways import Way, merge, trained_tensors
from scrutiny.tuning.feed import Feed
from scrutiny.tuning.loop import Report, Trainer
from scrutiny.tuning.subject import Cells, Subject

from .model import CELLS_PER_CHUNK, Published
from .subjects import cells_of, subject_of

PROBED = 2
"""Cells by which it is found out what their vectors depend on."""
MEASURED = 256
"""Cells whose tokens are counted."""
SHARD = 4_096
"""Labelled cells that are in memory as counts at a time."""
SAMPLE = 64
"""Cells that are shown together to a net in which they change each other."""
GROUPS = ("donor", "batch")


class Learnt:
    """The labelled training cells, dealt into those that are learnt from and those that tell when to stop."""

    def __init__(self, model: Published, train: Dataset, *, seed: int) -> None:
        labels = train.role("label")
        rows = np.flatnonzero(labels != UNLABELLED)
        names, numbers = np.unique(labels[rows], return_inverse=True)
        if len(names) < 2:
            raise NotApplicable(f"the training cells have the labels {names.tolist()}; at least two are needed")
        self.model, self.data, self.names = model, train.take(rows), names
        rng = np.random.default_rng([seed, 1])
        groups = {name: train.role(name)[rows] for name in GROUPS if train.has(name)}
        held = held_out(numbers, groups, rng)
        self.numbers, self.held, self.held_by = numbers, held.rows, held.by
        self.rows = rng.permutation(np.setdiff1d(np.arange(len(rows)), held.rows))
        self.few = are_few(numbers[self.rows])

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of the cells that are learnt from, in their order."""
        return self.numbers[self.rows]

    def cells(self, rows: NDArray[np.int64]) -> Cells:
        """Labelled cells, by row."""
        return cells_of(self.model, self.data.take(rows))._replace(labels=self.numbers[rows])

    @property
    def shards(self) -> list[NDArray[np.int64]]:
        return np.array_split(self.rows, -(-len(self.rows) // SHARD))


@dataclass
class Opened:
    """A net that is ready to be trained, or to be given what an adapter holds."""

    subject: Subject
    trained: frozenset[str]
    head: LabelHead

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What an adapter holds, on the storage of the net and of the head."""
        return {**trained_tensors(self.subject.net, self.trained), **{f"head/{name}": x for name, x in self.head.state_dict().items()}}

    @property
    def n_trainable(self) -> int:
        """Numbers that are trained, those of the head included."""
        of_head = sum(parameter.numel() for parameter in self.head.parameters())
        return of_head + sum(x.numel() for x in trained_tensors(self.subject.net, self.trained).values())

    def close(self) -> Opened:
        """Merge what can be part of the net's own matrices; nothing is trained any more."""
        self.subject.net.requires_grad_(False)
        merge(self.subject.net)
        self.head.requires_grad_(False).eval()
        return self


def subject_and_anatomy(model: Published, data: Dataset) -> tuple[Subject, Anatomy]:
    """A model as what is adapted; ``data`` has the genes that it is used on, and at least a cell."""
    subject = subject_of(model, model.match(data))
    return subject, anatomy(subject, cells_of(model, data.take(np.arange(min(PROBED, data.n_cells)))))


def over_cells(model: Published, subject: Subject, data: Dataset, compute: Callable[[Batch], Tensor], *, seed: int) -> NDArray[np.float32]:
    """What ``compute`` gives for cells (n_cells, ...); those that change each other are shown `SAMPLE` together, drawn by the seed."""
    n_cells = data.n_cells
    order = np.random.default_rng([seed, 2]).permutation(n_cells) if subject.together else np.arange(n_cells)
    chunks = (subject.tokenise(cells_of(model, data.take(order[i : i + CELLS_PER_CHUNK]))) for i in range(0, n_cells, CELLS_PER_CHUNK))
    runner = replace(model.runner(), cells_per_batch=SAMPLE) if subject.together else model.runner()
    values = np.empty((0, 0), np.float32)
    for rows, part in runner(chunks, compute):
        if not values.size:
            values = np.empty((n_cells, *part.shape[1:]), np.float32)
        values[order[rows]] = part
    return values


@dataclass(eq=False)
class Adapting:
    """A training under way.

    Attributes
    ----------
    place
        Folder that snapshots and, in the end, the adapter lie in.
    about
        What the adapter belongs to, without how it was trained.
    """

    model: Published
    learnt: Learnt
    way: Way
    recipe: Recipe
    place: Path
    about: About
    key: str
    seed: int

    @cached_property
    def opened(self) -> Opened:
        """The net with what is trained, starting from the probe."""
        learnt = self.learnt
        subject, found = subject_and_anatomy(self.model, learnt.data)
        trained = self.way.open(subject.net, found, seed=self.seed, few=learnt.few)
        still = subject.cells  # what was put in changes nothing yet
        vectors = over_cells(self.model, subject, learnt.data.take(learnt.rows), still, seed=self.seed)
        return Opened(subject, trained, probe(vectors, learnt.labels, self.weights))

    @cached_property
    def weights(self) -> Tensor:
        """(n_labels,) of a cell of each label."""
        return class_weights(self.learnt.labels, len(self.learnt.names), self.recipe.class_weights)

    def trainer(self, tell: Callable[[Report], None]) -> Trainer:
        learnt, subject = self.learnt, self.opened.subject
        shards, objective = learnt.shards, Labels(self.opened.head, self.weights)
        n_tokens = subject.tokenise(learnt.cells(learnt.rows[:MEASURED])).lengths.mean()
        training = self.recipe.training(
            len(learnt.rows),
            float(n_tokens),
            rate=self.way.learning_rate,
            few=learnt.few,
            precision=self.model.precision,
            validated=bool(len(learnt.held)),
        )
        feed = Feed(
            len(shards),
            lambda shard: learnt.cells(shards[shard]),
            lambda cells, rng: objective.draw(cells, subject, rng),
            training.tokens_per_batch,
            self.seed,
        )
        return Trainer(
            subject,
            objective,
            feed,
            n_cells=len(learnt.rows),
            validation=self.validation,
            training=training,
            folder=self.place,
            key=self.key,
            device=device_of(self.model.device),
            tell=tell,
            trained=self.opened.trained,
        )

    def validation(self) -> Iterator[Tokens]:
        """Held-out cells, the same at each call; where there are none, those that are learnt from, to see the loss fall."""
        rows = self.learnt.held if len(self.learnt.held) else self.learnt.rows[:MEASURED]
        for begin in range(0, len(rows), SAMPLE):
            yield shown(self.learnt.cells(rows[begin : begin + SAMPLE]), self.opened.subject)

    def carry_out(self, tell: Callable[[Report], None]) -> float:
        """Train, or go on, and write the adapter; returns the seconds that were spent on it before this call."""
        trainer = self.trainer(tell)
        earlier = trainer.state.seconds
        state = trainer.run()
        trainer.trainee.eval()
        told = {
            "n_trainable": self.opened.n_trainable,
            "cells": len(self.learnt.rows),
            "held_out": {"cells": len(self.learnt.held), "by": self.learnt.held_by},
            "steps": state.step,
            "best_step": state.best_step if trainer.training.patience else state.step,
            "seconds": round(state.seconds, 2),
            "precision": self.model.precision,
            "torch": torch.__version__,
        }
        write_adapter(self.place, self.opened.tensors, replace(self.about, trained=told))
        trainer.snapshots.remove()
        return earlier


def about_of(model: Published, learnt: Learnt, *, base: str, base_options: Mapping[str, Any], way: str, options: Any, seed: int) -> About:
    return About(
        family=model.card.name,
        base=base,
        base_options=dict(base_options),
        way=way,
        options=dict(options),
        few=learnt.few,
        labels=learnt.names.tolist(),
        seed=seed,
        scrutiny=version("scrutiny"),
    )


def restored(model: Published, data: Dataset, way: Way, about: About, place: Path) -> Opened:
    """The net with the adapter that lies in a folder."""
    subject, found = subject_and_anatomy(model, data)
    trained = way.open(subject.net, found, seed=about.seed, few=about.few)
    made = Opened(subject, trained, LabelHead(found.width, len(about.labels)).to(device_of(model.device)))
    read_into(place, made.tensors)
    return made
