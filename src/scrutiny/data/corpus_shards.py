"""Cells into shards in random order with bounded memory: each file is scattered into pieces, each shard gathers its part of all pieces.

The order of a corpus is that of a number mixed of each cell's hash and the seed, so it does not depend on the order of the files, and a
cell stays on its side, training or validation, when the corpus grows. A piece holds one chunk of a file, its cells by shard; the pieces
of a file appear together once all are written, and a shard appears whole, so a build that was stopped goes on with the next file or shard.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.atomic import write_atomic

from .cell_hashes import cell_hashes, mixed
from .corpus_config import CorpusConfig
from .corpus_genes import Medians, placed
from .corpus_judge import KEPT, Judged
from .corpus_quality import totals_of
from .corpus_sources import Source

TEXTS = ("cell_id", "study", "file", "label", "ontology")
PARTS = ("cells", "indptr", "indices", "data")


@dataclass(frozen=True, eq=False)
class Dealing:
    """Which shard each cell goes to.

    Attributes
    ----------
    bounds
        First place of each training shard but the first, sorted; then the same for validation.
    """

    seed: int
    validation: float
    train: NDArray[np.uint64]
    held: NDArray[np.uint64]

    @classmethod
    def of(cls, whole: NDArray[np.uint64], config: CorpusConfig) -> Dealing:
        """Shards of about equal size for these cells (n_cells,)."""
        empty = cls(config.seed, config.validation, np.empty(0, np.uint64), np.empty(0, np.uint64))
        place, is_held = empty.places(whole), empty.is_validation(whole)
        return cls(config.seed, config.validation, *(_bounds(place[side], config.shard_cells) for side in (~is_held, is_held)))

    def places(self, whole: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Place of each cell (n_cells,) in the order of the corpus."""
        return mixed(whole ^ mixed(np.array([2 * self.seed], np.uint64)))

    def is_validation(self, whole: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return mixed(whole ^ mixed(np.array([2 * self.seed + 1], np.uint64))) < np.uint64(self.validation * 2.0**63) * np.uint64(2)

    def shards(self, whole: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Number of the shard of each cell (n_cells,): those of training first."""
        place = self.places(whole)
        held = len(self.train) + 1 + np.searchsorted(self.held, place, side="right")
        return np.where(self.is_validation(whole), held, np.searchsorted(self.train, place, side="right"))

    @property
    def n_shards(self) -> int:
        return len(self.train) + 1 + (len(self.held) + 1)

    def name(self, shard: int) -> str:
        n_train = len(self.train) + 1
        return f"train_{shard:05d}.h5ad" if shard < n_train else f"validation_{shard - n_train:05d}.h5ad"


def _bounds(place: NDArray[np.uint64], shard_cells: int) -> NDArray[np.uint64]:
    n_shards = max(1, round(len(place) / shard_cells))
    return np.sort(place)[np.linspace(0, len(place), n_shards, endpoint=False).astype(int)[1:]]


@dataclass(frozen=True, eq=False)
class Columns:
    """The genes of the corpus.

    Attributes
    ----------
    rows
        (n_genes,) their rows in the union of the files' genes.
    keys
        (n_genes,) uint64, for hashes.
    panels
        Sizes of the panels, and for each its genes (n_genes,) bool.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    panels: NDArray[np.bool_]

    def of(self, columns: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
        """Column in the corpus of each gene of a file, from its row in the union."""
        where = np.full(n_rows + 1, -1, dtype=np.int64)
        where[self.rows] = np.arange(len(self.rows))
        return where[columns]
