"""An embedding that the user already has in ``obsm``."""

from __future__ import annotations

from typing import Self

import numpy as np

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding


class Precomputed:
    """A ready-made array, scored like any other method. How it was made is not known, so nothing is claimed about what it has seen.

    Parameters
    ----------
    key
        Name of the array in ``obsm``.
    sha
        Key of its content (`Dataset.obsm_key`). It makes another array of the same name another method in every record.
    """

    card = MethodCard(
        "precomputed",
        "an embedding that the file brings along in obsm",
        scale=None,
        trained_on=None,
        seconds_per_1000_cells=0.0,
        seconds_to_start=0.0,
    )

    def __init__(self, key: str, sha: str = "") -> None:
        self.obsm_key, self.sha = key, sha

    def fit(self, train: Dataset, *, seed: int) -> Self:
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        if self.obsm_key not in query.obsm:
            raise InputError(f"'{query.name}' has no array '{self.obsm_key}' in obsm; it has {sorted(query.obsm)}")
        return CellEmbedding(np.asarray(query.obsm[self.obsm_key], dtype=np.float32), query.cell_ids)
