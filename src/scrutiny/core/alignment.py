"""Ids of one array among those of another: nothing is joined by position."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .errors import Misaligned


def found(own: NDArray[np.str_], asked: NDArray[np.str_]) -> NDArray[np.intp]:
    """Where the asked cells stand among our own. Raises Misaligned if one is not there."""
    where = pd.Index(own).get_indexer(pd.Index(asked))
    if (where < 0).any():
        raise Misaligned(f"the output lacks {int((where < 0).sum())} of the asked cells, e.g. '{asked[where < 0][0]}'")
    return where


def found_all(own: NDArray[np.str_], asked: NDArray[np.str_]) -> NDArray[np.intp]:
    """As `found`, where there must be no other cells and none twice."""
    index = pd.Index(own).astype(str)
    if not index.is_unique:
        raise Misaligned(f"cell id '{index[index.duplicated()][0]}' occurs more than once in the output")
    where = index.get_indexer(pd.Index(asked).astype(str))
    if (where < 0).any() or len(index) != len(asked):
        lacking = [str(c) for c in np.asarray(asked)[where < 0][:3]]
        missing = f"{int((where < 0).sum())} of the asked cells are missing {lacking}"
        raise Misaligned(f"the output has {len(index)} cells, {len(asked)} were asked for; {missing}")
    return where
