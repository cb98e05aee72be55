"""A matrix that lies in a file: where, in which layout, and how rows of it are read. Works on HDF5 and on Zarr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CHUNK_NONZEROS

CHUNK_CACHE = 32_000_000
"""Bytes of unpacked HDF5 chunks kept per array, so that neighbouring rows do not unpack the same chunk again."""
Layout = Literal["by cell", "by gene", "dense", "dense, genes first"]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The root group of an HDF5 file or of a Zarr folder, for reading."""
    if path.is_dir():
        import zarr

        yield zarr.open_group(path, mode="r")
    else:
        import h5py

        with h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE) as file:
            yield file


class Run(NamedTuple):
    """Consecutive rows from ``start`` to before ``stop``."""

    start: int
    stop: int


@dataclass(frozen=True)
class Stored:
    """Where a cells-by-genes matrix lies.

    Attributes
    ----------
    path, key
        File (or Zarr folder) and name of the group or array inside.
    layout
        "by cell": sparse, the entries of a cell together (CSR of cells by genes, as in AnnData's CSR and in 10x files);
        "by gene": sparse, the entries of a gene together; "dense": array (n_cells, n_genes); "dense, genes first": its transpose (loom).
    shape
        (n_cells, n_genes).
    size
        Entries stored: explicit ones of a sparse layout, all of a dense one.
    """

    path: Path
    key: str
    layout: Layout
    shape: tuple[int, int]
    size: int

    def blocks(self, runs: list[Run]) -> Iterator[sparse.csr_matrix]:
        """One canonical CSR float32 block per run of rows; the file is open while this iterates."""
        with opened(self.path) as root:
            node = root[self.key]
            first, last = min((run.start for run in runs), default=0), max((run.stop for run in runs), default=0)
            starts = np.asarray(node["indptr"][first : last + 1]) if self.layout == "by cell" else None
            for run in runs:
                yield canonical(self._read(node, run, starts, first))

    def row_sizes(self) -> NDArray[np.int64]:
        """Entries stored per cell (n_cells,); for a dense layout that is the number of genes."""
        if self.layout != "by cell":
            return np.full(self.shape[0], self.shape[1], dtype=np.int64)
        with opened(self.path) as root:
            return np.diff(np.asarray(root[self.key]["indptr"][:])).astype(np.int64)

    def sample(self, n_entries: int) -> Iterator[NDArray[np.number]]:
        """About this many stored entries, in slices at equal distances through the file."""
        with opened(self.path) as root:
            node = root[self.key]
            if self.layout == "dense, genes first":
                yield from (node[:, part] for part in _slices(self.shape[0], n_entries // max(self.shape[1], 1)))
            elif self.layout == "dense":
                yield from (node[part] for part in _slices(self.shape[0], n_entries // max(self.shape[1], 1)))
            else:
                yield from (node["data"][part] for part in _slices(self.size, n_entries))

    def load(self) -> sparse.csr_matrix:
        """All of it, in memory. This is the only way to read a sparse matrix that is stored by gene."""
        if self.layout == "by gene":
            with opened(self.path) as root:
                return canonical(self._load_by_gene(root[self.key]))
        if self.layout == "by cell":
            return next(self.blocks([Run(0, self.shape[0])]))
        step = max(1, CHUNK_NONZEROS // max(self.shape[1], 1))
        runs = [Run(start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step)]
        return sparse.vstack(list(self.blocks(runs)) or [sparse.csr_matrix(self.shape, dtype=np.float32)], format="csr")

    def _read(self, node: Any, run: Run, starts: NDArray[np.integer] | None, first: int) -> sparse.csr_matrix:
        """A block; ``starts`` says where the entries of the rows from ``first`` on begin."""
        if self.layout == "dense":
            return sparse.csr_matrix(np.asarray(node[run.start : run.stop], dtype=np.float32))
        if self.layout == "dense, genes first":
            return sparse.csr_matrix(np.asarray(node[:, run.start : run.stop], dtype=np.float32).T)
        if starts is None:
            raise ValueError("rows of a matrix that is stored by gene cannot be read alone; use `load`")
        indptr = starts[run.start - first : run.stop - first + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        indices = self._checked(np.asarray(node["indices"][entries]), self.shape[1])
        data = np.asarray(node["data"][entries], dtype=np.float32)
        return sparse.csr_matrix((data, indices, indptr - indptr[0]), shape=(run.stop - run.start, self.shape[1]))

    def _load_by_gene(self, node: Any) -> sparse.csr_matrix:
        indices = self._checked(np.asarray(node["indices"][:]), self.shape[0])
        data = np.asarray(node["data"][:], dtype=np.float32)
        return sparse.csc_matrix((data, indices, np.asarray(node["indptr"][:])), shape=self.shape).tocsr()

    def _checked(self, indices: NDArray[np.integer], bound: int) -> NDArray[np.int32]:
        if len(indices) and (indices.min() < 0 or indices.max() >= bound):
            raise InputError(f"{self.path}: '{self.key}' points outside its shape {self.shape}; the file is damaged, make it again")
        return indices.astype(np.int32, copy=False)


def _slices(n: int, n_wanted: int, n_parts: int = 8) -> list[slice]:
    """Slices of ``range(n)`` at equal distances, ``n_wanted`` elements together (at least one each); everything if n is small."""
    if n <= max(n_wanted, n_parts):
        return [slice(0, n)]
    length = max(1, n_wanted // n_parts)
    return [slice(int(start), int(start) + length) for start in np.linspace(0, n - length, n_parts)]


def locate(path: Path, key: str, node: Any) -> Stored:
    """The Stored of an AnnData element (array, or sparse group of any age).

    Raises
    ------
    InputError
        If the element is no matrix that AnnData writes, or a damaged one.
    """
    attributes = dict(node.attrs)
    if hasattr(node, "shape"):
        if len(node.shape) != 2:
            raise InputError(f"{path}: '{key}' has {len(node.shape)} dimension(s); expected cells by genes")
        n_cells, n_genes = (int(n) for n in node.shape)
        return Stored(path, key, "dense", (n_cells, n_genes), n_cells * n_genes)
    kind = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "")))
    if not kind.startswith(("csr", "csc")):
        raise InputError(f"{path}: '{key}' is stored as '{kind or 'a group without a type'}'; expected a dense, CSR or CSC matrix")
    n_cells, n_genes = (int(n) for n in attributes["shape" if "shape" in attributes else "h5sparse_shape"])
    layout: Layout = "by cell" if kind.startswith("csr") else "by gene"
    lacking = [part for part in ("data", "indices", "indptr") if part not in node]
    if lacking:
        raise InputError(f"'{key}' of {path} lacks {', '.join(lacking)}; the file is damaged, make it again")
    sizes = {part: int(node[part].shape[0]) for part in ("data", "indices", "indptr")}
    if sizes["data"] != sizes["indices"] or sizes["indptr"] != (n_cells if layout == "by cell" else n_genes) + 1:
        what = f"parts of sizes {sizes}, which do not make {(n_cells, n_genes)}"
        raise InputError(f"'{key}' of {path} has {what}; the file is damaged, make it again")
    return Stored(path, key, layout, (n_cells, n_genes), sizes["data"])


def canonical(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sorted, without doubles and without stored zeros: the form that keys and chunks rely on. Changes ``block``."""
    block.sum_duplicates()
    block.eliminate_zeros()
    return block
