"""The same metric on parts of the cells, from which the report makes intervals. Nothing is embedded again.

Cells are drawn without replacement: duplicates would be each other's nearest neighbours.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.keys import digest_of_strings
from scrutiny.core.scores import Replicates
from scrutiny.data.splits import stratified_folds

N_FOLDS = 5
DONOR = "donor"
"""Role of the people or animals that cells come from."""
FEWEST_DONORS = 6
"""With fewer donors their number says too little; cells are dealt one by one, and the report says that donors were not sampled."""
log = logging.getLogger(__name__)


class Deal(NamedTuple):
    """Which cells are left out together."""

    folds: NDArray[np.int8]
    """(repeats, n_cells) from 0 to `N_FOLDS` - 1."""
    scheme: str


def deal(
    strata: NDArray[np.str_], cell_ids: NDArray[np.str_], *, repeats: int, donors: NDArray[np.str_] | None = None
) -> Deal:
    """Fold of every cell in every repeat.

    Depends on the cells, their strata and donors only, so every method of a data set is measured on the same parts.

    Parameters
    ----------
    strata
        (n_cells,) labels; each is dealt as evenly as it goes.
    cell_ids
        (n_cells,) seed of the draw.
    donors
        (n_cells,) With at least `FEWEST_DONORS` of them whole donors are dealt, because cells of one donor are no independent
        evidence for the next.
    """
    seed = int(digest_of_strings(cell_ids), 16)
    draws = [np.random.default_rng([seed, repeat]) for repeat in range(repeats)]
    names, of_cell = np.unique(donors, return_inverse=True) if donors is not None else (np.array([]), None)
    if len(names) < FEWEST_DONORS:
        return Deal(np.stack([stratified_folds(strata, N_FOLDS, rng) for rng in draws]), f"{repeats} x {N_FOLDS} stratified folds of cells")
    whole = np.zeros(len(names), dtype="U1")
    folds = np.stack([stratified_folds(whole, N_FOLDS, rng)[of_cell] for rng in draws])
    return Deal(folds, f"{repeats} x {N_FOLDS} folds of whole donors ({len(names)})")


def replicates(evidence: Evidence, metric: str, dealt: Deal) -> Replicates:
    """Value of a metric outside of each fold and on it, None where it cannot be computed there."""
    folds = dealt.folds
    parts = [(repeat, fold) for repeat in range(len(folds)) for fold in range(N_FOLDS)]
    kept = tuple(_value(evidence, metric, folds[repeat] != fold) for repeat, fold in parts)
    held = tuple(_value(evidence, metric, folds[repeat] == fold) for repeat, fold in parts)
    return Replicates(dealt.scheme, N_FOLDS, kept, held)


def _value(evidence: Evidence, metric: str, chosen: NDArray[np.bool_]) -> float | None:
    try:
        value = evidence.part(np.flatnonzero(chosen)).measure(metric).value
    except NotApplicable:
        return None
    except Exception:  # noqa: BLE001 - a part on which a metric fails must not cost the value on all cells
        log.info("%s failed on a part of the cells", metric, exc_info=True)
        return None
    return float(value) if np.isfinite(value) else None
