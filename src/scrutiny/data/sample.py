"""A smaller data set with the same make-up, for plans that must take minutes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset
from scrutiny.core.matrix import CsrMatrix

N_CELLS = 5000
"""Cells of a default plan."""
STRATA = ("label", "batch", "split")
"""Roles whose make-up a sample keeps."""


def sample(data: Dataset, n_cells: int = N_CELLS) -> Dataset:
    """At most ``n_cells`` cells, of each label in each batch as large a share as in the data; in file order and in memory.

    Shares are made whole by the largest remainder, and cells drawn with a generator that is seeded by the fingerprint, so the same
    data always give the same cells. Smaller data come back as they are. The notes say that it is a sample and what it lost.
    """
    if data.n_cells <= n_cells:
        return data
    strata = _strata(data)
    rng = np.random.default_rng(int(data.fingerprint, 16))
    rows = np.sort(np.concatenate([rng.permutation(rows)[:n] for rows, n in zip(strata, shares([len(s) for s in strata], n_cells))]))
    drawn = data.take(rows)
    by = " in each ".join(role for role in STRATA if data.has(role))
    note = f"Everything here rests on a sample of {n_cells:,} of {data.n_cells:,} cells{f', proportional to {by}' if by else ''}."
    return replace(drawn, matrix=CsrMatrix(drawn.matrix.to_csr()), notes=(*data.notes, note, *_lost(data, drawn)))


def shares(sizes: list[int], total: int) -> NDArray[np.intp]:
    """``total`` dealt in proportion to ``sizes`` (n_strata,): whole parts first, then one each to the largest remainders.

    Equal remainders go to the earlier stratum. No stratum gets more than it has, as long as ``total`` is at most their sum.
    """
    exact = np.asarray(sizes, dtype=np.float64) * total / sum(sizes)
    whole = np.floor(exact).astype(np.intp)
    whole[np.argsort(-(exact - whole), kind="stable")[: total - whole.sum()]] += 1
    return whole


def _strata(data: Dataset) -> list[NDArray[np.intp]]:
    """Rows of each label in each batch, in sorted order of their names."""
    columns = {role: data.role(role) for role in STRATA if data.has(role)}
    if not columns:
        return [np.arange(data.n_cells)]
    groups = pd.DataFrame(columns).groupby(list(columns), sort=True).indices
    return [groups[key] for key in sorted(groups)]


def _lost(data: Dataset, drawn: Dataset) -> list[str]:
    lost = {role: sorted({*data.role(role)} - {*drawn.role(role)}) for role in STRATA if data.has(role)}
    return [f"The sample has no cell of the {role} {', '.join(names)}: too rare." for role, names in lost.items() if names]
