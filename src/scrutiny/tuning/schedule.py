"""How long a training goes on, and how fast it learns at each point of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from scrutiny.core.errors import InputError
from scrutiny.nets.inference import PRECISIONS


@dataclass(frozen=True)
class Training:
    """How a net is trained; the table ``[training]`` of a config.

    Attributes
    ----------
    epochs, steps, teraflops
        When it ends; one of them is given. ``teraflops`` counts the operations of forward and backward pass, targets and heads
        included, so that objectives of unequal cost can be compared at equal compute.
    learning_rate
        The highest; reached after ``warmup`` (share of the training) and brought down along a cosine to ``last_rate`` of it.
    decay
        Weight decay of AdamW, on matrices only; betas 0.9 and 0.98.
    clip
        Largest norm of the gradient; 0: none.
    tokens_per_batch, accumulate
        Tokens of a batch, and batches of a step, those of all processes together.
    precision
        "float32", or "bfloat16" for the matrix products.
    checkpointing
        Keep no activations within the layers but compute them again: less memory, about a third more time.
    validate
        Times in a training that the held-out cells are scored.
    patience
        Validations without a better one after which training ends, and the best weights are kept; 0: it goes on to the end and the last
        weights are kept.
    snapshot_seconds
        Between snapshots, from which a stopped training goes on.
    """

    epochs: float = 0.0
    steps: int = 0
    teraflops: float = 0.0
    learning_rate: float = 1e-3
    warmup: float = 0.05
    last_rate: float = 0.1
    decay: float = 0.01
    clip: float = 1.0
    tokens_per_batch: int = 16_384
    accumulate: int = 1
    precision: str = "float32"
    checkpointing: bool = False
    validate: int = 20
    patience: int = 0
    snapshot_seconds: float = 60.0

    def __post_init__(self) -> None:
        ends = {name: getattr(self, name) for name in ("epochs", "steps", "teraflops") if getattr(self, name)}
        if len(ends) != 1 or min(ends.values()) < 0:
            raise InputError(f"a training ends after epochs, steps or teraflops, one of them; found {ends or 'none'}")
        if self.precision not in PRECISIONS:
            raise InputError(f"the precision is '{self.precision}'; expected one of {', '.join(PRECISIONS)}")
        for name in ("learning_rate", "tokens_per_batch", "accumulate", "validate"):
            if getattr(self, name) <= 0:
                raise InputError(f"[training] {name} is {getattr(self, name)}; expected more than 0")
        for name in ("decay", "clip", "patience", "snapshot_seconds"):
            if getattr(self, name) < 0:
                raise InputError(f"[training] {name} is {getattr(self, name)}; expected at least 0")
        for name in ("warmup", "last_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"[training] {name} is {getattr(self, name)}; expected a share, 0 to 1")

    def rate(self, progress: float) -> float:
        """Learning rate when so large a share of the training is done."""
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, 1e-2)
        falling = (1 + math.cos(math.pi * min((progress - self.warmup) / max(1 - self.warmup, 1e-9), 1.0))) / 2
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * falling)


def optimiser(modules: nn.Module, training: Training) -> AdamW:
    """AdamW over what is trained; biases, norms and other vectors do not decay."""
    trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = trained[0].device.type in ("cpu", "cuda")
    return AdamW([group for group in groups if group["params"]], lr=training.learning_rate, betas=(0.9, 0.98), fused=fused)
