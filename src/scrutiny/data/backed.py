"""A matrix larger than memory: rows are read from the file when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.matrix import CHUNK_NONZEROS, Chunk, CsrMatrix, Matrix, digest_of_matrix, rows_per_chunk

from .stored import Run, Stored, canonical

LARGEST_IN_MEMORY = 1_000_000_000
"""Bytes of values (as CSR) up to which a matrix is read into memory at once."""
READ_THROUGH = 30_000
"""Entries between two wanted rows that are read and thrown away, which is faster than another read."""
BYTES_PER_ENTRY = 8
"""A float32 value and an int32 column."""


def as_matrix(stored: Stored) -> Matrix:
    """In memory where it is small, or where its layout leaves no other way; else on disk."""
    if stored.layout == "by gene" or stored.size * BYTES_PER_ENTRY <= LARGEST_IN_MEMORY:
        return CsrMatrix(stored.load())
    return BackedMatrix(stored)


@dataclass(frozen=True, eq=False)
class BackedMatrix:
    """Rows and columns of a matrix in a file. Holds no open file, so it can be pickled and sent to a worker.

    Attributes
    ----------
    stored
        The whole matrix.
    rows, columns
        What is chosen of it, in this order; None: all.
    """

    stored: Stored
    rows: NDArray[np.intp] | None = None
    columns: NDArray[np.intp] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        n_cells, n_genes = self.stored.shape
        return (n_cells if self.rows is None else len(self.rows), n_genes if self.columns is None else len(self.columns))

    @cached_property
    def nnz(self) -> int:
        return sum(chunk.values.nnz for chunk in self.chunks())

    @cached_property
    def digest(self) -> str:
        return digest_of_matrix(self)

    def chunks(self, n_rows: int | None = None) -> Iterator[Chunk]:
        n_cells = self.shape[0]
        step = n_rows or rows_per_chunk(n_cells, self._entries_to_read)
        starts = range(0, n_cells, step)
        blocks = self._whole_blocks(starts, step) if self.rows is None else self._chosen_blocks(starts, step)
        for start, block in zip(starts, blocks):
            if self.columns is not None:
                block = canonical(block[:, self.columns])
            yield Chunk(start, start + block.shape[0], block)

    def take_rows(self, rows: NDArray[np.integer]) -> BackedMatrix:
        return replace(self, rows=_compose(self.rows, rows, self.shape[0]))

    def take_columns(self, columns: NDArray[np.integer]) -> BackedMatrix:
        return replace(self, columns=_compose(self.columns, columns, self.shape[1]))

    def to_csr(self) -> sparse.csr_matrix:
        blocks = [chunk.values for chunk in self.chunks()]
        return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix(self.shape, dtype=np.float32)

    @cached_property
    def _entries_to_read(self) -> int:
        sizes = self.stored.row_sizes()
        return int(sizes.sum() if self.rows is None else sizes[self.rows].sum())

    def _whole_blocks(self, starts: range, step: int) -> Iterator[sparse.csr_matrix]:
        return self.stored.blocks([Run(start, min(start + step, self.shape[0])) for start in starts])

    def _chosen_blocks(self, starts: range, step: int) -> Iterator[sparse.csr_matrix]:
        """Rows in any order: each chunk reads its runs of rows in file order and then restores the asked order."""
        assert self.rows is not None
        per_row = max(1, self.stored.size // max(self.stored.shape[0], 1))
        parts = [np.unique(self.rows[start : start + step], return_inverse=True) for start in starts]
        runs = [_runs(distinct, gap=1 + READ_THROUGH // per_row, longest=max(1, CHUNK_NONZEROS // per_row)) for distinct, _ in parts]
        blocks = self.stored.blocks([run for some in runs for run in some])
        for (distinct, order), some in zip(parts, runs):
            wanted = [distinct[slice(*np.searchsorted(distinct, run))] - run.start for run in some]
            yield sparse.vstack([next(blocks)[rows] for rows in wanted], format="csr")[order]


def _runs(rows: NDArray[np.intp], gap: int, longest: int) -> list[Run]:
    """Sorted distinct rows as runs to read: rows less than ``gap`` apart share one, of at most ``longest`` rows."""
    blocks, together = (rows - rows[:1]) // longest, np.diff(rows) <= gap
    breaks = np.flatnonzero(~together | (np.diff(blocks) != 0)) + 1
    return [Run(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks)]


def _compose(chosen: NDArray[np.intp] | None, wanted: NDArray[np.integer], n: int) -> NDArray[np.intp]:
    return np.arange(n)[wanted] if chosen is None else chosen[wanted]
