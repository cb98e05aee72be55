"""kBET: whether the batches of a neighbourhood are a fair draw of all batches, by a chi-square test for every cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import Categories, categories, several
from .mixing import shares
from .neighbors import Neighbors, nearest

K = 50
"""Cells of a neighbourhood, the cell itself among them."""

ALPHA = 0.05


@metric(
    MetricCard(
        name="kbet",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Share of cells whose 50 nearest cells (itself among them, euclidean) hold the batches in their global shares, by a "
        "chi-square test (B - 1 degrees of freedom) at p >= 0.05. Needs 100 cells.",
        source="Buettner et al. 2019 (acceptance = 1 - rejection rate); scib-metrics kbet",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
        per_cell=True,
    )
)
def kbet(neighbors: Neighbors, batch: NDArray[Any]) -> Measured:
    """Acceptance over all cells. Where cell types differ between batches even a perfect embedding is rejected: see `kbet_label`.

    Raises
    ------
    NotApplicable
        If there is one batch or fewer than 100 cells.
    """
    by_batch = several(batch, "batch")
    n_cells = len(by_batch.codes)
    if n_cells < 2 * K:
        raise NotApplicable(f"a neighbourhood of {K} cells says nothing among {n_cells} cells; needs {2 * K}")
    accepted = accepts(neighbors.first(K - 1).indices, by_batch)
    return Measured(float(accepted.mean()), per_cell=accepted, details={"k": K} | neighbors.facts)


@metric(
    MetricCard(
        name="kbet_label",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="kBET among the cells of one label: its own nearest neighbours (euclidean), its own batch shares, k = a quarter of its mean "
        "batch size within 10..70, the cell itself counted; unweighted mean over labels. Labels of one batch or of fewer than 2 k cells "
        "are left out. No diffusion map: a label that falls apart is judged by its neighbourhoods like any other.",
        source="Luecken et al. 2022 (scib kBET), without its diffusion step",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def kbet_label(embedding: NDArray[np.floating], labels: NDArray[Any], batch: NDArray[Any]) -> Measured:
    """Acceptance within labels, which does not ask that cell types be equally common in all batches.

    Each label is judged by itself, so neither the order of the labels nor that of the cells matters.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels, batch
        (n_cells,).

    Raises
    ------
    NotApplicable
        If no label has two batches and enough cells.
    """
    by_label, by_batch = categories(labels), several(batch, "batch")
    values: dict[str, float] = {}
    left_out: list[str] = []
    for code, name in enumerate(by_label.names.tolist()):
        cells = np.flatnonzero(by_label.codes == code)
        own = categories(by_batch.codes[cells])
        k = int(np.clip(len(cells) / own.n // 4, 10, 70))
        if own.n < 2 or len(cells) < 2 * k:
            left_out.append(name)
        else:
            values[name] = float(accepts(nearest(embedding[cells], k - 1).indices, own).mean())
    if not values:
        raise NotApplicable(f"none of the {by_label.n} labels has cells of two batches and at least 20 cells")
    return Measured(float(np.mean(list(values.values()))), details={"per_label": values, "labels_left_out": left_out})


def accepts(others: NDArray[np.integer], batch: Categories) -> NDArray[np.float64]:
    """1 where the batches of a cell and its neighbours (n_cells, k - 1) pass the chi-square test, 0 where they do not."""
    n_cells, n_others = others.shape
    observed = shares(others, batch) * n_others
    observed[np.arange(n_cells), batch.codes] += 1
    expected = (n_others + 1) * batch.sizes / n_cells
    statistic = (np.square(observed - expected) / expected).sum(axis=1)
    return (chdtrc(batch.n - 1, statistic) >= ALPHA).astype(np.float64)
