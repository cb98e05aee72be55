"""The same metric on parts of the cells, from which the report makes intervals. Nothing is embedded again.

Cells are drawn without replacement: duplicates would be each other's nearest neighbours.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.keys import digest_of_strings
from scrutiny.core.scores import Replicates
from scrutiny.data.splits import stratified_folds

N_FOLDS = 5
log = logging.getLogger(__name__)


def deal(strata: NDArray[np.str_], cell_ids: NDArray[np.str_], *, repeats: int) -> NDArray[np.int8]:
    """Fold of every cell in every repeat, (repeats, n_cells) from 0 to `N_FOLDS` - 1.

    Depends on the cells and their strata only, so every method of a data set is measured on the same parts.

    Parameters
    ----------
    strata
        (n_cells,) labels; each is dealt as evenly as it goes.
    cell_ids
        (n_cells,) seed of the draw.
    """
    seed = int(digest_of_strings(cell_ids), 16)
    return np.stack([stratified_folds(strata, N_FOLDS, np.random.default_rng([seed, repeat])) for repeat in range(repeats)])


def replicates(evidence: Evidence, metric: str, folds: NDArray[np.int8]) -> Replicates:
    """Value of a metric outside of each fold and on it, None where it cannot be computed there."""
    parts = [(repeat, fold) for repeat in range(len(folds)) for fold in range(N_FOLDS)]
    kept = tuple(_value(evidence, metric, folds[repeat] != fold) for repeat, fold in parts)
    held = tuple(_value(evidence, metric, folds[repeat] == fold) for repeat, fold in parts)
    return Replicates(f"{len(folds)} x {N_FOLDS} stratified folds of the cells", N_FOLDS, kept, held)


def _value(evidence: Evidence, metric: str, chosen: NDArray[np.bool_]) -> float | None:
    try:
        value = evidence.part(np.flatnonzero(chosen)).measure(metric).value
    except NotApplicable:
        return None
    except Exception:  # noqa: BLE001 - a part on which a metric fails must not cost the value on all cells
        log.info("%s failed on a part of the cells", metric, exc_info=True)
        return None
    return float(value) if np.isfinite(value) else None
