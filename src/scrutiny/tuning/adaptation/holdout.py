"""Which labelled cells tell when to stop: those of some donors, else of some batches, else a share of each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHARE, MOST = 0.1, 1 / 3
"""Of the labelled cells that are held out: at least, in whole donors or batches, and at most."""
ENOUGH = 5
"""Cells of a label of which one may be held out."""


class HeldOut(NamedTuple):
    """``rows`` (n,) of the labelled cells, none where there are too few; ``by``: "donor", "batch", "cell" or "nothing"."""

    rows: NDArray[np.int64]
    by: str


def held_out(labels: NDArray[np.int64], groups: Mapping[str, NDArray[np.str_]], rng: np.random.Generator) -> HeldOut:
    """Cells that are not learnt from.

    A donor is left in where without it a label would be lost to learning, or more than a third of the cells held out.

    Parameters
    ----------
    labels
        (n_cells,) int64.
    groups
        "donor" and "batch", as far as they are known, each (n_cells,).
    """
    for name in ("donor", "batch"):
        if name in groups and (rows := _of_groups(labels, groups[name], rng)).size:
            return HeldOut(rows, name)
    rows = _of_labels(labels, rng)
    return HeldOut(rows, "cell" if rows.size else "nothing")


def _of_groups(labels: NDArray[np.int64], group: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    held = np.zeros(len(labels), bool)
    for name in rng.permutation(np.unique(group)):
        more = held | (group == name)
        if more.mean() <= MOST and len(np.unique(labels[~more])) == len(np.unique(labels)):
            held = more
        if held.mean() >= SHARE:
            return np.flatnonzero(held)
    return np.array([], np.int64)


def _of_labels(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    held: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) >= ENOUGH:
            held.append(rows[: max(1, round(SHARE * len(rows)))])
    return np.sort(np.concatenate(held)) if held else np.array([], np.int64)
