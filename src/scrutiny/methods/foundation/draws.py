"""Which genes a model is not shown, drawn for each cell by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import InputError
from scrutiny.data.draws import cell_generator


def hidden(lengths: NDArray[np.int64], share: float, *, seed: int, cell_ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which of the tokens of cells, laid end to end, a model is not shown: a share of each cell's, rounded; (n_tokens,).

    Raises
    ------
    InputError
        If the share is not from 0 up to, but without, 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"the share of genes to hide is {share}; expected 0 up to, but without, 1")
    drawn = [cell_generator(seed, cell).permutation(n) < round(share * n) for n, cell in zip(lengths, cell_ids, strict=True)]
    return np.concatenate(drawn) if drawn else np.empty(0, bool)
