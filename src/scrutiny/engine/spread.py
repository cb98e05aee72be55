"""The shards of one embedding, done by this process or by several: child processes, one a device if wanted, or Dask workers.

Child processes take the next shard that nobody is at; Dask workers are handed theirs. Each loads the model once. Any number of calls,
on any number of machines, may work on the same folder at once and share the shards.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import ScrutinyError
from scrutiny.core.protocols import Problem

from .claims import DEATHS, Busy, Claims, Owner, ProcessDied
from .embedding import Chosen, Request, request
from .jobs import Ended, Holding, Job, Message, Setting
from .shards import Embed, Shards, consecutive, embed_rows, many_at_once, work_off
from .store import Store
from .study import Workers

POLL_SECONDS = 0.5
FIRST = ".1"
"""How the marker of a first attempt ends."""


@dataclass(frozen=True)
class Progress:
    """How far an embedding is, in cells.

    Attributes
    ----------
    before
        Cells that were finished when this call began.
    trouble
        What a person should hear of: a worker has died, or another process is at what is left.
    """

    done: int
    total: int
    before: int
    trouble: str = ""


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Stint(Job):
    """Shards for one worker; its ``specs`` are empty.

    Attributes
    ----------
    key
        Of the embedding.
    shards
        Numbers of the shards, in the order in which they are tried.
    at_once
        How many to begin with.
    owner
        In whose name they are claimed; None: in that of the worker.
    """

    key: str = ""
    shards: tuple[int, ...] = ()
    at_once: int = 1
    owner: Owner | None = None


def ask(data: Dataset, chosen: Chosen, seed: int) -> Request:
    """The request for vectors of all cells of a data set, fitted on the same cells with the labels hidden."""
    blind = data.hide("label")
    return request(chosen, seed, Problem(blind, blind, {}), data)


def embed_here(asked: Request, shards: Shards, claims: Claims, tell: Tell) -> None:
    """Embed what is missing in this process, and wait for what others are at."""
    method, before, owner = asked.method.fit(asked.train, seed=asked.seed), shards.n_done(), Owner.this_process()
    hold = partial(_claimed, claims, shards, owner, _keep_to_oneself)
    tell(Progress(before, shards.n_cells, before))
    while missing := shards.missing():
        for _ in work_off(partial(embed_rows, asked, method), shards, missing, hold):
            tell(Progress(shards.n_done(), shards.n_cells, before))
        if left := shards.missing():
            who = claims.holder(_claim(shards, left[0]), besides=owner)
            tell(Progress(shards.n_done(), shards.n_cells, before, f"waits for {who}" if who else ""))
            time.sleep(POLL_SECONDS)


def embed_by_workers(stint: Stint, data: Dataset, shards: Shards, workers: Workers, tell: Tell) -> None:
    """Embed what is missing by several processes, and wait for what others are at.

    Parameters
    ----------
    stint
        Says what is embedded. Its option ``device`` may name several, separated by commas: each then has a process of its own.

    Raises
    ------
    ScrutinyError
        What a worker meets, also shards that have ended their process `DEATHS` times.
    """
    _Spread(stint, data, shards, workers, tell).carry_out()


def devices_of(options: Mapping[str, Any]) -> list[str]:
    """The devices that the option ``device`` names; [] where it is not given."""
    return [name.strip() for name in str(options.get("device", "")).split(",") if name.strip()]


class _Spread:
    """One embedding on several workers."""

    def __init__(self, stint: Stint, data: Dataset, shards: Shards, workers: Workers, tell: Tell) -> None:
        devices, self.is_dask = devices_of(stint.options), workers.engine == "dask"
        workers = workers if self.is_dask else replace(workers, jobs=max(workers.jobs, len(devices)))
        own = [{"device": devices[i % len(devices)]} if devices else {} for i in range(workers.jobs)]
        self.idle = deque(replace(stint, options={**stint.options, **options}) for options in own)
        self.stint, self.shards, self.tell = stint, shards, tell
        store = Store(shards.cache.folder.parent)
        setting = workers.setting(store)
        self.claims, self.owner = store.claims, setting.owner
        self.running: dict[int, tuple[Stint, float]] = {}
        self.at_once, self.deaths_in_vain = 1, 0
        self.before = self.done = shards.n_done()
        self.pool = workers.pool({data.name: data}, setting, work=embed_stint)

    def carry_out(self) -> None:
        self._say("")
        try:
            while missing := self.shards.missing():
                while self.pool.n_free > 0 and (stint := self._next(missing)):
                    self.running[id(stint)] = (stint, time.monotonic())
                    self.pool.submit(stint)
                for job, message in self.pool.messages(POLL_SECONDS):
                    self._hear(job, message)
                if not self.running:
                    who = self.claims.holder(_claim(self.shards, missing[0]), besides=self.owner)
                    self._say(f"waits for {who}" if who else "")
                    time.sleep(POLL_SECONDS)
                self._say("")
        finally:
            self.pool.stop()
        self._say("")

    def _next(self, missing: list[int]) -> Stint | None:
        """Something to do for a worker; None if all that is missing has somebody at it."""
        if not self.is_dask:
            return replace(self.idle.popleft(), shards=tuple(missing)) if next(self._free(missing), None) is not None else None
        some = list(islice(self._free(missing), self.at_once))
        return replace(self.stint, shards=tuple(consecutive(some)), at_once=len(some), owner=self.owner) if some else None

    def _free(self, missing: list[int]) -> Iterator[int]:
        handed_out = {number for stint, _ in self.running.values() for number in stint.shards} if self.is_dask else set()
        free = (number for number in missing if number not in handed_out)
        return (number for number in free if not self.claims.holder(_claim(self.shards, number), besides=self.owner))

    def _hear(self, job: Job, message: Message) -> None:
        if not isinstance(message, Ended):
            return
        stint, started = self.running.pop(id(job))
        if not self.is_dask:
            self.idle.append(stint)
        if message.broken:
            raise ScrutinyError(message.broken)
        if message.died:
            self._say(f"a worker ended ({message.died}); what it was at is done again")
            self.deaths_in_vain += 1
            if self.deaths_in_vain > DEATHS:
                raise ScrutinyError(f"{self.deaths_in_vain} workers in a row ended and nothing was finished; the last one: {message.died}")
        else:
            self.at_once = many_at_once(len(stint.shards), time.monotonic() - started)

    def _say(self, trouble: str) -> None:
        done = self.shards.n_done()
        self.deaths_in_vain = 0 if done > self.done else self.deaths_in_vain
        self.done = done
        self.tell(Progress(done, self.shards.n_cells, self.before, trouble))


def embed_stint(stint: Stint, data: Dataset, setting: Setting, tell: Callable[[Message], None], *, alone: bool) -> Ended:
    """Do a stint in this process. ``alone`` is not asked for: nothing is measured."""
    store = Store(setting.store)
    shards = Shards(store.cache, stint.key, data.n_cells)
    hold = partial(_claimed, store.claims, shards, stint.owner or Owner.this_process(), tell)
    try:
        for _ in work_off(_embed_of(stint, data), shards, stint.shards, hold, at_once=stint.at_once):
            pass
    except ScrutinyError as error:
        return Ended(broken=str(error))
    return Ended()


_fitted: WeakKeyDictionary[Dataset, tuple[str, Embed]] = WeakKeyDictionary()
"""What this process fitted for data that it still holds: the next stint on them does not load the model again."""


def _embed_of(stint: Stint, data: Dataset) -> Embed:
    key, embed = _fitted.get(data, ("", None))
    if embed is None or key != stint.key:
        asked = ask(data, Chosen(stint.method, stint.options), stint.seed)
        embed = partial(embed_rows, asked, asked.method.fit(asked.train, seed=asked.seed))
        _fitted[data] = (stint.key, embed)
    return embed


@contextmanager
def _claimed(claims: Claims, shards: Shards, owner: Owner, tell: Callable[[Message], None], wanted: range) -> Iterator[range]:
    """Hold the first of these shards that nobody else is at; should the process die within, their markers stay.

    One that a process has died of is held alone, so that the blame for a second death falls on the right one.
    """
    markers: dict[int, Path] = {}
    try:
        with suppress(Busy):
            for number in wanted:
                markers[number] = claims.take(_claim(shards, number), owner)
                if markers[number].suffix != FIRST:
                    if len(markers) > 1:
                        claims.withdraw(markers.pop(number))
                    break
        tell(Holding(tuple(markers.values())))
        held = wanted[: len(markers)]
        yield held if held and set(shards.missing()).issuperset(held) else held[:0]  # else somebody has just finished some of them
        for number in held:
            claims.finish(_claim(shards, number))
    except ProcessDied as died:
        cells = shards.rows(wanted[len(markers) : len(markers) + 1])
        what = f"the cells {cells.start + 1:,} to {cells.stop:,} have ended the process that embedded them {DEATHS} times ({died.how})"
        raise ScrutinyError(f"{what}. What was finished is kept; fewer processes at once need less memory") from died
    finally:
        for marker in markers.values():
            claims.withdraw(marker)
        tell(Holding(()))


def _claim(shards: Shards, number: int) -> str:
    return f"{shards.key}.{number}"


def _keep_to_oneself(message: Message) -> None:
    """Nobody listens in the process that does everything."""
