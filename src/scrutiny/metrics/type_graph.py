"""Do labels lie as far from each other as they do in the data, batch by batch?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import Categories, categories

TRIM = 0.05
"""Share of the cells left out at either end of each dimension, where centroids are trimmed means."""
FEWEST_CELLS = 5
"""Of a type, for a place of its own; within a batch too."""
FEWEST_TYPES = 4
"""With fewer the distances of a type to the others cannot be ranked."""
SAME = 1e-9
"""Numbers of the order of 1 that spread by no more than this are the same."""


@metric(
    MetricCard(
        name="scgraph",
        family="cell types",
        better="higher",
        low=-1.0,
        high=1.0,
        recipe="In each batch (all cells, where there are none), labels of at least 5 cells and at least 4 of them; distances of their "
        "centroids in the 50 principal components before integration, each column divided by its largest; the mean over batches "
        "is the consensus. In the embedding, the same from all cells at once. Centroids are means without 5 % of the cells at "
        "either end of each dimension. For every label, Pearson correlation of both columns, weighted by 1 / consensus (near "
        "labels count more), 0 where all are equally far; mean over labels. Rare labels look remote in any embedding, so a "
        "shuffled one may be above 0.",
        source="Wang, Leskovec and Regev 2024 (Islander, scGraph): there components are made for each batch anew, of at least 100 cells",
        roof=None,
        repeats=5,
    )
)
def scgraph(
    embedding: NDArray[np.floating], labels: NDArray[Any], reference: NDArray[np.floating], batch: NDArray[Any] | None = None
) -> Measured:
    """Do labels lie as far from each other as they do within batches before anything was integrated?

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels, batch
        (n_cells,).
    reference
        (n_cells, n_components) principal components before integration.

    Raises
    ------
    NotApplicable
        If no batch has four labels of five cells, or all cells have one place.
    """
    by_label = categories(labels)
    batches = categories(np.zeros(len(by_label.codes)) if batch is None else batch)
    consensus = _consensus(reference, by_label, batches)
    everywhere = _columns(_trimmed_distances(embedding, by_label.codes, by_label.n))
    if not np.nanmax(everywhere, initial=0.0) > 0:
        raise NotApplicable("all labels have the same place in the embedding")
    found = {}
    for i, name in enumerate(by_label.names.tolist()):
        known = np.isfinite(consensus[:, i]) & np.isfinite(everywhere[:, i]) & (consensus[:, i] > 0)
        if known.sum() >= FEWEST_TYPES - 1:
            found[name] = correlation(consensus[known, i], everywhere[known, i], 1 / consensus[known, i])
    if not found:
        raise NotApplicable(f"no label has distances to {FEWEST_TYPES - 1} others")
    per_label = {name: round(value, 4) for name, value in found.items()}
    return Measured(float(np.mean([*found.values()])), details={"n_labels": len(found), "per_label": per_label})


def _consensus(reference: NDArray[np.floating], labels: Categories, batches: Categories) -> NDArray[np.float64]:
    """Mean over batches of distances (n_labels, n_labels) by column; NaN for two labels that no batch has."""
    found = []
    for code in range(batches.n):
        rows = np.flatnonzero(batches.codes == code)
        distances = _trimmed_distances(reference[rows], labels.codes[rows], labels.n)
        if np.isfinite(distances.diagonal()).sum() >= FEWEST_TYPES:
            found.append(_columns(distances))
    if not found:
        raise NotApplicable(f"no batch has {FEWEST_TYPES} labels of at least {FEWEST_CELLS} cells")
    stacked = np.stack(found)
    n = np.isfinite(stacked).sum(axis=0)
    return np.where(n > 0, np.nansum(stacked, axis=0) / np.maximum(n, 1), np.nan)


def _trimmed_distances(values: NDArray[np.floating], codes: NDArray[np.intp], n_labels: int) -> NDArray[np.float64]:
    """Euclidean distances (n_labels, n_labels) of trimmed means; NaN for labels of too few cells."""
    centroids = np.full((n_labels, values.shape[1]), np.nan)
    for code in np.flatnonzero(np.bincount(codes, minlength=n_labels) >= FEWEST_CELLS):
        centroids[code] = stats.trim_mean(values[codes == code].astype(np.float64), TRIM, axis=0)
    return np.sqrt(np.square(centroids[:, None] - centroids).sum(axis=-1))


def _columns(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column divided by its largest entry."""
    largest = np.nanmax(distances, axis=0, initial=0.0)
    return distances / np.where(largest > 0, largest, 1.0)


def correlation(first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted Pearson correlation of numbers of the order of 1 (n,), 0 where one of the two does not vary."""
    share = weights / weights.sum()
    first, second = first - share @ first, second - share @ second
    spread = np.sqrt(share @ first**2), np.sqrt(share @ second**2)
    return float(np.clip(share @ (first * second) / (spread[0] * spread[1]), -1, 1)) if min(spread) > SAME else 0.0
