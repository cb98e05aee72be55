"""From files of cells to a corpus, in two passes over the files: judge each cell, then scatter the kept ones into shards.

Everything is written into a folder of another name beside the one that was asked for, step by step, and a build that was stopped goes on
with the step that it was in. The manifest is written last, and then the folder gets its name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from scrutiny.core.atomic import refused, remove_parts
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError

from .corpus import Corpus, is_manifest_of_ours
from .corpus_config import CorpusConfig
from .corpus_duplicates import Known
from .corpus_judge import Judge, Judged, marks_of
from .corpus_manifest import Built, columns_of, key_of, medians_of, write_manifest
from .corpus_shards import FOUND, Columns, Dealing, Found, Scatter, gather, write_shard
from .corpus_sources import Source, Union, source_of


class Progress(NamedTuple):
    """How far a build is: cells ``done`` of ``total`` in this step."""

    step: str
    done: int
    total: int


Tell = Callable[[Progress], object]


def build_corpus(config: CorpusConfig, out: str | Path, *, tell: Tell = lambda progress: None) -> Corpus:
    """The corpus of a config in the folder ``out``: the finished one if it is there, else built; a build that was stopped goes on.

    A file whose values take up to about 1 GB is in memory while it is read, of a larger one a chunk; beside that a build holds some 50
    bytes a cell.

    Raises
    ------
    InputError
        If a file cannot be used, no cell or gene is left, or ``out`` holds something else.
    StoreError
        If it cannot be written.
    """
    out = Path(out).absolute()
    sources = {file.name: source_of(file, config) for file in (*config.files, *config.hold_out_cells_of)}
    key = key_of(config, {name: source.sha256 for name, source in sources.items()})
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.with_name(f".{out.name}.lock")):
            if _is_to_be_built(out, key):
                work = _working_folder(out, key)
                _Build(config, sources, key, work, tell).run()
                os.replace(work, out)
    except OSError as error:
        raise refused(out, error) from error
    return Corpus(out)


def _is_to_be_built(out: Path, key: str) -> bool:
    """Whether a folder is free; False if it holds the corpus already. Raises InputError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    if not is_manifest_of_ours(out):
        raise InputError(f"{out} is there and holds no corpus; name a new folder, nothing is written over")
    if Corpus(out).manifest["key"] == key:
        return False
    raise InputError(f"{out} holds a corpus of another config, or of files that have changed; name a new folder, or remove that one")


def _working_folder(out: Path, key: str) -> Path:
    """Where this corpus is built, with what an earlier call left of it; what was left of others for the same place is removed."""
    work = out.with_name(f".{out.name}.{key}.part")
    for other in out.parent.glob(f".{out.name}.*.part"):
        if other != work:
            shutil.rmtree(other)
    work.mkdir(exist_ok=True)
    remove_parts(work)
    return work


@dataclass(frozen=True, eq=False)
class _Build:
    """One build in its working folder."""

    config: CorpusConfig
    sources: Mapping[str, Source]
    key: str
    work: Path
    tell: Tell

    def run(self) -> None:
        """All steps; what an earlier call finished is not done again."""
        for name in self.held:
            self._set_apart(name)
        for name in self.names:
            self._judge(name)
        judged = {name: Judged.load(self._path("judged", name)) for name in self.names}
        columns = columns_of(self.union, judged, self.config)
        dealing = Dealing.of(np.concatenate([some.whole for some in judged.values()]), self.config)
        for name in self.names:
            self._scatter(name, judged[name], Scatter(columns, dealing))
        found = {name: Found.load(self._path("pieces", name) / FOUND) for name in self.names}
        columns = columns.with_medians(medians_of(found.values(), len(columns.rows)))
        shards = self._gather(columns, dealing)
        held = [Judged.load(self._path("held", name)).whole for name in self.held]
        write_manifest(self.work, Built(self.config, self.key, self.sources, self.judge, columns, dealing, judged, found, shards, held))
        for finished in ("held", "judged", "pieces"):
            shutil.rmtree(self.work / finished, ignore_errors=True)

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.config.files]

    @cached_property
    def held(self) -> list[str]:
        """Files that hold cells which no cell of the corpus may equal: those beside it, and those of it that a rule may name."""
        return [file.name for file in self.config.hold_out_cells_of] + (self.names if self.config.hold_out else [])

    @cached_property
    def union(self) -> Union:
        return Union.of([self.sources[file.name] for file in (*self.config.files, *self.config.hold_out_cells_of)])

    @cached_property
    def judge(self) -> Judge:
        return Judge(self.config, self.union, [f"{name} (held out)" for name in self.held] + self.names)

    def _path(self, step: str, name: str) -> Path:
        """Where a step puts what it found of a file: by number, as names may hold anything."""
        number = list(self.sources).index(name)
        return self.work / step / (f"{number:05d}" if step == "pieces" else f"{number:05d}.npz")

    def _set_apart(self, name: str) -> None:
        path, source = self._path("held", name), self.sources[name]

        def is_held(data: Dataset) -> NDArray[np.bool_]:
            is_beside = name not in self.names
            return np.ones(data.n_cells, dtype=bool) if is_beside else self.judge.ruled_out(source, source.studies(data)) >= 0

        if not path.exists():
            self.judge.set_apart(source, is_held, self._teller("reading cells held out", self.held, name)).save(path)

    def _judge(self, name: str) -> None:
        path, own_list, known = self._path("judged", name), self.union.list_of[name], Known()
        if path.exists():
            return
        before = self.names[: self.names.index(name)]
        for owner, other in enumerate((*self.held, *before)):
            step = "held" if owner < len(self.held) else "judged"
            known.add(marks_of(self._path(step, other), own_list), owner)
        tell = self._teller("judging cells", self.names, name)
        self.judge.judge(self.sources[name], known, len(self.held) + len(before), tell).save(path)

    def _scatter(self, name: str, judged: Judged, scatter: Scatter) -> None:
        folder = self._path("pieces", name)
        if not folder.exists():
            scatter(self.sources[name], judged, self.union.columns[name], folder, self._teller("dealing cells", self.names, name))

    def _gather(self, columns: Columns, dealing: Dealing) -> list[str]:
        """Write the shards; those that have cells are returned."""
        folders = {name: self._path("pieces", name) for name in self.names}
        total, written = sum(source.n_cells for source in self.sources.values()), []
        for number, name in enumerate(dealing.names):
            path = self.work / name
            if not path.exists() and (cells := gather(folders, number, len(columns.rows))) is not None:
                write_shard(path, cells, columns.table)
            written += [name] if path.exists() else []
            self.tell(Progress("writing shards", total * (number + 1) // len(dealing.names), total))
        return written

    def _teller(self, step: str, names: list[str], name: str) -> Callable[[int], object]:
        """Tells how far a step is over all its files, given the cells of one as they are read."""
        sizes = [self.sources[other].n_cells for other in names]
        done = sum(sizes[: names.index(name)])

        def tell(n_cells: int) -> None:
            nonlocal done
            done += n_cells
            self.tell(Progress(step, done, sum(sizes)))

        return tell
