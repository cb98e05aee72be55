"""Scores of one output: each metric in its own ``try`` and on its own clock."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.errors import ContractError, NotApplicable, StoreError
from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import METRICS
from scrutiny.core.scores import Score, Status

from .resample import deal, replicates

REASON_LENGTH = 400
log = logging.getLogger(__name__)


class Cells(NamedTuple):
    """The cells of a score, for dealing them into folds."""

    ids: NDArray[np.str_]
    donors: NDArray[np.str_] | None = None


def score_all(task: TaskCard, evidence: Evidence, cells: Cells, *, with_replicates: bool) -> tuple[Score, ...]:
    """All metrics of a task; with replicates of the primary one, if it has a value.

    Evidence that several metrics need is charged to the first of them.
    """
    scores = {name: _score(name, evidence) for name in task.metrics}
    primary = scores[task.primary]
    if with_replicates and primary.status is Status.OK:
        started = time.perf_counter()
        repeats = METRICS.get(task.primary).card.repeats
        dealt = deal(_strata(evidence, cells.ids), cells.ids, repeats=repeats, donors=cells.donors)
        found = replicates(evidence, task.primary, dealt)
        scores[task.primary] = replace(primary, replicates=found, seconds=primary.seconds + time.perf_counter() - started)
    return tuple(scores.values())


def reason_for(error: Exception) -> str:
    """One line for a record: the message of our own errors, type and message of others."""
    first = (str(error).strip().splitlines() or [""])[0]
    return (first if isinstance(error, NotApplicable) else f"{type(error).__name__}: {first}")[:REASON_LENGTH]


def _score(name: str, evidence: Evidence) -> Score:
    version = METRICS.get(name).card.version
    started = time.perf_counter()
    found: dict[str, Any]
    try:
        measured = evidence.measure(name)
        if not np.isfinite(measured.value):
            raise ContractError(f"the metric returned {measured.value}; expected a finite number, or NotApplicable with a reason")
        found = {"status": Status.OK, "value": float(measured.value), "details": dict(measured.details)}
    except StoreError:
        raise
    except NotApplicable as error:
        found = {"status": Status.NOT_APPLICABLE, "reason": reason_for(error)}
    except Exception as error:  # noqa: BLE001 - one metric must not end the run
        log.info("the metric %s failed", name, exc_info=True)
        found = {"status": Status.FAILED, "reason": reason_for(error)}
    return Score(name, seconds=time.perf_counter() - started, version=version, **found)


def _strata(evidence: Evidence, cell_ids: NDArray[np.str_]) -> NDArray[np.str_]:
    for name in ("labels", "batch"):
        if name in evidence.given:
            return np.asarray(evidence.given[name], str)
    return np.zeros(len(cell_ids), dtype="U1")
