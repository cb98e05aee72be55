"""How an adaptation is trained: defaults that the literature gives, and the one rule for few labelled cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import InputError
from scrutiny.tuning.schedule import Training

FEW = 20
"""Labelled cells of the median label below which they are few."""
FEW_BATCH, FEW_STEPS, FEW_DECAY = 8, 60, 0.1
"""Then: cells of a batch, steps at least and weight decay."""
SNAPSHOT_SECONDS = 30.0


@dataclass(frozen=True)
class Recipe:
    """How long and how fast an adaptation learns.

    With fewer than `FEW` labelled cells of the median label batches are smaller, steps have a floor (ten epochs of twenty cells would
    be over before anything is learnt), weights decay ten times as much, and ``full`` trains the upper half of the layers alone.

    Attributes
    ----------
    epochs
        Passes over the labelled cells; 10 is where the 10 to 50 of the reviews begin, and training ends before where ``patience`` says so.
    learning_rate
        0: that of the way.
    cells_per_step
        Cells of a step, about: 32, as scGPT is fine-tuned.
    decay
        Weight decay of matrices.
    class_weights
        How much rare labels are lifted, see `labels.class_weights`: 0 not at all, 1 all labels count alike; 0.5, the square root, lies
        between accuracy and macro-F1.
    patience
        Validations without a better one before training ends and the best weights are taken; 0: the last weights are.
    """

    epochs: float = 10.0
    learning_rate: float = 0.0
    cells_per_step: int = 32
    decay: float = 0.01
    class_weights: float = 0.5
    patience: int = 3

    def __post_init__(self) -> None:
        for name in ("epochs", "cells_per_step"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("learning_rate", "decay", "class_weights", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 0")

    def training(self, n_cells: int, tokens_per_cell: float, *, rate: float, few: bool, precision: str, validated: bool) -> Training:
        """The training of so many labelled cells; ``rate`` is the learning rate of the way."""
        batch = min(FEW_BATCH, self.cells_per_step) if few else self.cells_per_step
        n_batches = max(1, round(n_cells / batch))
        steps = max(math.ceil(self.epochs * n_batches), FEW_STEPS if few else 1)
        return Training(
            steps=steps,
            learning_rate=self.learning_rate or rate,
            warmup=0.1,
            decay=max(self.decay, FEW_DECAY) if few else self.decay,
            tokens_per_batch=max(1, round(tokens_per_cell * n_cells / n_batches)),
            precision=precision,
            validate=max(1, min(round(self.epochs), steps)),
            patience=self.patience if validated else 0,
            snapshot_seconds=SNAPSHOT_SECONDS,
        )


def are_few(labels: NDArray[np.int64]) -> bool:
    """Whether the labelled cells (n,) are few."""
    return bool(np.median(np.unique(labels, return_counts=True)[1]) < FEW)
