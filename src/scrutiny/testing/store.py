"""The contract of a store: what the engine and the report rely on, for those who keep results elsewhere than in a folder of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.scores import Cost, Replicates, Run, RunSpec, Score, Status
from scrutiny.engine.table import COLUMNS

from .checks import CheckResult, run_checks

N_WRITERS = 8


@dataclass(frozen=True, eq=False)
class StoreTrial:
    """A store to be checked: ``make(folder)`` opens the one that lives there, empty at first."""

    make: Callable[[Path], Any]
    folder: Path

    def store(self, name: str) -> Any:
        """The store of one check; opened again it must know what it knew."""
        return self.make(self.folder / name)


def check_reading_makes_nothing(trial: StoreTrial) -> None:
    """Reading an empty store gives an empty table with all columns, and leaves no trace."""
    store = trial.store("empty")
    table = store.scores()
    assert store.runs() == [] and len(table) == 0, "an empty store has no runs"
    assert list(table.columns) == list(COLUMNS), f"the table of an empty store has the columns {list(table.columns)}"
    assert not store.done("0" * 16) and store.cached_output("0" * 16) is None, "an empty store has nothing"
    assert not (trial.folder / "empty").exists(), "reading made something"


def check_runs_come_back(trial: StoreTrial) -> None:
    """A Run comes back from a store that is opened again as it was put, replicates and details included."""
    run = made_run()
    trial.store("back").put(run)
    assert trial.store("back").runs() == [run], f"put {run}, got {trial.store('back').runs()}"
    assert trial.store("back").done(run.spec.key), "a finished run is not done"


def check_finished_runs_stay(trial: StoreTrial) -> None:
    """A finished Run is never replaced, not by another value and not by a failure."""
    first = made_run()
    for run in (first, made_run(value=0.9), replace(first, status=Status.FAILED, scores=())):
        trial.store("stay").put(run)
    assert trial.store("stay").runs() == [first], "a finished run was replaced"


def check_failures_are_counted(trial: StoreTrial) -> None:
    """Each failure counts, the last one is shown, and none of them makes the Run done."""
    failed = [replace(made_run(), status=Status.FAILED, scores=(), reason=f"attempt {n}") for n in range(12)]
    for run in failed:
        trial.store("failures").put(run)
    store, key = trial.store("failures"), failed[0].spec.key
    assert store.failures(key) == 12 and not store.done(key), f"12 failures are counted as {store.failures(key)}"
    assert [run.reason for run in store.runs()] == ["attempt 11"], "the last failure is not the one that is shown"


def check_skipped_runs_are_open(trial: StoreTrial) -> None:
    """A skipped Run shows its latest reason and is neither done nor failed."""
    for reason in ("first", "second"):
        trial.store("skipped").skip(Run(made_run().spec, Status.NOT_APPLICABLE, reason))
    store, key = trial.store("skipped"), made_run().spec.key
    assert [run.reason for run in store.runs()] == ["second"], "the latest reason is not shown"
    assert not store.done(key) and not store.failures(key), "a skipped run counts as done or failed"


def check_a_missing_number_has_a_row(trial: StoreTrial) -> None:
    """The table has one row per Run and metric; where there is no number there is a status, never a value."""
    store = trial.store("rows")
    store.put(made_run())
    store.put(replace(made_run(method="broken"), status=Status.FAILED, scores=(), reason="why"))
    table = trial.store("rows").scores().set_index(["method", "metric"])
    assert len(table) == 4, f"2 runs of 2 metrics gave {len(table)} rows"
    assert table.loc[("sound", "f1"), "value"] == 0.5, "a value is lost"
    assert table.loc["broken", "value"].isna().all() and set(table.loc["broken", "reason"]) == {"why"}, "a failure has values, or no reason"


def check_outputs_come_back(trial: StoreTrial) -> None:
    """An output comes back with its ids in its order; cleaning the cache loses outputs and no Run."""
    output = CellEmbedding(np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3), np.array(["d", "b", "ä", "a"]))
    store = trial.store("outputs")
    store.put(made_run())
    store.put_output("key", output, {})
    found = trial.store("outputs").output("key")
    assert np.array_equal(found.values, output.values) and list(found.cell_ids) == list(output.cell_ids), "the output has changed"
    size = store.cache_size()
    assert size > 0 and store.clean_cache() == size and store.cached_output("key") is None, "the cache was not cleaned"
    assert len(trial.store("outputs").runs()) == 1, "cleaning the cache lost a run"


def check_many_writers(trial: StoreTrial) -> None:
    """Writers at the same time lose nothing, and agree on one record where they write the same Run."""
    store = trial.store("writers")
    runs = [made_run(method=f"method {n}") for n in range(N_WRITERS)]

    def write(n: int) -> None:
        store.put(runs[n])
        store.put(made_run())

    with ThreadPoolExecutor(N_WRITERS) as pool:
        list(pool.map(write, range(N_WRITERS)))
    found = {run.spec.key for run in trial.store("writers").runs()}
    assert found == {run.spec.key for run in [*runs, made_run()]}, f"{N_WRITERS + 1} runs were written, {len(found)} are there"


STORE_CHECKS = (
    check_reading_makes_nothing,
    check_runs_come_back,
    check_finished_runs_stay,
    check_failures_are_counted,
    check_skipped_runs_are_open,
    check_a_missing_number_has_a_row,
    check_outputs_come_back,
    check_many_writers,
)


def check_store(
    make: Callable[[Path], Any], *, expected_failures: Mapping[str, str] = {}, on_fail: Literal["raise", "report"] = "raise"
) -> list[CheckResult]:
    """Check a store.

    Parameters
    ----------
    make
        Opens the store that lives in a folder, e.g. `scrutiny.engine.store.Store` itself.
    expected_failures
        Name of a check to the reason why it must fail; a listed check that passes is a failure too.
    on_fail
        "raise" raises after all checks have been made, "report" only returns what was found.

    Raises
    ------
    ContractError
        If a check fails and ``on_fail`` is "raise".
    """
    with TemporaryDirectory() as folder:
        trial = StoreTrial(make, Path(folder))
        return run_checks(STORE_CHECKS, trial, expected_failures=expected_failures, on_fail=on_fail)


def made_run(value: float = 0.5, *, method: str = "sound") -> Run:
    """A finished Run with two metrics, one of them with replicates."""
    spec = RunSpec(method, "cells", "task", 0, "1", "1", "data", {"k": 5}, {"label": "cell_type"})
    score = Score("f1", Status.OK, value, details={"per label": {"T": 0.5}}, replicates=Replicates("folds", 5, (0.4, None), (0.6, 0.5)))
    scores = (score, Score("asw", Status.NOT_APPLICABLE, reason="one label"))
    facts = {"kind": "baseline", "primary": "f1", "metrics": {"f1": {"better": "higher"}, "asw": {"better": "higher"}}}
    return Run(spec, Status.OK, "", scores, Cost(1.0, 2.0, 3.0, 4.0), "output", 3, facts, {"numpy": "2"}, "2025-01-01T00:00:00+00:00")
