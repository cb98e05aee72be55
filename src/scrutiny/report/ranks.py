"""Ranks without weights: non-dominated sorting over biology, batch and cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .comparisons import Comparison

AXES = {"biology": ("scib_bio", "avg_bio"), "batch": ("scib_batch", "ilisi")}
"""Axis to the metrics that can stand for it, the first that was measured; the primary metric stands for biology where it is of labels."""


def axes(comparison: Comparison) -> pd.DataFrame:
    """Biology, batch and cost of every contender.

    Returns
    -------
    DataFrame (n_methods, 2 or 3), index method, columns among ``biology``, ``batch`` (higher is better) and ``cost`` (seconds, lower is
    better). An axis that was not measured is left out; so is a method that lacks a value on one of the others.
    """
    methods = comparison.contenders
    columns = {axis: comparison.values[metric] * comparison.direction(metric) for axis, metric in axis_metrics(comparison).items()}
    columns["cost"] = comparison.cost["seconds"]
    return pd.DataFrame(columns).reindex(methods).dropna()


def axis_metrics(comparison: Comparison) -> dict[str, str]:
    """Axis to the metric that stands for it here."""
    chosen = {}
    for axis, names in AXES.items():
        candidates = (comparison.primary, *names) if axis == "biology" and _is_of_labels(comparison) else names
        measured = [metric for metric in candidates if metric in comparison.values]
        if measured:
            chosen[axis] = measured[0]
    return chosen


def fronts(comparison: Comparison) -> dict[str, int]:
    """Method to front: 1 for those that no other method matches on every axis while being better on one, 2 for the next, and so on."""
    table = axes(comparison)
    ranks = non_dominated_fronts(table.assign(cost=-table["cost"]).to_numpy(float))
    return dict(zip(table.index, ranks.tolist()))


def non_dominated_fronts(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Front of each point, from 1.

    Parameters
    ----------
    points
        Shape (n_points, n_axes), higher is better on each axis. Equal points share a front.

    References
    ----------
    Deb et al., IEEE Trans Evol Comput 6:182 (2002), section III A.
    """
    at_least = (points[:, None, :] >= points[None, :, :]).all(axis=2)
    dominates = np.asarray(at_least & ~at_least.T)
    found = np.zeros(len(points), dtype=np.int64)
    front = 0
    while (found == 0).any():
        front += 1
        left = found == 0
        free = left & ~dominates[left].any(axis=0)
        found[free] = front
    return found


def _is_of_labels(comparison: Comparison) -> bool:
    return str(comparison.metrics.at[comparison.primary, "family"]) in ("cell types", "annotation")
