"""Ways to part cells: into stratified folds, into folds of whole groups, into held-out cells. Deterministic for one generator state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable


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


def group_folds(groups: NDArray[np.str_]) -> NDArray[np.int16]:
    """Fold of every cell (n_cells,) where each fold is one group (a batch, a donor), in sorted order."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int16)


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


def hold_out_groups(groups: NDArray[np.str_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """True for the cells of whole groups, as many groups as come nearest to this share of the cells; (n_cells,).

    Groups are taken in random order as long as the share comes nearer; at least one is held out and at least one stays.

    Raises
    ------
    NotApplicable
        If there is only one group.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise NotApplicable(f"whole groups can only be held out where there are at least two; found {len(names)}")
    order = rng.permutation(len(names))
    off_target = np.abs(np.cumsum(sizes[order])[:-1] / len(groups) - share)
    return np.isin(groups, names[order[: int(off_target.argmin()) + 1]])
