"""The stream of batches: a function of (seed, epoch, shard, pool) alone, so that a run can go on in the middle of an epoch.

A shard of the corpus is read, its cells are dealt into pools, an objective makes tokens of a pool, and the pool is cut into batches of
about equal numbers of tokens. One shard and two pools are in memory at a time, whatever the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.nets.inference import in_background
from scrutiny.nets.tokens import Tokens

from .subject import Cells

CELLS_PER_POOL = 512


class Place(NamedTuple):
    """Where in the stream a run is: the next step is number ``step`` of this pool."""

    epoch: int = 0
    shard: int = 0
    pool: int = 0
    step: int = 0


class Step(NamedTuple):
    """The batches of one step of the optimiser, those of this process, and where the stream goes on after it."""

    batches: tuple[Tokens, ...]
    after: Place


Prepare = Callable[[Cells, np.random.Generator], Tokens]


@dataclass(frozen=True)
class Feed:
    """Batches of a corpus.

    Attributes
    ----------
    n_shards, read
        The corpus: ``read(shard)`` gives the cells of one.
    prepare
        Makes tokens of the cells of a pool; ``views`` rows for each, see `Objective.views`.
    tokens_per_batch
        Aimed at.
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

    def steps(self, place: Place, n_epochs: int | None = None) -> Iterator[Step]:
        """Steps from a place on, made one pool ahead; without ``n_epochs`` they never end."""
        for pool in in_background(self._pools(place, n_epochs)):
            yield from pool

    def _pools(self, place: Place, n_epochs: int | None) -> Iterator[list[Step]]:
        epoch = place.epoch
        while n_epochs is None or epoch < n_epochs:
            order = self._rng(epoch).permutation(self.n_shards)
            for i in range(place.shard, self.n_shards):
                yield from self._of_shard(Place(epoch, i, place.pool, place.step), int(order[i]))
                place = Place(epoch)
            epoch, place = epoch + 1, Place()

    def _of_shard(self, place: Place, shard: int) -> Iterator[list[Step]]:
        cells = self.read(shard)
        pools = _dealt(self._rng(place.epoch, shard).permutation(cells.n_cells), CELLS_PER_POOL)
        for number in range(place.pool, len(pools)):
            first = place.step if number == place.pool else 0
            rng = self._rng(place.epoch, shard, number)
            steps = self._cut(self.prepare(cells.take(pools[number]), rng), rng)
            is_last = number == len(pools) - 1
            after = Place(place.epoch, place.shard + 1) if is_last else Place(place.epoch, place.shard, number + 1)
            places = [Place(place.epoch, place.shard, number, step + 1) for step in range(len(steps) - 1)] + [after]
            yield [Step(batches, here) for batches, here in zip(steps[first:], places[first:], strict=True)]

    def _cut(self, tokens: Tokens, rng: np.random.Generator) -> list[tuple[Tokens, ...]]:
        """A pool as steps; a last step with too few cells to give each batch one is left out."""
        n_cells = tokens.n_cells // self.views
        length = tokens.lengths.reshape(self.views, n_cells).sum(axis=0)
        per_step = self.tokens_per_batch * self.batches_per_step
        n_steps = max(1, min(round(length.sum() / per_step), n_cells // self.batches_per_step))
        if n_cells < self.batches_per_step:
            return []
        batches = _even(length, n_steps * self.batches_per_step, rng)
        firsts = range(0, len(batches), self.batches_per_step)
        mine = [batches[first + self.rank : first + self.batches_per_step : self.world] for first in firsts]
        return [tuple(tokens.take(self._views_of(rows, n_cells)) for rows in step) for step in mine]

    def _views_of(self, rows: NDArray[np.int64], n_cells: int) -> NDArray[np.int64]:
        return np.concatenate([rows + view * n_cells for view in range(self.views)])

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, len(place), *place])


def _dealt(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows in parts of about equal size, none larger than ``size``."""
    return np.array_split(rows, max(1, -(-len(rows) // size))) if len(rows) else []


def _even(length: NDArray[np.int64], n_batches: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Cells in random order, cut into batches of about equal length, each with a cell at least."""
    order = rng.permutation(len(length))
    ends = np.cumsum(length[order])
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, n_batches) / n_batches)
    least = np.arange(1, n_batches)
    cuts = np.clip(np.maximum.accumulate(np.maximum(cuts, least) - least) + least, least, len(length) - n_batches + least)
    return np.split(order, cuts)
