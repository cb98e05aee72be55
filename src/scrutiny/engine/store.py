"""The Store: a folder with one immutable JSON file per finished Run and a content-keyed cache of outputs.

No lock and no file that grows: to resume is to ask whether a file exists, and a process that dies at any moment leaves either a whole
record or none. ::

    runs/<key>.json          finished: ok, or found not applicable while running; never written twice
    failed/<key>.<n>.json    the n-th attempt that failed
    skipped/<key>.json       not started, and why (a package is missing, the budget is too small); may change with the machine
    started/<key>.<n>        somebody is at it, or died of it (see `claims`)
    cache/<key>.npz          outputs and shared evidence; may be deleted at any time
    studies/<key>.json       facts of the data sets and cards of the methods, tasks and metrics of each study run here
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scrutiny.core.atomic import refused, write_atomic
from scrutiny.core.errors import StoreError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.outputs import Output, output_from
from scrutiny.core.scores import Run, Status

from .cache import ArrayCache, Arrays
from .claims import Claims
from .records import UnreadableRecord, plain, run_from_json, run_to_json
from .table import tidy

log = logging.getLogger(__name__)


class Store:
    """Results in a folder. Nothing is created before the first write, and any number of processes may use one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        self.cache = ArrayCache(self.folder / "cache")
        self.claims = Claims(self.folder / "started")

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    # Runs

    def put(self, run: Run) -> None:
        """Keep a Run that was tried. One that is finished stays as it was first written; a failure is added to earlier ones."""
        key = run.spec.key
        if run.status is Status.FAILED:
            self._write(self.folder / "failed" / f"{key}.{self.failures(key) + 1}.json", run_to_json(run))
        elif not self.done(key):
            self._write(self.folder / "runs" / f"{key}.json", run_to_json(run))

    def skip(self, run: Run) -> None:
        """Keep why a Run was not started on this machine. It is looked at again by the next plan."""
        self._write(self.folder / "skipped" / f"{run.spec.key}.json", run_to_json(run))

    def done(self, key: str) -> bool:
        """Whether the Run is finished: it has a value or it was found not applicable while running."""
        return (self.folder / "runs" / f"{key}.json").exists()

    def failures(self, key: str) -> int:
        """How many attempts failed."""
        return len(list((self.folder / "failed").glob(f"{key}.*.json")))

    def runs(self) -> list[Run]:
        """What is known of every Run, sorted by key: finished, else its last failure, else why it was skipped.

        A file that cannot be read is left out with a warning that names it.
        """
        latest: dict[str, Path] = {path.stem: path for path in self._records("skipped")}
        latest |= {path.name.split(".")[0]: path for path in sorted(self._records("failed"), key=_attempt)}
        latest |= {path.stem: path for path in self._records("runs")}
        return [run for _, path in sorted(latest.items()) if (run := _read_run(path)) is not None]

    def scores(self) -> pd.DataFrame:
        """One row per Run and metric; see `table.COLUMNS`. Sorted by data set, task, label column, method and seed."""
        return tidy(sorted(self.runs(), key=_place))

    def write_csv(self, path: str | Path) -> None:
        """Write `scores` as CSV; lists of replicates as JSON."""
        table = self.scores()
        for column in ("replicates_kept", "replicates_held"):
            table[column] = [None if values is None else json.dumps(values) for values in table[column]]
        write_atomic(Path(path), lambda file: table.to_csv(file, index=False))

    def write_parquet(self, path: str | Path) -> None:
        """Write `scores` as Parquet; lists of replicates stay lists."""
        table = self.scores()
        write_atomic(Path(path), lambda file: table.to_parquet(file, index=False))

    # Outputs

    def output(self, key: str) -> Output:
        """The cached output of a Run (``run.output_key``).

        Raises
        ------
        StoreError
            If it is not in the cache: the cache was cleaned, or the Run has no output.
        """
        found = self.cached_output(key)
        if found is None:
            raise StoreError(f"no output '{key}' in {self.cache.folder}; the cache was cleaned or copied without it. Run the study again")
        return found

    def cached_output(self, key: str) -> Output | None:
        """The cached output, or None."""
        arrays = self.cache.get(key)
        return output_from(arrays.by_name) if arrays else None

    def put_output(self, key: str, output: Output, facts: Mapping[str, Any]) -> None:
        """Cache an output with what it cost to make."""
        self.cache.put(key, Arrays(output.to_arrays(), facts))

    def cache_size(self) -> int:
        """Bytes that the cache takes."""
        return self.cache.size()

    def clean_cache(self) -> int:
        """Empty the cache; returns the bytes freed. All scores stay."""
        return self.cache.clean()

    # Facts

    def add_study(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep facts of a study: ``{"datasets": {name: ...}, "methods": {name: card}, "tasks": ..., "metrics": ...}``, and its notes."""
        content = plain(facts)
        self._write(self.folder / "studies" / f"{digest_of_json(content)}.json", content)

    def study(self) -> dict[str, dict[str, Any]]:
        """Facts of all studies run here, put together; for one name the file written last is believed."""
        merged: dict[str, dict[str, Any]] = {"datasets": {}, "methods": {}, "tasks": {}, "metrics": {}}
        for path in sorted(self._records("studies"), key=lambda p: p.stat().st_mtime_ns):
            for section, things in (_read_json(path) or {}).items():
                merged.setdefault(section, {}).update(things)
        return merged

    def put_cells(self, dataset_key: str, columns: Mapping[str, Any]) -> None:
        """Keep ``cell_id`` and the columns of a data set that were used, each (n_cells,) str."""
        key = f"cells-{dataset_key}"
        if self.cache.get(key) is None:
            self.cache.put(key, Arrays({name: np.asarray(values, str) for name, values in columns.items()}))

    def cells(self, dataset: str) -> pd.DataFrame:
        """Columns that were used of a data set (column names as in the file), indexed by cell id; for colours in figures.

        Raises
        ------
        StoreError
            If the data set is not of this store or its columns are not in the cache.
        """
        key = self.study()["datasets"].get(dataset, {}).get("key", "")
        arrays = self.cache.get(f"cells-{key}")
        if arrays is None:
            raise StoreError(f"no columns of '{dataset}' in {self.cache.folder}; the cache was cleaned or copied without it")
        columns = dict(arrays.by_name)
        return pd.DataFrame(columns, index=pd.Index(columns.pop("cell_id"), name="cell_id"))

    def check_writable(self) -> None:
        """Raise StoreError now rather than after an hour if nothing can be written here."""
        probe = self.folder / ".writable"
        write_atomic(probe, lambda file: None)
        probe.unlink(missing_ok=True)

    def _records(self, kind: str) -> Iterator[Path]:
        return (path for path in (self.folder / kind).glob("*.json") if not path.name.startswith("."))

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, allow_nan=False, indent=1)
        write_atomic(path, lambda file: file.write(text.encode()))


def _place(run: Run) -> tuple[str | int, ...]:
    """Place of a Run in the table."""
    spec = run.spec
    return spec.dataset, spec.task, run.facts.get("label_column", ""), spec.method, json.dumps(plain(spec.method_options)), spec.seed


def _attempt(path: Path) -> int:
    number = path.name.split(".")[1]
    return int(number) if number.isdigit() else 0


def _read_run(path: Path) -> Run | None:
    record = _read_json(path)
    try:
        return run_from_json(record) if record is not None else None
    except UnreadableRecord as error:
        log.warning("%s is left out: %s", path, error)
        return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(path, error) from error
    except ValueError as error:
        log.warning("%s is left out: it is not JSON (%s)", path, error)
        return None
    if not isinstance(found, dict):
        log.warning("%s is left out: it holds no record", path)
        return None
    return found
