"""Random draws that belong to a cell: the same whatever its place in the file and whatever is embedded with it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import InputError


def cell_generator(seed: int, cell_id: str) -> np.random.Generator:
    """A generator that depends on (seed, cell id) alone."""
    digest = hashlib.sha256(cell_id.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


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
