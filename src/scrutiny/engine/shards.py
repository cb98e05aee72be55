"""Embeddings in shards: cells whose vectors depend on nothing but themselves are embedded some at a time, and what is finished is kept.

A shard is `SHARD` consecutive cells. As many as a method embeds in about `SECONDS` are done at once, so that a slow model loses little
when it is killed and a fast one is never kept waiting, and are written as one file of the cache, ``<key>.<first>-<last>.npz``. The key is
that of the whole embedding, so whoever asks for the same one again goes on at the first shard that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import StoreError
from scrutiny.core.outputs import CellEmbedding

from .cache import ArrayCache, Arrays

if TYPE_CHECKING:
    from .embedding import Request

SHARD = 256
"""Cells: a minute or two of a large model on a processor."""
SECONDS = 10.0
"""Aimed at for the shards that are done at once: far longer than a net takes to start and to run empty."""
MOST = 128
"""Shards done at once at most: 32,768 vectors in memory."""

Embed = Callable[[range], NDArray[np.float32]]
"""From rows to their vectors (n, n_dims)."""
Hold = Callable[[range], AbstractContextManager[range]]
"""From shards to those of them, from the first on, that are ours alone while the context lasts."""


class Shards:
    """The finished shards of one embedding, in a cache that may hold others beside."""

    def __init__(self, cache: ArrayCache, key: str, n_cells: int) -> None:
        self.cache, self.key, self.n_cells = cache, key, n_cells
        self.seconds = 0.0
        """What the shards that this object has seen took to embed, in whatever process."""

    def rows(self, numbers: range) -> range:
        """The cells of consecutive shards."""
        return range(numbers.start * SHARD, min(numbers.stop * SHARD, self.n_cells))

    def missing(self) -> list[int]:
        """Numbers of the shards that nobody has finished."""
        done = {number for numbers in self._stored() for number in numbers}
        return [number for number in range(-(-self.n_cells // SHARD)) if number not in done]

    def n_done(self) -> int:
        """Cells in finished shards."""
        return self.n_cells - sum(len(self.rows(range(number, number + 1))) for number in self.missing())

    def put(self, numbers: range, values: NDArray[np.float32], seconds: float) -> None:
        """Keep the vectors of consecutive shards. Raises StoreError if the file system refuses."""
        self.cache.put(self._name(numbers), Arrays({"values": values}, {"seconds": seconds}))
        self.seconds += seconds

    def check(self) -> None:
        """Look through what is there, and remove what is torn or altered."""
        for numbers in self._stored():
            found = self.cache.get(self._name(numbers))
            if found is None or len(found.by_name["values"]) != len(self.rows(numbers)):
                self.cache.remove(self._name(numbers))
            else:
                self.seconds += float(found.facts["seconds"])

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All vectors in the order of the cells, file by file.

        Raises
        ------
        StoreError
            If a shard is missing or has been altered since.
        """
        at = 0
        for numbers in self._stored():
            if numbers.start <= at < numbers.stop:  # two processes that knew nothing of each other may have done the same ones
                found = self.cache.get(self._name(numbers))
                if found is None:
                    break
                yield found.by_name["values"][(at - numbers.start) * SHARD :]
                at = numbers.stop
        if at * SHARD < self.n_cells:
            raise StoreError(f"the cells from {at * SHARD + 1:,} on are not in {self.cache.folder} any more; run the same command again")

    def remove(self) -> None:
        """Remove all of them."""
        for numbers in self._stored():
            self.cache.remove(self._name(numbers))

    def _stored(self) -> list[range]:
        """The files, by their first shard."""
        spans = [name.removeprefix(f"{self.key}.").split("-") for name in self.cache.names(f"{self.key}.*-*")]
        return sorted((range(int(first), int(last) + 1) for first, last in spans), key=lambda numbers: (numbers.start, numbers.stop))

    def _name(self, numbers: range) -> str:
        return f"{self.key}.{numbers.start}-{numbers.stop - 1}"


@dataclass(frozen=True, eq=False)
class ShardedEmbedding:
    """A finished embedding that lies in shards: read block by block, it is never in memory as a whole."""

    shards: Shards
    cell_ids: NDArray[np.str_]

    @property
    def n_dims(self) -> int:
        return int(next(self.blocks()).shape[1])

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        return self.shards.blocks()

    def whole(self) -> CellEmbedding:
        """All of it in memory."""
        values, start = np.empty((len(self.cell_ids), self.n_dims), dtype=np.float32), 0
        for block in self.blocks():
            values[start : start + len(block)] = block
            start += len(block)
        return CellEmbedding(values, self.cell_ids)


def embed_in_shards(asked: Request, method: Any, shards: Shards) -> CellEmbedding:
    """Embed what is missing, in this process, and put the whole together. Only one process at a time may do so under one key.

    Parameters
    ----------
    asked
        Its method must be independent.
    method
        That method, fitted.
    shards
        Are kept until the caller, whose output is safe, removes them.
    """
    shards.check()
    for _ in work_off(lambda rows: embed_rows(asked, method, rows), shards, shards.missing(), nullcontext):
        pass
    return ShardedEmbedding(shards, asked.query.cell_ids).whole()


def work_off(embed: Embed, shards: Shards, numbers: Sequence[int], hold: Hold, *, at_once: int = 1) -> Iterator[range]:
    """Embed these shards in this order, except those that others are at or have finished; yields what has just been written.

    Parameters
    ----------
    at_once
        How many to begin with; goes by the time they took from then on.
    """
    left = list(numbers)
    while left:
        with hold(consecutive(left[:at_once])) as held:
            if held:
                started = perf_counter()
                values = embed(shards.rows(held))
                seconds = perf_counter() - started
                shards.put(held, values, seconds)
                at_once = many_at_once(len(held), seconds)
        left = left[max(1, len(held)) :]
        if held:
            yield held
        missing = set(shards.missing())
        left = [number for number in left if number in missing]


def many_at_once(n: int, seconds: float) -> int:
    """How many shards to do at once where ``n`` took so long."""
    return max(1, min(MOST, int(n * SECONDS / max(seconds, 1e-6))))


def consecutive(numbers: Sequence[int]) -> range:
    """The first of them, as far as they follow on each other."""
    first = numbers[0]
    return range(first, first + next((i for i, number in enumerate(numbers) if number != first + i), len(numbers)))


def embed_rows(asked: Request, method: Any, rows: range) -> NDArray[np.float32]:
    """Vectors (len(rows), n_dims) of some cells of a request, by its fitted method; checked and in their order.

    Raises
    ------
    NotApplicable, Misaligned, ContractError
        What the method raises, or what its output breaks.
    """
    query = asked.query.take(np.arange(rows.start, rows.stop))
    truth: Mapping[str, Any] = {role: values[rows.start : rows.stop] for role, values in asked.truth.items()}
    output = asked.checked(asked.ask(method, query, truth)).aligned_to(query.cell_ids)
    assert isinstance(output, CellEmbedding)  # only embeddings are sharded
    return output.values
