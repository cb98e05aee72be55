"""Results: a number or the reason why there is none, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .keys import digest_of_json


class Status(StrEnum):
    OK = "ok"
    NOT_APPLICABLE = "not_applicable"
    FAILED = "failed"


class Measured(NamedTuple):
    """What a metric may return instead of a bare float."""

    value: float
    per_cell: NDArray[np.floating] | None = None
    """(n_cells,) contributions whose mean over finite entries is ``value``; NaN where a cell does not count."""
    details: Mapping[str, Any] = {}
    """JSON facts worth keeping: the resolution picked, labels left out, values per label."""


@dataclass(frozen=True)
class Replicates:
    """Values on parts of the cells, the same parts for every method of a data set, task and metric.

    The cells are dealt into ``n_folds`` folds, ``len(kept) / n_folds`` times. Replicate ``i`` has the value on the cells outside one
    fold (``kept``, what is compared) and on that fold alone (``held``, where the cheap baseline is chosen).
    """

    scheme: str
    n_folds: int
    kept: tuple[float | None, ...]
    held: tuple[float | None, ...]


@dataclass(frozen=True)
class Score:
    """One metric of one Run. ``value`` is None unless ``status`` is ok."""

    metric: str
    status: Status
    value: float | None = None
    reason: str = ""
    seconds: float = 0.0
    version: str = "1"
    details: Mapping[str, Any] = field(default_factory=dict)
    replicates: Replicates | None = None


@dataclass(frozen=True)
class Cost:
    """What a Run took.

    Memory is the peak of the process by the time the output was there (scoring costs the same for all methods and is left out); None
    where it could not be measured.
    """

    seconds_fit: float = 0.0
    seconds_embed: float = 0.0
    seconds_score: float = 0.0
    peak_memory_mb: float | None = None
    gpu: str = ""
    trainable: int | None = None
    """Parameters that were learnt from the training cells; None: the method does not count them."""
    n_answered: int | None = None
    """Cells that ``seconds_embed`` were spent on."""
    cached: bool = False
    """The output came from the cache; the seconds are those of the run that made it."""


@dataclass(frozen=True)
class RunSpec:
    """The unit of planning, caching, failure, cost and resume."""

    method: str
    dataset: str
    task: str
    seed: int
    method_version: str
    task_version: str
    data_key: str
    """Fingerprint of the data and key of the columns that the task and the method read."""
    method_options: Mapping[str, Any] = field(default_factory=dict)
    task_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return digest_of_json({**content, "method_options": dict(self.method_options), "task_options": dict(self.task_options)})


@dataclass(frozen=True)
class Run:
    """A finished Run: what was asked, what came out, what it cost, and what it ran on."""

    spec: RunSpec
    status: Status
    reason: str = ""
    scores: tuple[Score, ...] = ()
    cost: Cost = Cost()
    output_key: str = ""
    """Key of the cached output ('' if there is none)."""
    n_dims: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the data set and the method for the report (cells, genes, roles, kind, notes)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    """UTC time, ISO 8601."""
