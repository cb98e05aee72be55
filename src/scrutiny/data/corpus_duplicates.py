"""Cells that occur twice, within a file or across files that list other genes: equal counts on all genes that both files list.

For each distinct list of genes among the files a cell has one number, over the genes that its own file and that list share. Two cells are
equal if their numbers agree, each taken over the list of the other. So the comparison is exact on the shared genes and costs a number a
cell, not a pair. A cell that expresses fewer than `cell_hashes.FEWEST_EXPRESSED` of the shared genes is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .cell_hashes import OnPanels, mixed, panel_hashes


@dataclass(frozen=True, eq=False)
class GeneLists:
    """The distinct lists of genes among the files: ``listed`` (n_lists, n_rows) bool, ``keys`` (n_rows,) uint64 of the genes."""

    listed: NDArray[np.bool_]
    keys: NDArray[np.uint64]

    def marks(self, values: sparse.csr_matrix) -> OnPanels:
        """Of cells whose columns are all genes of the corpus's files, counts (n_cells, n_rows): their numbers over each list."""
        return panel_hashes(values, self.keys, self.listed)


def marked_by(hashes: NDArray[np.uint64], own_list: int) -> NDArray[np.uint64]:
    """Hashes of cells of a list of genes, told apart from equal ones of cells of another list, as they are on other genes."""
    return hashes ^ mixed(np.array([own_list], dtype=np.uint64))


@dataclass
class Known:
    """Cells met so far: sorted ``hashes`` and their ``owners``, 12 bytes a cell."""

    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    owners: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def add(self, hashes: NDArray[np.uint64], owner: int) -> None:
        """Remember cells (n,); of equal hashes the first owner stays."""
        fresh = np.unique(hashes[self.find(hashes) < 0])
        where = np.searchsorted(self.hashes, fresh)
        self.hashes = np.insert(self.hashes, where, fresh)
        self.owners = np.insert(self.owners, where, owner)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Owner of each hash (n,); -1 where it is not known."""
        if not len(self.hashes):
            return np.full(len(hashes), -1)
        where = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[where] == hashes, self.owners[where], -1)
