"""How long a training may take on this machine: by its operations and a short measurement. Rough, for plans only."""

from __future__ import annotations

import time
from functools import cache

import torch

from scrutiny.nets.inference import device_of
from scrutiny.tuning.config import Pretraining

from .drafts.layout import COMMON
from .model import ATTENTION

FORWARD_AND_BACK = 6
"""Operations for a weight and token: one multiplication and addition forward, two on the way back."""
REACHED = 0.3
"""Share of the speed of bare matrix products that a training reaches."""
SECONDS_TO_START = 5.0
ROWS = 4_096
REPEATS = 5


def seconds_of(config: Pretraining, n_cells: int, device: str) -> float:
    """Seconds of a training; ``n_cells`` are those of an epoch."""
    sizes = {**COMMON, **config.sizes}
    width, inner = int(sizes["width"]), int(sizes["feed_forward"])
    training = config.training
    operations = training.teraflops * 1e12
    if not operations:
        n_tokens = training.steps * training.accumulate * training.tokens_per_batch or training.epochs * n_cells * int(sizes["context"])
        operations = FORWARD_AND_BACK * ATTENTION * n_tokens * int(sizes["layers"]) * (4 * width**2 + 2 * width * inner)
    return SECONDS_TO_START + operations / (REACHED * _speed(width, inner, device))


@cache
def _speed(width: int, inner: int, device: str) -> float:
    """Operations per second of a matrix product of this size, forward and back."""
    place = device_of(device)
    cells, weights = torch.ones(ROWS, width, device=place), torch.ones(width, inner, device=place, requires_grad=True)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        (cells @ weights).sum().backward()  # type: ignore[no-untyped-call]
        float(weights.grad[0, 0])  # type: ignore[index]  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 4 * ROWS * width * inner / min(seconds)
