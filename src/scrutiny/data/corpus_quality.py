"""Which cells of a file are too poor to learn from, and how that is said."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .corpus_config import CorpusConfig
from .corpus_genes import Names


class Quality(NamedTuple):
    """Limits that the cells of a file are held to, and its mitochondrial genes (n_genes,) 0 or 1."""

    config: CorpusConfig
    mitochondrial: NDArray[np.float32]

    @classmethod
    def of(cls, config: CorpusConfig, names: Names) -> Quality:
        """Mitochondrial genes are told by their symbols: MT-... in man, mt-... in mouse. Where a file lists none, no cell has any."""
        upper = np.char.upper(names.symbols) if len(names.symbols) else names.symbols
        return cls(config, np.char.startswith(upper, "MT-").astype(np.float32))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a cell is left out, in the order in which it is asked."""
        config = self.config
        fewest, least, most = config.min_genes, config.min_counts, config.max_mito
        return (
            f"express fewer than {fewest:,} genes",
            f"hold fewer than {least:,} counts",
            f"have more than {most:.0%} mitochondrial counts",
        )

    def faults(self, values: sparse.csr_matrix) -> NDArray[np.int64]:
        """Number of the first reason that applies to each cell (n_cells,) of counts (n_cells, n_genes); -1 where none does."""
        totals = totals_of(values)
        mito = np.asarray(values @ self.mitochondrial, dtype=np.float64).ravel()
        config = self.config
        tests = (np.diff(values.indptr) < config.min_genes, totals < config.min_counts, mito > config.max_mito * totals)
        return np.select(tests, range(len(tests)), default=-1)


def totals_of(values: sparse.csr_matrix) -> NDArray[np.float64]:
    """Counts of each cell (n_cells,)."""
    return np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
