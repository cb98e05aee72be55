"""Running a net over many cells: tokens made in the background, batches of like length, another try with less where memory runs out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.errors import InputError

from .tokens import Batch, Tokens, batch_of, joined

log = logging.getLogger(__name__)
Item = TypeVar("Item")

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 262_144, "mps": 65_536}
"""Tokens of a batch, by kind of device; halved for good where memory does not suffice."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""By what the errors of CUDA and MPS, of processors on Linux and macOS, of processors on Windows, and of cuBLAS are known."""


class Part(NamedTuple):
    """What came out for some cells: rows (n,) int64 of the chunk's cells, values (n, ...) float32."""

    rows: NDArray[np.int64]
    values: NDArray[np.float32]


def device_of(name: str) -> torch.device:
    """"auto" (CUDA, then Apple's MPS, then the processor), "cpu", "cuda", "cuda:1" or "mps". Raises InputError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"there is no device '{name}'; expected auto, cpu, cuda, cuda:0 ... or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise InputError(f"PyTorch finds no device '{name}' here; take --device cpu, or install the PyTorch build for your card")
    return device


@dataclass
class Runner:
    """How a net is run.

    Attributes
    ----------
    precision
        "float32" or "bfloat16" (matrix products only; sums, norms and softmax stay in float32).
    tokens_per_batch
        Aimed at; None: by the device. It changes no vector beyond rounding.
    cells_per_batch
        Batches of exactly so many cells in the given order, for nets whose official code couples the cells of a batch; None: batches
        of cells of like length.
    """

    device: torch.device
    precision: str = "float32"
    tokens_per_batch: int | None = None
    cells_per_batch: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"the precision is '{self.precision}'; expected one of {', '.join(PRECISIONS)}")
        self._budget = self.tokens_per_batch or TOKENS_PER_BATCH[self.device.type]

    def __call__(self, chunks: Iterable[Tokens], compute: Callable[[Batch], Tensor]) -> Iterator[Part]:
        """Values for the cells of all chunks, batch by batch; ``rows`` count through the chunks."""
        start = 0
        if self.cells_per_batch is not None:
            chunks = _whole_batches(chunks, self.cells_per_batch)
        for tokens in in_background(chunks):
            for part in self._run(tokens, compute):
                yield Part(part.rows + start, part.values)
            start += tokens.n_cells

    def _run(self, tokens: Tokens, compute: Callable[[Batch], Tensor]) -> Iterator[Part]:
        if self.cells_per_batch is not None:
            for begin in range(0, tokens.n_cells, self.cells_per_batch):
                rows = np.arange(begin, min(begin + self.cells_per_batch, tokens.n_cells))
                values = self._try(tokens.take(rows), compute)
                if values is None:
                    raise InputError(f"{len(rows)} cells at a time, as compat='official' needs, exceed the memory of {self.device}")
                yield Part(rows, values)
            return
        left = list(np.argsort(-tokens.lengths, kind="stable"))  # the longest first: if memory lacks, it lacks at once
        while left:
            rows = np.array(left[: _fitting(tokens.lengths[left], self._budget)])
            values = self._try(tokens.take(rows), compute)
            if values is not None:
                yield Part(rows, values)
                left = left[len(rows) :]
                continue
            n_tokens = int(tokens.lengths[rows].sum())
            if len(rows) == 1:
                raise InputError(f"one cell of {n_tokens:,} tokens does not fit into the memory of {self.device}")
            self._budget = max(1, n_tokens // 2)
            log.warning("not enough memory on %s for %d tokens; going on with %d", self.device, n_tokens, self._budget)

    def _try(self, tokens: Tokens, compute: Callable[[Batch], Tensor]) -> NDArray[np.float32] | None:
        """None where memory does not suffice."""
        try:
            return self._compute(tokens, compute)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
                raise
        if self.device.type == "cuda":  # only now: until here the error kept alive what had been computed
            torch.cuda.empty_cache()
        return None

    def _compute(self, tokens: Tokens, compute: Callable[[Batch], Tensor]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._autocast():
            return compute(batch_of(tokens, self.device)).float().cpu().numpy()

    def _autocast(self) -> AbstractContextManager[object]:
        wanted = PRECISIONS[self.precision]
        return nullcontext() if wanted is torch.float32 else torch.autocast(self.device.type, dtype=wanted)


def _whole_batches(chunks: Iterable[Tokens], n_cells: int) -> Iterator[Tokens]:
    """The same cells, cut where a batch of ``n_cells`` ends: what one chunk has too many begins the next."""
    rest: list[Tokens] = []
    for chunk in chunks:
        tokens = joined([*rest, chunk])
        whole = tokens.n_cells - tokens.n_cells % n_cells
        yield tokens.take(range(whole))
        rest = [tokens.take(range(whole, tokens.n_cells))]
    yield from rest


def _fitting(lengths: NDArray[np.int64], budget: int) -> int:
    """How many of the first cells have at most ``budget`` tokens together; at least 1. Cells without tokens count as one."""
    return max(1, int(np.searchsorted(np.cumsum(np.maximum(lengths, 1)), budget, side="right")))


def in_background(items: Iterable[Item], *, ahead: int = 1) -> Iterator[Item]:
    """The same items, the next ones made by another thread while this one is used."""
    source = iter(items)
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="tokens") as pool:
        waiting = deque(pool.submit(next, source, nothing) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not nothing:
                waiting.append(pool.submit(next, source, nothing))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(cancel_futures=True)
