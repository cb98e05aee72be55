"""What the coordinator of a study and its workers tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from scrutiny.core.registry import DERIVED, HEADS, METHODS, METRICS, TASKS, Registry
from scrutiny.core.scores import RunSpec, Status

from .claims import Owner

REGISTRIES: dict[str, Registry] = {r.kind: r for r in (METHODS, HEADS, TASKS, METRICS, DERIVED)}


@dataclass(frozen=True)
class Job:
    """The unit of work: all Runs of one data set, method with options, and seed. They share one output, and evidence where they can."""

    dataset: str
    method: str
    options: Mapping[str, Any]
    seed: int
    specs: tuple[RunSpec, ...]
    seconds: float = 0.0
    """Estimate."""
    gpu: bool = False
    shares: frozenset[str] = frozenset()
    """Keys of outputs that it needs and other jobs need, too: two such jobs are not begun before one of them has made these."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all jobs of a study."""

    store: Path
    owner: Owner
    threads: int
    """Threads of each job, so that values do not depend on how many jobs run at once."""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    registered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Kind to name to thing: what was registered in the coordinator's process and no child can import."""


class Holding(NamedTuple):
    """The worker holds these markers: should it die, they tell of what."""

    markers: tuple[Path, ...]


class Finished(NamedTuple):
    """A Run has its record."""

    key: str
    status: Status
    reason: str


class Ended(NamedTuple):
    """The worker is done with the job, or can go no further."""

    busy: str = ""
    """Key of work that another process is at; the rest of the job waits for it."""
    died: str = ""
    """How the process ended, if not by itself ("signal 9 (SIGKILL)")."""
    early: bool = False
    """It died before it had claimed anything, so no marker tells of it."""
    broken: str = ""
    """Why no job at all can go on: the store cannot be written."""


Message = Holding | Finished | Ended


class Pool(Protocol):
    """Where jobs run. A job that is submitted ends with exactly one `Ended`, whatever happens to its worker."""

    @property
    def n_free(self) -> int:
        """How many more jobs may be submitted now."""
        ...

    def submit(self, job: Job) -> None: ...

    def messages(self, timeout: float) -> list[tuple[Job, Message]]:
        """What the workers told since the last call; waits up to ``timeout`` seconds for something."""
        ...

    def stop(self) -> None:
        """End all workers at once. What they were at counts as interrupted, not as failed."""
        ...


def registered_here() -> dict[str, dict[str, Any]]:
    """What this process registered, for `Setting.registered`."""
    return {kind: registry.registered for kind, registry in REGISTRIES.items()}


def register_all(registered: Mapping[str, Mapping[str, Any]]) -> None:
    """Know in this process what the coordinator registered."""
    for kind, things in registered.items():
        REGISTRIES[kind].adopt(things)
