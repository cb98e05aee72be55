"""The stream of batches: a function of (seed, epoch, shard, step) alone, so that a run can go on in the middle of an epoch.

A shard of the corpus is read, its cells are dealt into batches of about equal numbers of tokens, and the objective makes the tokens of
each. A batch is the same whichever process makes it. One shard and a few steps are in memory at a time, whatever the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import InputError
from scrutiny.nets.inference import in_background
from scrutiny.nets.tokens import Tokens

from .subject import Cells

AHEAD = 8
"""Steps that are made before they are needed: reading a shard takes as long as some of them."""
MEASURED = 64
"""Cells of a shard whose tokens are counted, to know how many the others will have."""


class Place(NamedTuple):
    """Where in the stream a run is: the next step is number ``step`` of a shard, which is number ``shard`` of the epoch."""

    epoch: int = 0
    shard: int = 0
    step: int = 0


class Step(NamedTuple):
    """One step of the optimiser: the batches of this process, the cells of all processes, and where the stream goes on after it."""

    batches: tuple[Tokens, ...]
    n_cells: int
    after: Place


Prepare = Callable[[Cells, np.random.Generator], Tokens]


@dataclass(frozen=True)
class Feed:
    """Batches of a corpus.

    Every cell is shown once an epoch, but those of a shard that has fewer cells than a step has batches.

    Attributes
    ----------
    n_shards, read
        The corpus: ``read(shard)`` gives the cells of one.
    prepare
        Makes the tokens of a batch of cells; ``views`` rows for each, see `Objective.views`.
    tokens_per_batch
        Aimed at, views included. A shard is cut into whole steps, so its batches may be up to half as large again.
    batches_per_step
        Of all processes together.
    rank, world
        Which of how many processes this is: it takes every ``world``-th batch of a step.
    """

    n_shards: int
    read: Callable[[int], Cells]
    prepare: Prepare
    tokens_per_batch: int
    seed: int
    views: int = 1
    batches_per_step: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batches_per_step % self.world:
            many = f"{self.batches_per_step} batches, which {self.world} processes cannot share evenly"
            raise InputError(f"a step has {many}; make [training] accumulate a multiple of {self.world}")

    def steps(self, place: Place) -> Iterator[Step]:
        """Steps from a place on, epoch after epoch without an end, made in the background.

        Raises
        ------
        InputError
            If no shard has a cell for each batch of a step.
        """
        return in_background(self._steps(place), ahead=AHEAD)

    def _steps(self, place: Place) -> Iterator[Step]:
        for epoch in count(place.epoch):
            order = self._rng(epoch).permutation(self.n_shards)
            is_empty = place.shard == 0
            for number in range(place.shard, self.n_shards):
                for step in self._of_shard(int(order[number]), Place(epoch, number, place.step)):
                    is_empty = False
                    yield step
                place = Place(epoch + 1)
            if is_empty:
                raise InputError(
                    f"no shard of the corpus has {self.batches_per_step} cells, one for each batch of a step; take fewer batches a step "
                    "(accumulate), or more cells"
                )
            place = Place(epoch + 1)

    def _of_shard(self, shard: int, place: Place) -> Iterator[Step]:
        cells = self.read(shard)
        batches = self._batches(cells, self._rng(place.epoch, shard))
        steps = [batches[first : first + self.batches_per_step] for first in range(0, len(batches), self.batches_per_step)]
        for number in range(place.step, len(steps)):
            mine = range(self.rank, self.batches_per_step, self.world)
            tokens = [self.prepare(cells.take(steps[number][i]), self._rng(place.epoch, shard, number, i)) for i in mine]
            is_last = number == len(steps) - 1
            after = Place(place.epoch, place.shard + 1) if is_last else Place(place.epoch, place.shard, number + 1)
            yield Step(tuple(tokens), sum(len(rows) for rows in steps[number]), after)

    def _batches(self, cells: Cells, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Rows of the cells of each batch, as many batches as make whole steps."""
        most = cells.n_cells // self.batches_per_step
        if not most:
            return []
        order = rng.permutation(cells.n_cells)
        n_tokens = self._n_tokens(cells, order[:MEASURED], rng)[order]
        n_steps = np.clip(round(n_tokens.sum() / (self.tokens_per_batch * self.batches_per_step)), 1, most)
        return np.split(order, _cuts(n_tokens, n_steps * self.batches_per_step))

    def _n_tokens(self, cells: Cells, some: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """About how many tokens each cell (n,) will have: as many as the measured ones that express as many genes."""
        n_genes = np.diff(cells.counts.indptr)
        found = self.prepare(cells.take(some), rng).lengths.reshape(self.views, len(some)).sum(axis=0)
        by_genes = np.argsort(n_genes[some], kind="stable")
        return np.interp(n_genes, n_genes[some][by_genes], np.maximum(found, 1)[by_genes])

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, len(place), *place])


def _cuts(length: NDArray[np.float64], n_parts: int) -> NDArray[np.int64]:
    """Where to cut a sequence into parts of about equal length, each with an item at least: (n_parts - 1,)."""
    ends = np.cumsum(length)
    least = np.arange(1, n_parts)
    cuts = np.searchsorted(ends, ends[-1] * least / n_parts)
    return np.clip(np.maximum.accumulate(np.maximum(cuts, least) - least) + least, least, len(length) - n_parts + least)
