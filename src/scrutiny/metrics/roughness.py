"""How rough the labels are over the embedding: do they change from one cell to the next, or from region to region?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import Categories, several

MOST_CELLS = 2_000
"""Clustered by hierarchy; of more a sample, stratified by label (seed 0), is."""


@metric(
    MetricCard(
        name="rogi",
        family="cell types",
        better="lower",
        low=0.0,
        high=1.0,
        recipe="Cells (of more than 2,000 a sample of so many, stratified by label, seed 0) are merged by complete linkage of euclidean "
        "distances, and each cluster shows the shares of its labels in place of the label. S(n) is the standard deviation that n "
        "clusters leave: the root of the variance of the shares over cells, summed over labels. The mean of 1 - S(n) / S(all "
        "cells) over x = 1 - ln n / ln n_cells from 0 to 1 (trapezoids). Labels given at random are near the highest value that "
        "their number allows; the best is above 0, as the last merges join labels.",
        source="Aldeghi et al. 2022 (ROGI); x of Graff et al. 2023 (ROGI-XD), so that widths compare; labels as one-hot: ours",
    )
)
def rogi(embedding: NDArray[np.floating], labels: NDArray[Any]) -> Measured:
    """Roughness index of the labels: what is lost when neighbours are taken together, low where labels are smooth over the embedding.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels
        (n_cells,).

    Raises
    ------
    NotApplicable
        If there are fewer than two labels, or all cells have one place.
    """
    from scipy.cluster.hierarchy import linkage

    by_label = several(labels, "label")
    rows = _sample(by_label)
    points = embedding[rows].astype(np.float64)
    if (points == points[0]).all():
        raise NotApplicable("all cells have the same place in the embedding, so none are neighbours")
    merges = linkage(points, "complete")[:, :2].astype(np.intp)
    left = _deviation_left(merges, by_label.codes[rows], by_label.n)
    n_cells = len(rows)
    if left[0] == 0:
        raise NotApplicable("the cells that were sampled have one label")
    x = 1 - np.log(np.arange(n_cells, 0, -1)) / np.log(n_cells)
    return Measured(float(np.trapezoid(1 - left / left[0], x)), details={"n_cells": n_cells})


def _deviation_left(merges: NDArray[np.intp], codes: NDArray[np.intp], n_labels: int) -> NDArray[np.float64]:
    """Standard deviation (n_cells,) of the shares of labels after 0, 1 ... merges of two clusters each (n_cells - 1, 2)."""
    n_cells = len(codes)
    counts = np.zeros((2 * n_cells - 1, n_labels))
    counts[np.arange(n_cells), codes] = 1
    for step, (first, second) in enumerate(merges):
        counts[n_cells + step] = counts[first] + counts[second]
    squares = np.square(counts).sum(axis=1) / counts.sum(axis=1) / n_cells
    change = squares[n_cells:] - squares[merges[:, 0]] - squares[merges[:, 1]]
    overall = np.square(np.bincount(codes, minlength=n_labels) / n_cells).sum()
    return np.sqrt(np.maximum(np.concatenate([[1.0], 1 + np.cumsum(change)]) - overall, 0.0))


def _sample(labels: Categories) -> NDArray[np.intp]:
    """Rows (n_sampled,) of all cells, or of a share of every label."""
    n_cells = len(labels.codes)
    if n_cells <= MOST_CELLS:
        return np.arange(n_cells)
    rng = np.random.default_rng(0)
    of_label = (np.flatnonzero(labels.codes == code) for code in range(labels.n))
    return np.sort(np.concatenate([rng.choice(rows, round(MOST_CELLS * len(rows) / n_cells), replace=False) for rows in of_label]))
