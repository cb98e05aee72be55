"""Ways to part cells evenly over the labels: into folds, or into some and the rest. One generator state gives one split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset

GROUPS = ("donor", "batch")
"""Roles that part cells into groups which new cells would not belong to; the first that says something is used."""


def groups_of(data: Dataset) -> NDArray[np.str_] | None:
    """Donor, or else batch, of each cell (n_cells,); None where there is one only, or nobody says."""
    for role in GROUPS:
        if data.has(role) and len(np.unique(data.role(role))) > 1:
            return data.role(role)
    return None


def stratified_folds(strata: NDArray[np.str_], n_folds: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Fold of every cell (n_cells,), each stratum dealt as evenly as it goes.

    The strata are dealt one after the other in sorted order without starting anew, so the folds differ by at most one cell in all and
    within each stratum.

    Parameters
    ----------
    strata
        (n_cells,) e.g. labels.
    """
    shuffled = rng.permutation(len(strata))
    dealt = shuffled[np.argsort(strata[shuffled], kind="stable")]
    folds = np.empty(len(strata), dtype=np.int8)
    folds[dealt] = np.arange(len(strata)) % n_folds
    return folds


def hold_out(strata: NDArray[np.str_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """True for about this share of the cells of every stratum, (n_cells,).

    At least one cell of a stratum stays on each side where it has two cells or more; a single cell is not held out.
    """
    held = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        n_held = min(max(round(share * len(rows)), 1), len(rows) - 1)
        held[rows[:n_held]] = True
    return held
