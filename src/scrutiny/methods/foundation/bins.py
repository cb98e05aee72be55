"""Expression by quantile bins: a value becomes its rank among the nonzero values of its cell, in steps, as scGPT sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def edges(ascending: NDArray[np.float32], n_bins: int) -> NDArray[np.float64]:
    """Edges of ``n_bins`` bins, of which bin 0 is for zeros: quantiles of the others, as `numpy.quantile` gives them to the last bit.

    Parameters
    ----------
    ascending
        (n,) nonzero values of a cell, sorted, n >= 1.

    Returns
    -------
    numpy.ndarray
        (n_bins - 1,) quantiles 0 to 1, evenly spaced, linear between values.
    """
    place = (len(ascending) - 1) * np.linspace(0, 1, n_bins - 1)
    below = place.astype(np.int64)
    share = place - below
    low, high = ascending[below], ascending[np.minimum(below + 1, len(ascending) - 1)]
    step = high - low
    return np.where(share < 0.5, low + step * share, high - step * (1 - share))


def binned(values: NDArray[np.float32], n_bins: int, uniform: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Bin of each nonzero value of a cell.

    A value that equals several edges, as the small counts of most cells do, could lie in any bin between them.

    Parameters
    ----------
    values
        (n,) nonzero values, in any order.
    uniform
        (n,) draws in [0, 1) that deal such values evenly over their bins, which the official code calls "both" sides; None: the last
        of them, which it calls "one" side and pretrained with.

    Returns
    -------
    numpy.ndarray
        (n,) whole numbers from 1 to n_bins - 1.
    """
    if not len(values):
        return np.empty(0, np.float32)
    ascending = np.sort(values)
    limits = edges(ascending, n_bins)
    distinct = ascending[np.concatenate([[True], ascending[1:] != ascending[:-1]])]  # few, in counts: the edges are searched for these only
    which = distinct.searchsorted(values)
    last = limits.searchsorted(distinct, side="right")[which]
    if uniform is None:
        return last.astype(np.float32)
    before = limits.searchsorted(distinct, side="left")[which]
    return np.ceil(uniform * (before - last) + last).astype(np.float32)
