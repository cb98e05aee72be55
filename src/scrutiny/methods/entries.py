"""Which genes of which cells are asked of a method that has an answer for all of them: those expressed, and as many others.

Most genes of a cell are not expressed. Of these a sample is drawn, the same for every method, and each of it stands for several.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.core.outputs import Reconstruction
from scrutiny.data.draws import cell_generator
from scrutiny.data.prepare import log_chunks

from .foundation.draws import hidden

Zeros = Literal["drawn", "all", "none"]
"""Which of the genes that a cell does not express are asked: as many as it expresses, all, or none."""
CELLS_AT_A_TIME = 256
"""Rows made dense at once."""
LOG_COUNT = "log count"
OF_ZEROS, OF_HIDDEN_ZEROS = 2**32, 2**33
"""Added to seeds, so that these draws have nothing to do with those of a method."""


@dataclass(frozen=True, eq=False)
class Entries:
    """Genes of cells, sorted by cell and gene.

    Attributes
    ----------
    lengths
        (n_cells,) int64 entries of each cell.
    columns
        (n_entries,) int32 gene of each entry.
    expressed, hidden
        (n_entries,) bool.
    weight
        (n_entries,) float32 how many genes of the cell each stands for; None where zeros are not asked.
    """

    lengths: NDArray[np.int64]
    columns: NDArray[np.int32]
    expressed: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    weight: NDArray[np.float32] | None

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """(n_cells + 1,) where each cell begins, and the end."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def hidden_in(self, start: int, stop: int, n_genes: int) -> NDArray[np.bool_]:
        """(stop - start, n_genes) which genes of some consecutive cells are hidden."""
        part = slice(self.ends[start], self.ends[stop])
        rows = np.repeat(np.arange(stop - start), self.lengths[start:stop])
        gone = np.zeros((stop - start, n_genes), bool)
        gone[rows, self.columns[part]] = self.hidden[part]
        return gone

    def spread(self, expressed: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values (n_entries,) from those of the expressed genes (n_expressed,); the others are 0."""
        values = np.zeros(len(self.columns), np.float32)
        values[self.expressed] = expressed
        return values

    def picked(self, parts: Iterable[tuple[NDArray[np.integer], NDArray[np.floating]]]) -> NDArray[np.float32]:
        """Values (n_entries,) from parts: rows of some cells, and what is said of all their genes (n, n_genes)."""
        values = np.empty(len(self.columns), np.float32)
        for rows, dense in parts:
            self.pick(values, rows, dense)
        return values

    def pick(self, out: NDArray[np.float32], rows: Iterable[int], dense: NDArray[np.floating]) -> None:
        """Put into ``out`` (n_entries,) what ``dense`` (n, n_genes) has for the entries of these cells."""
        for row, values in zip(rows, dense, strict=True):
            part = slice(self.ends[row], self.ends[row + 1])
            out[part] = values[self.columns[part]]

    def reconstruction(
        self,
        cell_ids: NDArray[np.str_],
        gene_ids: NDArray[np.str_],
        *,
        predicted: NDArray[np.float32],
        true: NDArray[np.float32],
        quantity: str,
    ) -> Reconstruction:
        """The output, from arrays (n_entries,)."""
        rows = np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)
        return Reconstruction(cell_ids, gene_ids, rows, self.columns, predicted, true, self.hidden, quantity, weight=self.weight)


def entries_of(
    chunks: Iterable[sparse.csr_matrix],
    cell_ids: NDArray[np.str_],
    *,
    hide: float,
    seed: int,
    zeros: Zeros = "drawn",
) -> Entries:
    """The entries of all cells.

    Parameters
    ----------
    chunks
        Rows of all cells in order, (n, n_genes) CSR with sorted columns; what is stored is expressed.
    hide
        Share of the expressed genes of each cell, and of the others that are asked, to be hidden; drawn by (seed, cell id).
    zeros
        "drawn": of the genes that a cell does not express as many as it expresses, drawn by cell id alone; "all" or "none" of them.
    """
    if zeros not in get_args(Zeros):
        raise InputError(f"zeros is '{zeros}'; expected one of {', '.join(get_args(Zeros))}")
    cells: list[_Cell] = []
    for chunk in chunks:
        ids = cell_ids[len(cells) : len(cells) + chunk.shape[0]]
        lengths = np.diff(chunk.indptr).astype(np.int64)
        gone = np.split(hidden(lengths, hide, seed=seed, cell_ids=ids), np.cumsum(lengths)[:-1])
        for row, cell_id in enumerate(ids):
            own = chunk.indices[chunk.indptr[row] : chunk.indptr[row + 1]]
            cells.append(_cell(own, gone[row], chunk.shape[1], cell_id, hide=hide, seed=seed, zeros=zeros))
    columns, expressed, gone, weight = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    lengths = np.array([len(cell.columns) for cell in cells], dtype=np.int64)
    return Entries(lengths, columns, expressed, gone, None if zeros == "none" else weight)


class _Cell(NamedTuple):
    """The entries of one cell."""

    columns: NDArray[np.int32]
    expressed: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    weight: NDArray[np.float32]


def _cell(
    own: NDArray[np.integer], gone: NDArray[np.bool_], n_genes: int, cell_id: str, *, hide: float, seed: int, zeros: Zeros
) -> _Cell:
    others = np.setdiff1d(np.arange(n_genes), own, assume_unique=True)
    n = {"drawn": min(len(own), len(others)), "all": len(others), "none": 0}[zeros]
    if n < len(others):
        drawn = np.sort(cell_generator(OF_ZEROS, cell_id).choice(others, n, replace=False))
    else:
        drawn = others
    gone_too = cell_generator(OF_HIDDEN_ZEROS + seed, cell_id).permutation(n) < round(hide * n)
    columns = np.concatenate([own, drawn])
    order = np.argsort(columns, kind="stable")
    weight = np.repeat([1.0, len(others) / max(n, 1)], [len(own), n])
    parts = (columns.astype(np.int32), np.arange(len(columns)) < len(own), np.concatenate([gone, gone_too]), weight.astype(np.float32))
    return _Cell(*(part[order] for part in parts))


class LogCounts(NamedTuple):
    """Entries, and ``true`` (n_entries,) float32, the log count of each."""

    entries: Entries
    true: NDArray[np.float32]

    def shown(self, query: Dataset) -> Dataset:
        """The cells with log counts in place of counts, those that are hidden left out."""
        entries = self.entries
        kept = np.flatnonzero(entries.expressed & ~entries.hidden)
        rows = np.repeat(np.arange(query.n_cells), entries.lengths)[kept]
        values = sparse.csr_matrix((self.true[kept], (rows, entries.columns[kept])), shape=(query.n_cells, query.n_genes))
        return replace(query, matrix=CsrMatrix(values), scale=Scale.LOG)


def log_counts(query: Dataset, *, hide: float, seed: int) -> LogCounts:
    """Entries from all genes of the data. Totals are over all of them, also those that are hidden."""
    check_has_log_counts(query)
    entries = entries_of((chunk.values for chunk in query.matrix.chunks()), query.cell_ids, hide=hide, seed=seed)
    return LogCounts(entries, entries.spread(np.concatenate([chunk.values.data for chunk in log_chunks(query)])))


def check_has_log_counts(data: Dataset) -> None:
    """Raise NotApplicable if the values are scaled, so that none of them is a log count or a zero."""
    if data.scale is Scale.SCALED:
        raise NotApplicable(f"'{data.name}' holds scaled values, which are no log counts; give counts or log values")
