"""What a net is trained for. An objective draws what the net is shown, in the background, and turns a batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from scrutiny.nets.initial import randomise
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import build

from .subject import Cells, Subject


class Loss(NamedTuple):
    """``total`` is what is minimised, a mean over what is predicted; ``parts`` are detached scalars for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


class Objective(nn.Module, ABC):
    """An objective, with the heads that it needs beside the net; they are trained with it and are no part of the published weights.

    A subclass takes its `Subject` first and its options as keywords; it never keeps the net as a submodule: that one is given to
    `forward`. It is made without storage; what its layers start from is drawn by `start`, so a module with weights of its own needs a
    method ``reset(generator)``, as `scrutiny.nets.initial.randomise` says.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """What the `Subject` must have: fields that may be None, or ``masks.COLUMN``."""
    views: ClassVar[int] = 1
    """Tokens are drawn for each cell so many times: the k-th views of n cells are the rows k * n to (k + 1) * n of what `draw` returns."""
    reads_labels: ClassVar[bool] = False
    """Whether the cell types of the corpus are part of what is learnt."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Options that are paths of files."""

    @classmethod
    def lacks(cls, subject: Subject) -> list[str]:
        """What the objective needs and the subject has not."""
        return [part for part in cls.needs if not _has(subject, *part.partition(".")[::2])]

    def begin(self, subject: Subject) -> None:  # noqa: B027 - most objectives have nothing to do
        """Called once, when the weights that training starts from are drawn: copies of the net are made here."""

    @abstractmethod
    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        """What the net is shown of some cells, and what it is to find, as further columns. Runs in another thread; no torch in here.

        The same cells and the same state of ``rng`` give the same tokens.
        """

    @abstractmethod
    def forward(self, subject: Subject, batch: Batch) -> Loss:
        """The loss of a batch."""

    def after_step(self, subject: Subject, progress: float) -> None:  # noqa: B027 - most objectives have nothing to do
        """Called after each step of the optimiser with the share of the training that is done: moving averages are moved here."""


def _has(subject: Subject, field: str, key: str) -> bool:
    value = getattr(subject, field)
    return value is not None and (not key or key in value)


def start(make: Callable[[], Objective], subject: Subject, seed: int) -> Objective:
    """An objective whose heads start from weights drawn by the seed."""
    objective = build(make)
    randomise(objective, seed)
    objective.requires_grad_(True)
    objective.begin(subject)
    return objective
