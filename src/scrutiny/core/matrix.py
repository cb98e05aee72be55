"""The expression matrix: what every storage of cells by genes must offer, and the one held in memory.

Nothing here, and nothing that uses it, may make a whole matrix dense. Work goes chunk by chunk of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .keys import KEY_LENGTH

CHUNK_NONZEROS = 8_000_000
"""Nonzeros aimed at in one chunk of rows: about 100 MB of CSR."""


class Chunk(NamedTuple):
    """Some consecutive rows: ``values`` (stop - start, n_genes) CSR float32."""

    start: int
    stop: int
    values: sparse.csr_matrix


class Matrix(Protocol):
    """Cells by genes, float32 CSR, in memory or on disk. Must be picklable (workers receive it)."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nnz(self) -> int: ...
    @property
    def digest(self) -> str:
        """Content key of shape and values; the same for any storage and any chunking."""
        ...

    def chunks(self, n_rows: int | None = None) -> Iterator[Chunk]:
        """Rows in order; with ``n_rows=None`` the storage picks chunks of about `CHUNK_NONZEROS`."""
        ...

    def take_rows(self, rows: NDArray[np.integer]) -> Matrix: ...
    def take_columns(self, columns: NDArray[np.integer]) -> Matrix: ...
    def to_csr(self) -> sparse.csr_matrix:
        """All rows as one sparse matrix in memory."""
        ...


class CsrMatrix:
    """A matrix in memory. ``values`` (n_cells, n_genes) is brought to canonical CSR float32 and never changed."""

    def __init__(self, values: Any) -> None:
        values = sparse.csr_matrix(values, dtype=np.float32, copy=True)
        values.sum_duplicates()
        values.eliminate_zeros()
        values.sort_indices()
        self._values = values

    @property
    def shape(self) -> tuple[int, int]:
        return self._values.shape

    @property
    def nnz(self) -> int:
        return int(self._values.nnz)

    def chunks(self, n_rows: int | None = None) -> Iterator[Chunk]:
        n_cells = self.shape[0]
        step = n_rows or rows_per_chunk(n_cells, self.nnz)
        for start in range(0, n_cells, step):
            stop = min(start + step, n_cells)
            yield Chunk(start, stop, self._values[start:stop])

    def take_rows(self, rows: NDArray[np.integer]) -> CsrMatrix:
        return CsrMatrix(self._values[rows])

    def take_columns(self, columns: NDArray[np.integer]) -> CsrMatrix:
        return CsrMatrix(self._values[:, columns])

    def to_csr(self) -> sparse.csr_matrix:
        return self._values.copy()

    @cached_property
    def digest(self) -> str:
        return digest_of_matrix(self)


def rows_per_chunk(n_cells: int, nnz: int) -> int:
    """Rows that hold about `CHUNK_NONZEROS`; at least 1."""
    return max(1, min(max(n_cells, 1), int(CHUNK_NONZEROS / max(nnz / max(n_cells, 1), 1))))


def digest_of_matrix(matrix: Matrix) -> str:
    """SHA-256 over shape, row lengths, column indices (int32) and values (float32), independent of the chunking."""
    lengths, indices, values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for chunk in matrix.chunks():
        lengths.update(np.diff(chunk.values.indptr).astype("<i4").tobytes())
        indices.update(chunk.values.indices.astype("<i4").tobytes())
        values.update(chunk.values.data.astype("<f4").tobytes())
    parts = (f"{matrix.shape}", lengths.hexdigest(), indices.hexdigest(), values.hexdigest())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:KEY_LENGTH]
