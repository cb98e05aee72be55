"""What the verbs of methods return: arrays with ids, checked and reordered before anybody uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import ContractError, Misaligned


@dataclass(frozen=True, eq=False)
class CellEmbedding:
    """One vector per cell: values (n_cells, n_dims) float32, cell_ids (n_cells,) str."""

    values: NDArray[np.float32]
    cell_ids: NDArray[np.str_]

    def aligned_to(self, cell_ids: NDArray[np.str_]) -> CellEmbedding:
        """The same vectors in the asked order, as C-contiguous float32.

        Raises
        ------
        Misaligned
            If the ids are not exactly the asked ones, each once.
        ContractError
            If the values are not a finite two-dimensional array with at least one column.
        """
        values = np.asarray(self.values)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ContractError(f"an embedding must be (n_cells, n_dims) with n_dims >= 1; found shape {values.shape}")
        if len(values) != len(self.cell_ids):
            raise Misaligned(f"{len(values)} rows but {len(self.cell_ids)} cell ids")
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=1).sum())
            raise ContractError(f"{bad} of {len(values)} cells have values that are not finite as float32")
        index = pd.Index(self.cell_ids).astype(str)
        if not index.is_unique:
            raise Misaligned(f"cell id '{index[index.duplicated()][0]}' occurs more than once in the embedding")
        where = index.get_indexer(pd.Index(cell_ids).astype(str))
        if (where < 0).any() or len(index) != len(cell_ids):
            lacking = [str(c) for c in np.asarray(cell_ids)[where < 0][:3]]
            missing = f"{int((where < 0).sum())} of the asked cells are missing {lacking}"
            raise Misaligned(f"the embedding has {len(index)} cells, {len(cell_ids)} were asked for; {missing}")
        return CellEmbedding(np.ascontiguousarray(values[where]), np.asarray(cell_ids))
