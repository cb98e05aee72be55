"""A command in an environment of its own: it reads an h5ad file and writes ids and vectors. No shell is involved."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Self
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import ContractError, InputError
from scrutiny.core.outputs import CellEmbedding

LAST_LINES = 15
"""Lines of the command's error output that are quoted when it fails."""

Format = Literal["npz", "csv", "parquet"]


class External:
    """Runs a command on the cells to be embedded, which is how a model of another environment is scored.

    The command gets the path of an h5ad file (``X`` the values, ``obs`` with a column ``batch`` where the data have batches, never
    labels, ``uns["scale"]`` and ``uns["organism"]``) and the path where it has to write: an npz file with ``cell_ids`` (n_cells,)
    and ``values`` (n_cells, n_dims), or a csv or parquet table whose first column holds the ids. Rows may come in any order.

    Parameters
    ----------
    command
        The program and its arguments, one by one, e.g. ``["conda", "run", "-n", "scgpt", "python", "embed.py", "{input}", "{output}"]``.
        ``{input}``, ``{output}`` and ``{seed}`` are filled in; the two paths are added at the end where neither is named.
    output
        What the command writes: ``npz``, ``csv`` or ``parquet``.
    timeout
        Seconds after which the command and all that it started are ended.
    version
        Any text; change it when the command's numbers change, since its content is not part of the record.
    """

    card = MethodCard(
        "external",
        "a command that embeds the cells of an h5ad file in an environment of its own",
        scale=None,
        reads=frozenset({"batch"}),
        optional=frozenset({"batch"}),
        seeded=True,
        trained_on=None,
        seconds_per_1000_cells=30.0,
        seconds_to_start=30.0,
    )

    def __init__(self, command: Sequence[str], output: Format = "npz", timeout: float = 3600.0, version: str = "") -> None:
        if isinstance(command, str) or not command:
            raise InputError(f"the command must be a list of a program and its arguments, found {command!r}")
        if output not in READERS:
            raise InputError(f"an external command can write {sorted(READERS)}, not '{output}'")
        self.command, self.output, self.timeout, self.version = list(command), output, timeout, version

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._seed = seed
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        with TemporaryDirectory(prefix="scrutiny-") as name:
            folder = Path(name)
            written = folder / f"embedding.{self.output}"
            write_cells(query, folder / "cells.h5ad")
            run(self._filled(folder / "cells.h5ad", written), self.timeout, folder)
            if not written.exists():
                raise ContractError(f"the command {self.command} ended well but did not write {written.name}")
            try:
                return READERS[self.output](written)
            except (ValueError, OSError, BadZipFile) as error:
                raise ContractError(f"what the command wrote to {written.name} cannot be read: {error}") from error

    def _filled(self, cells: Path, written: Path) -> list[str]:
        named = any("{input}" in part or "{output}" in part for part in self.command)
        command = self.command if named else [*self.command, "{input}", "{output}"]
        values = {"{input}": str(cells), "{output}": str(written), "{seed}": str(self._seed)}
        for mark, value in values.items():
            command = [part.replace(mark, value) for part in command]
        return command


def write_cells(data: Dataset, path: Path) -> None:
    """Write what the command may know: values, ids, genes and, where there are any, batches."""
    import anndata

    obs = data.obs[[]].assign(**({"batch": data.role("batch")} if data.has("batch") else {}))
    uns = {"scale": str(data.scale), "organism": data.organism}
    anndata.AnnData(data.values, obs=obs, var=data.var, uns=uns).write_h5ad(path)


def run(command: list[str], timeout: float, folder: Path) -> None:
    """Run a command without a shell; what it says goes to files in ``folder``.

    Raises
    ------
    ContractError
        If it cannot be started, takes longer than ``timeout`` seconds (then its whole process group is ended) or fails.
    """
    said, complained = folder / "stdout", folder / "stderr"
    with said.open("wb") as out, complained.open("wb") as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        except OSError as error:
            raise ContractError(f"the command '{command[0]}' cannot be started: {error}") from error
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ContractError(f"the command {command} was ended after {timeout:g} s; {_last_lines(complained)}") from None
        finally:
            if process.poll() is None:
                _end_group(process)
    if status:
        raise ContractError(f"the command {command} failed with status {status}; {_last_lines(complained)}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the running command and all that it started; it leads a process group of its own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
    return "it wrote no error message" if not lines else "its last words:\n" + "\n".join(lines)


def _read_npz(path: Path) -> CellEmbedding:
    with np.load(path, allow_pickle=False) as arrays:
        lacking = {"cell_ids", "values"} - set(arrays)
        if lacking:
            raise ContractError(f"the command wrote an npz file without {sorted(lacking)}; it has {sorted(arrays)}")
        return CellEmbedding(arrays["values"], arrays["cell_ids"].astype(str))


def _read_csv(path: Path) -> CellEmbedding:
    return _from_table(pd.read_csv(path, dtype={0: str}))


def _read_parquet(path: Path) -> CellEmbedding:
    table = pd.read_parquet(path)
    return _from_table(table if isinstance(table.index, pd.RangeIndex) else table.reset_index())


def _from_table(table: pd.DataFrame) -> CellEmbedding:
    """The first column holds the ids, all others the vectors; so ids never end up as a feature."""
    numbers = table.iloc[:, 1:]
    odd = [str(c) for c in numbers if not pd.api.types.is_numeric_dtype(numbers[c])]
    if odd:
        raise ContractError(f"the columns {odd[:3]} of the command's table hold no numbers; ids belong in the first column only")
    return CellEmbedding(numbers.to_numpy(np.float32), table.iloc[:, 0].astype(str).to_numpy(str))


READERS = {"npz": _read_npz, "csv": _read_csv, "parquet": _read_parquet}
