"""Carrying out a plan: hands jobs to a pool of workers, tries again what died, waits for what others are at, and tells how far it is."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from scrutiny.core.errors import StoreError
from scrutiny.core.scores import Run, Status

from .claims import DEATHS, Owner
from .jobs import Ended, Finished, Holding, Job, Message, Pool
from .plan import Plan, Planned, State
from .store import Store

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Event:
    """How far a study is.

    Attributes
    ----------
    kind
        "planned": it begins. "started": a job has a worker. "finished": a Run has its record. "waiting": another process is at a job.
        "died": a job ended its process.
    done, total
        Runs that were to do.
    seconds_left
        By the estimates of the cards, corrected by how long things took so far; None while nothing is known.
    status, reason
        Of a finished Run; the reason also of waiting and dying.
    """

    kind: Literal["planned", "started", "finished", "waiting", "died"]
    done: int
    total: int
    seconds_left: float | None = None
    dataset: str = ""
    method: str = ""
    task: str = ""
    seed: int | None = None
    status: Status | None = None
    reason: str = ""


class Conductor:
    """One execution of a plan."""

    def __init__(self, plan: Plan, store: Store, owner: Owner, on_event: Callable[[Event], None]) -> None:
        self.store, self.owner, self.on_event = store, owner, on_event
        self.runs: dict[str, Planned] = {run.spec.key: run for run in plan.of(State.TO_DO)}
        self.failures = {key: store.failures(key) for key in self.runs}
        self.queue = deque(plan.jobs())
        self.waiting: list[tuple[Job, str]] = []
        self.early_deaths: Counter[str] = Counter()
        self.left = set(self.runs)
        self.failed: set[str] = set()
        self.under_way: dict[str, Job] = {}
        """Jobs that a worker has, by the key of their first Run."""
        self.made: set[tuple[str, str]] = set()
        """Data set and key of outputs that jobs share and one of them has made."""
        self.shares = {spec.key: job.seconds / len(job.specs) for job in self.queue for spec in job.specs}
        self.started = time.monotonic()

    def carry_out(self, pool: Pool) -> None:
        """Return when every Run has a record.

        Raises
        ------
        StoreError
            If the store can no longer be written. All workers are ended; what was recorded is kept.
        """
        self._tell(Event("planned", 0, len(self.runs)))
        try:
            while self.queue or self.waiting or self.under_way:
                while pool.n_free > 0 and (job := self._next()):
                    self._start(pool, job)
                for job, message in pool.messages(POLL_SECONDS):
                    if isinstance(message, Ended):
                        self._after(job, message)
                    self._handle(job, message)
                if not self.under_way and not self.queue:
                    time.sleep(POLL_SECONDS)
                self._look_at_waiting()
        finally:
            pool.stop()

    def _next(self) -> Job | None:
        """The first job that shares no output with one under way which may be making it; it leaves the queue."""
        making = {shared for job in self.under_way.values() for shared in self._to_make(job)}
        for job in self.queue:
            if not making & self._to_make(job):
                self.queue.remove(job)
                return job
        return None

    def _to_make(self, job: Job) -> set[tuple[str, str]]:
        return {(job.dataset, key) for key in job.shares} - self.made

    def _after(self, job: Job, ended: Ended) -> None:
        """What a job shares with others is there now, unless it failed or went no further."""
        del self.under_way[job.specs[0].key]
        if ended == Ended() and not any(spec.key in self.failed for spec in job.specs):
            self.made |= self._to_make(job)

    def _start(self, pool: Pool, job: Job) -> None:
        left = self._left_of(job)
        if left.specs:
            self.under_way[left.specs[0].key] = left
            pool.submit(left)
            self._tell(self._event("started", left))

    def _handle(self, job: Job, message: Message) -> None:
        match message:
            case Finished(key, status, reason):
                self._finish(key, status, reason)
            case Ended(broken=broken) if broken:
                raise StoreError(broken)
            case Ended(busy=key) if key:
                self.waiting.append((job, key))
                self._tell(self._event("waiting", job, reason=f"waits for {self.store.claims.holder(key, besides=self.owner)}"))
            case Ended(died=died) if died:
                self._after_death(job, message)
            case Ended():
                self._left_of(job)  # what is recorded although nobody said so
            case Holding():
                pass

    def _after_death(self, job: Job, ended: Ended) -> None:
        """Try what is left once more; the markers see to it that nothing is tried for ever."""
        self._tell(self._event("died", job, reason=ended.died))
        name = job.specs[0].key
        self.early_deaths[name] += ended.early
        if self.early_deaths[name] < DEATHS:
            self.queue.append(job)
            return
        for spec in self._left_of(job).specs:
            reason = f"its process ended {DEATHS} times before it began ({ended.died}); --retry tries it again"
            self.store.put(Run(spec, Status.FAILED, reason, facts=self.runs[spec.key].facts))
            self._finish(spec.key, Status.FAILED, reason)

    def _look_at_waiting(self) -> None:
        free = [(job, key) for job, key in self.waiting if not self.store.claims.holder(key, besides=self.owner)]
        for job, key in free:
            self.waiting.remove((job, key))
            self.queue.append(job)

    def _left_of(self, job: Job) -> Job:
        """The job without the Runs that have a record by now, be it of another process."""
        for spec in job.specs:
            if spec.key in self.left and (self.store.done(spec.key) or self.store.failures(spec.key) > self.failures[spec.key]):
                self._finish(spec.key, None, "is recorded already")
        return replace(job, specs=tuple(spec for spec in job.specs if spec.key in self.left))

    def _finish(self, key: str, status: Status | None, reason: str) -> None:
        self.left.discard(key)
        if status is Status.FAILED:
            self.failed.add(key)
        spec = self.runs[key].spec
        event = Event("finished", 0, 0, None, spec.dataset, self.runs[key].called, spec.task, spec.seed, status, reason)
        self._tell(event)

    def _event(self, kind: Literal["started", "waiting", "died"], job: Job, reason: str = "") -> Event:
        return Event(kind, 0, 0, None, job.dataset, self.runs[job.specs[0].key].called, seed=job.seed, reason=reason)

    def _tell(self, event: Event) -> None:
        done = len(self.runs) - len(self.left)
        self.on_event(replace(event, done=done, total=len(self.runs), seconds_left=self._seconds_left()))

    def _seconds_left(self) -> float | None:
        finished = sum(share for key, share in self.shares.items() if key not in self.left)
        left = sum(self.shares[key] for key in self.left)
        return (time.monotonic() - self.started) * left / finished if finished else None
