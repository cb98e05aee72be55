"""What is in the neighbourhood of a cell: LISI, purity of labels, entropy of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .categories import Categories, several
from .neighbors import N_NEIGHBORS, Neighbors

PERPLEXITY = 30
"""Of LISI: the effective number of neighbours."""

PURITY_NEIGHBORS = 15

ENTROPY_TOLERANCE = 1e-5
"""How near the entropy of the weights comes to log(perplexity)."""


@derived("neighbor_weights")
def neighbor_weights(neighbors: Neighbors) -> NDArray[np.float64]:
    """Weights (n_cells, k) of the nearest neighbours by distance, each row of perplexity 30 and adding up to 1.

    With fewer than 90 neighbours the perplexity is a third of their number.

    Raises
    ------
    NotApplicable
        If there are fewer than 10 cells.
    """
    nearest = neighbors.first(N_NEIGHBORS)
    if nearest.k < 9:
        raise NotApplicable(f"LISI needs at least 10 cells; there are {len(nearest.indices)}")
    return perplexity_weights(nearest.distances, perplexity=min(PERPLEXITY, nearest.k // 3))


def perplexity_weights(distances: NDArray[np.floating], *, perplexity: float) -> NDArray[np.float64]:
    """Weights proportional to exp(-beta d), beta chosen cell by cell such that their entropy is log(perplexity).

    Newton steps on log(beta), halved where they leave the bracket, until the entropy is within 1e-5 as in harmonypy (which only
    halves, four times as long). Where all distances are equal no beta gets there and the weights are equal.

    Parameters
    ----------
    distances
        (n_cells, k), not squared.

    References
    ----------
    Korsunsky et al. 2019, Nature Methods 16:1289.
    """
    beyond = distances.astype(np.float64) - distances.min(axis=1, keepdims=True)
    spread = beyond.mean(axis=1)
    beta = 1 / np.where(spread > 0, spread, 1.0)
    low, high = np.zeros(len(beyond)), np.full(len(beyond), np.inf)
    todo = np.arange(len(beyond))
    for _ in range(50):
        scaled = beyond[todo] * beta[todo, None]
        weights = np.exp(-scaled)
        total = weights.sum(axis=1)
        mean = np.einsum("ij,ij->i", scaled, weights) / total
        excess = np.log(total) + mean - np.log(perplexity)
        unsettled = np.abs(excess) >= ENTROPY_TOLERANCE
        if not unsettled.any():
            break
        slope = np.einsum("ij,ij,ij->i", scaled, scaled, weights) / total - np.square(mean)
        todo, excess, slope = todo[unsettled], excess[unsettled], slope[unsettled]
        low[todo] = np.where(excess > 0, beta[todo], low[todo])
        high[todo] = np.where(excess > 0, high[todo], beta[todo])
        step = beta[todo] * np.exp(np.clip(excess / np.maximum(slope, 1e-9), -1, 1))
        middle = np.where(np.isfinite(high[todo]), (low[todo] + high[todo]) / 2, 2 * beta[todo])
        beta[todo] = np.where((low[todo] < step) & (step < high[todo]), step, middle)
    weights = np.exp(-beyond * beta[:, None])
    return weights / weights.sum(axis=1, keepdims=True)


def shares(indices: NDArray[np.integer], of: Categories, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Weight (n_cells, n_categories) that the neighbours (n_cells, k) of each cell give to each category; 1 / k each by default."""
    n_cells, k = indices.shape
    place = np.arange(n_cells)[:, None] * of.n + of.codes[indices]
    each = np.full(indices.size, 1 / k) if weights is None else weights.ravel()
    return np.bincount(place.ravel(), each, minlength=n_cells * of.n).reshape(n_cells, of.n)


def lisi(indices: NDArray[np.integer], weights: NDArray[np.floating], of: Categories) -> NDArray[np.float64]:
    """Local inverse Simpson index (n_cells,): the effective number of categories among the weighted neighbours, from 1 to all."""
    return np.clip(1 / np.square(shares(indices, of, weights)).sum(axis=1), 1, of.n)


def scaled_mixing(values: NDArray[np.float64], n: int, facts: dict[str, Any]) -> Measured:
    """The median of a LISI by batch, from 1..n to 0..1: 1 where all batches are mixed."""
    return Measured(float((np.median(values) - 1) / (n - 1)), details=_raw(values, n) | facts)


def scaled_separation(values: NDArray[np.float64], n: int, facts: dict[str, Any]) -> Measured:
    """The median of a LISI by label, from 1..n to 1..0: 1 where every neighbourhood has one label."""
    return Measured(float((n - np.median(values)) / (n - 1)), details=_raw(values, n) | facts)


def _raw(values: NDArray[np.float64], n: int) -> dict[str, Any]:
    return {"raw_median": float(np.median(values)), "raw_mean": float(values.mean()), "categories": n}


@metric(
    MetricCard(
        name="clisi",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="(L - median LISI by label) / (L - 1), L labels; LISI over the 90 nearest other cells, euclidean, perplexity 30.",
        source="Korsunsky et al. 2019; harmonypy compute_lisi (scib-metrics counts the cell itself among its 90)",
    )
)
def clisi(neighbors: Neighbors, neighbor_weights: NDArray[np.float64], labels: NDArray[Any]) -> Measured:
    """Whether neighbourhoods hold one label only (1) or all of them (0).

    Raises
    ------
    NotApplicable
        If there is one label or fewer than 10 cells.
    """
    by_label = several(labels, "label")
    values = lisi(neighbors.first(N_NEIGHBORS).indices, neighbor_weights, by_label)
    return scaled_separation(values, by_label.n, neighbors.facts)


@metric(
    MetricCard(
        name="ilisi",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="(median LISI by batch - 1) / (B - 1), B batches; LISI over the 90 nearest other cells, euclidean, perplexity 30.",
        source="Korsunsky et al. 2019; harmonypy compute_lisi (scib-metrics counts the cell itself among its 90)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
        repeats=4,
    )
)
def ilisi(neighbors: Neighbors, neighbor_weights: NDArray[np.float64], batch: NDArray[Any]) -> Measured:
    """Whether neighbourhoods hold all batches (1) or one only (0).

    Raises
    ------
    NotApplicable
        If there is one batch or fewer than 10 cells.
    """
    by_batch = several(batch, "batch")
    values = lisi(neighbors.first(N_NEIGHBORS).indices, neighbor_weights, by_batch)
    return scaled_mixing(values, by_batch.n, neighbors.facts)


@metric(
    MetricCard(
        name="knn_purity",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Share of the 15 nearest other cells (euclidean) that have the cell's label, mean over cells.",
        per_cell=True,
    )
)
def knn_purity(neighbors: Neighbors, labels: NDArray[Any]) -> Measured:
    """How many of a cell's nearest neighbours share its label.

    Raises
    ------
    NotApplicable
        If there is one label.
    """
    codes = several(labels, "label").codes
    nearest = neighbors.first(PURITY_NEIGHBORS)
    pure = (codes[nearest.indices] == codes[:, None]).mean(axis=1)
    return Measured(float(pure.mean()), per_cell=pure, details={"k": nearest.k} | neighbors.facts)


@metric(
    MetricCard(
        name="batch_entropy",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Shannon entropy of the batches among the 90 nearest other cells (euclidean) over log(B), B batches, mean over cells. "
        "Batches of unequal size keep it under 1 even when mixed.",
        source="cz-benchmarks (entropy per cell, there among 200 neighbours)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
        per_cell=True,
    )
)
def batch_entropy(neighbors: Neighbors, batch: NDArray[Any]) -> Measured:
    """How evenly the batches are spread in a cell's neighbourhood.

    Raises
    ------
    NotApplicable
        If there is one batch.
    """
    by_batch = several(batch, "batch")
    nearest = neighbors.first(N_NEIGHBORS)
    share = shares(nearest.indices, by_batch)
    entropy = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(axis=1) / np.log(by_batch.n)
    entropy = np.clip(entropy, 0, 1)
    return Measured(float(entropy.mean()), per_cell=entropy, details={"k": nearest.k} | neighbors.facts)
