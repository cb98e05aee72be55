"""Which cells get into a corpus: those that are good enough, not held out, and not there already. One file at a time, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.atomic import write_atomic
from scrutiny.core.dataset import Dataset

from .cell_hashes import OnPanels, cell_hashes, gene_keys
from .corpus_config import CorpusConfig
from .corpus_duplicates import Known, marked_by
from .corpus_genes import own_ids, placed
from .corpus_quality import Quality
from .corpus_sources import Source, Union

KEPT = -1
NO_GENE = "express no gene of the corpus"
Tell = Callable[[int], object]
"""Called with the number of cells that were read."""


class Judged(NamedTuple):
    """What was found out about the cells of a file.

    Attributes
    ----------
    whole
        (n_kept,) uint64: each kept cell over all genes of its file, as the file itself calls them.
    marks
        For each list of genes, the hashes that no later cell may have.
    verdict
        (n_cells,) int32: `KEPT`, or the number of the reason for which a cell is left out.
    study, studies
        (n_cells,) int32 number of the study of each cell, and the names of the studies.
    n_expressing
        (n_rows,) int64: kept cells that express each gene of the union.
    """

    whole: NDArray[np.uint64]
    marks: list[NDArray[np.uint64]]
    verdict: NDArray[np.int32]
    study: NDArray[np.int64]
    studies: NDArray[np.str_]
    n_expressing: NDArray[np.int64]

    def save(self, path: Path) -> None:
        arrays = self._asdict() | {f"marks_{i}": hashes for i, hashes in enumerate(self.marks)}
        del arrays["marks"]
        write_atomic(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> Judged:
        """As it was saved, without the marks; for those see `marks_of`."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in cls._fields if name != "marks"}, marks=[])


def marks_of(path: Path, list_number: int) -> NDArray[np.uint64]:
    """The hashes for one list of genes, of a saved `Judged`."""
    with np.load(path, allow_pickle=False) as file:
        return file[f"marks_{list_number}"]


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges the cells of files in their order.

    Attributes
    ----------
    owners
        Whose cells others are compared with, in the words of the manifest.
    """

    config: CorpusConfig
    union: Union
    owners: Sequence[str]

    def reasons(self, source: Source) -> tuple[str, ...]:
        """All that may keep a cell of a file out, by the numbers of a verdict."""
        rules = (f"are held out by '{rule}'" for rule in self.config.hold_out)
        equal = (f"equal a cell of {owner}" for owner in self.owners)
        return (*rules, *Quality.of(self.config, source.names).reasons, *equal, NO_GENE)

    def ruled_out(self, source: Source, studies: NDArray[np.str_]) -> NDArray[np.int64]:
        """The first rule ``hold_out`` that names the file or the study of each cell (n_cells,); -1 where none does."""
        distinct, which = np.unique(studies, return_inverse=True)
        named = [[fnmatchcase(source.name, rule) or fnmatchcase(study, rule) for rule in self.config.hold_out] for study in distinct]
        return np.array([names.index(True) if any(names) else KEPT for names in named], dtype=np.int64)[which]

    def set_apart(self, source: Source, is_held: Callable[[Dataset], NDArray[np.bool_]], tell: Tell) -> Judged:
        """The marks of cells that no cell of the corpus may equal: those of a file, good or not, that are held (n_cells,).

        ``whole`` has those of them alone that express enough genes of every list to be compared with all cells of the corpus.
        """
        data = source.open()
        held, hashing, compared = is_held(data), _Hashing(self.union, source, data), []
        for start, stop, values in data.matrix.chunks() if held.any() else ():
            cells = hashing(values[held[start:stop]])
            hashing.keep(cells)
            compared.append(cells.whole[cells.marks.to_tell.all(axis=0)])
            tell(stop - start)
        return hashing.judged(np.where(held, KEPT, 0), source.studies(data))._replace(whole=_joined(compared))

    def judge(self, source: Source, known: Known, owner: int, tell: Tell) -> Judged:
        """All cells of a file. ``known`` are those that they are compared with; the ones that stay are added to it as ``owner``'s."""
        data = source.open()
        studies, quality = source.studies(data), Quality.of(self.config, source.names)
        ruled, verdicts = self.ruled_out(source, studies), np.full(data.n_cells, KEPT, dtype=np.int32)
        n_rules, hashing = len(self.config.hold_out), _Hashing(self.union, source, data)
        for start, stop, values in data.matrix.chunks():
            faults = quality.faults(values)
            verdict = np.where(ruled[start:stop] >= 0, ruled[start:stop], np.where(faults >= 0, n_rules + faults, KEPT))
            good = np.flatnonzero(verdict == KEPT)
            cells = hashing(values[good])
            equal = hashing.equal_to(cells, known, owner)
            verdict[good] = np.where(equal >= 0, n_rules + len(quality.reasons) + equal, KEPT)
            known.add(hashing.keep(cells, equal < 0), owner)
            verdicts[start:stop] = verdict
            tell(stop - start)
        return hashing.judged(verdicts, studies)


class _Cells(NamedTuple):
    """Some cells as numbers: ``whole`` (n,), the marks, and their counts (n, n_rows) of all genes of the union."""

    whole: NDArray[np.uint64]
    marks: OnPanels
    counts: sparse.csr_matrix


class _Hashing:
    """Turns the cells of one file into numbers and collects those of the cells that stay."""

    def __init__(self, union: Union, source: Source, data: Dataset) -> None:
        self.lists, self.columns, self.own_list = union.lists, union.columns[source.name], union.list_of[source.name]
        self.own_keys = gene_keys(own_ids(data))
        self.n_expressing = np.zeros(len(union.genes), dtype=np.int64)
        self.whole: list[NDArray[np.uint64]] = []
        self.marks: list[list[NDArray[np.uint64]]] = [[] for _ in self.lists.listed]

    def __call__(self, values: sparse.csr_matrix) -> _Cells:
        """``values`` (n, n_genes) are counts of the genes of the file."""
        counts = placed(values, self.columns, len(self.n_expressing))
        return _Cells(cell_hashes(values, self.own_keys), self.lists.marks(counts), counts)

    def equal_to(self, cells: _Cells, known: Known, owner: int) -> NDArray[np.int64]:
        """Owner of a known cell that each one (n,) equals; -1 where there is none. Of equal ones among these the first stays."""
        marks, none = cells.marks, owner + 1
        found = [np.where(tell, known.find(marked_by(h, a)), -1) for a, (h, tell) in enumerate(zip(*marks, strict=True))]
        first = np.min(np.where(np.array(found) >= 0, found, none), axis=0)
        own, tell = marks.hashes[self.own_list], marks.to_tell[self.own_list] & (first == none)
        again = np.zeros(len(own), dtype=bool)
        again[tell] = pd.Series(own[tell]).duplicated().to_numpy()
        return np.where(first < none, first, np.where(again, owner, -1))

    def keep(self, cells: _Cells, stays: NDArray[np.bool_] | None = None) -> NDArray[np.uint64]:
        """Collect those of the cells that stay (n,), by default all; returns their marks for files of the same genes."""
        stays = np.ones(len(cells.whole), dtype=bool) if stays is None else stays
        self.whole.append(cells.whole[stays])
        self.n_expressing += np.bincount(cells.counts[stays].indices, minlength=len(self.n_expressing))
        for kept, hashes, tell in zip(self.marks, *cells.marks, strict=True):
            kept.append(marked_by(hashes[stays & tell], self.own_list))
        return self.marks[self.own_list][-1]

    def judged(self, verdict: NDArray[np.integer], studies: NDArray[np.str_]) -> Judged:
        distinct, study = np.unique(studies, return_inverse=True)
        marks = [_joined(kept) for kept in self.marks]
        return Judged(_joined(self.whole), marks, verdict.astype(np.int32), study, distinct, self.n_expressing)


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate([*parts, np.empty(0, np.uint64)])
