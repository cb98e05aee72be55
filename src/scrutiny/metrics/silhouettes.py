"""Silhouettes by label and by batch, euclidean and cosine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .categories import Categories, categories, crosstab, several
from .groups import GroupDistances

SAMPLED = "Above 50,000 cells: 20,000 of them against all, stratified by label, with the standard error in the details."


def _silhouette(sums: NDArray[np.floating], sizes: NDArray[np.integer], own: NDArray[np.integer]) -> NDArray[np.float64]:
    """Silhouettes (n_rows,) from sums of distances (n_rows, n_groups) to groups of these sizes (n_rows or 1, n_groups).

    (b - a) / max(a, b), with a the mean distance to the others of the own group and b that to the nearest other group; 0 for a
    cell that is alone in its group. Groups of size 0 are not there.
    """
    sizes = np.broadcast_to(sizes, sums.shape)
    here = np.arange(len(own))
    n_own = sizes[here, own]
    a = sums[here, own] / np.maximum(n_own - 1.0, 1.0)
    others = np.where(sizes > 0, sums / np.maximum(sizes, 1.0), np.inf)
    others[here, own] = np.inf
    return _contrast(a, others.min(axis=1), n_own)


def _contrast(a: NDArray[np.float64], b: NDArray[np.float64], n_own: NDArray[np.integer]) -> NDArray[np.float64]:
    larger = np.maximum(a, b)
    return np.where((n_own > 1) & (larger > 0), (b - a) / np.where(larger > 0, larger, 1.0), 0.0)


@derived("silhouettes")
def silhouettes(group_distances: GroupDistances) -> NDArray[np.float64]:
    """Silhouette of every cell by label, (n_cells,) in -1..1; NaN for cells that were not measured (see `group_distances`).

    Raises
    ------
    NotApplicable
        If all cells have one label, or every cell has a label of its own.
    """
    labels = group_distances.labels
    _needs_several(labels, "label")
    return _spread(group_distances, _silhouette(group_distances.to_label, labels.sizes, labels.codes[group_distances.rows]))


def _needs_several(groups: Categories, what: str) -> None:
    n_cells = len(groups.codes)
    if not 2 <= groups.n < n_cells:
        raise NotApplicable(f"a silhouette needs between 2 and {n_cells - 1} different values of '{what}'; {n_cells} cells have {groups.n}")


def _spread(distances: GroupDistances, values: NDArray[np.float64]) -> NDArray[np.float64]:
    every = np.full(len(distances.labels.codes), np.nan)
    every[distances.rows] = values
    return every


def _mean_score(scores: NDArray[np.float64], strata: Categories) -> Measured:
    """Mean over all cells of scores (n_cells,); from a sample (others NaN), the stratified mean and its standard error."""
    known = np.isfinite(scores)
    if known.all():
        return Measured(float(scores.mean()), per_cell=scores)
    values, variances = _per_stratum(scores[known], strata.codes[known], strata.sizes)
    share = strata.sizes / len(scores)
    error = float(np.sqrt(np.sum(share**2 * variances)))
    return Measured(float(share @ values), details={"cells_measured": int(known.sum()), "standard_error": error})


def _per_stratum(
    scores: NDArray[np.float64], codes: NDArray[np.integer], sizes: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the measured cells of each stratum, and the variance of that mean over samples (0 where all were measured)."""
    n = np.bincount(codes, minlength=len(sizes))
    means = np.bincount(codes, scores, minlength=len(sizes)) / np.maximum(n, 1)
    squares = np.bincount(codes, (scores - means[codes]) ** 2, minlength=len(sizes))
    return means, squares / np.maximum(n - 1, 1) / np.maximum(n, 1) * (1 - n / sizes)


@metric(
    MetricCard(
        name="asw_label",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="(s + 1) / 2, s the mean silhouette of the labels over all cells, euclidean; a cell alone in its label has s = 0. "
        + SAMPLED,
        source="Rousseeuw 1987; Luecken et al. 2022 (scib silhouette); scikit-learn silhouette_samples",
        per_cell=True,
    )
)
def asw_label(silhouettes: NDArray[np.float64], labels: NDArray[Any]) -> Measured:
    """Average silhouette width of the labels: near 1 they are far apart, 0.5 overlapping, below that mixed up.

    Parameters
    ----------
    silhouettes
        (n_cells,) from `silhouettes`.
    labels
        (n_cells,).
    """
    return _mean_score((silhouettes + 1) / 2, categories(labels))


@metric(
    MetricCard(
        name="isolated_asw",
        family="cell types",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="Labels that occur in the fewest batches; mean over them of the mean of (s + 1) / 2 over their cells, s the euclidean "
        "silhouette among all labels. Not applicable where every label is in every batch (scib-metrics takes all labels there). " + SAMPLED,
        source="Luecken et al. 2022 (scib isolated_labels, cluster=False)",
    )
)
def isolated_asw(silhouettes: NDArray[np.float64], labels: NDArray[Any], batch: NDArray[Any]) -> Measured:
    """How well the labels that are in the fewest batches stand apart from all others.

    Raises
    ------
    NotApplicable
        If there is one batch, or every label is in every batch.
    """
    by_label = categories(labels)
    isolated = isolated_labels(by_label, several(batch, "batch"))
    known = np.isfinite(silhouettes)
    values, variances = _per_stratum((silhouettes[known] + 1) / 2, by_label.codes[known], by_label.sizes)
    details: dict[str, Any] = {"per_label": {str(by_label.names[i]): float(values[i]) for i in isolated}}
    if not known.all():
        details |= {"cells_measured": int(known.sum()), "standard_error": float(np.sqrt(variances[isolated].sum()) / len(isolated))}
    return Measured(float(values[isolated].mean()), details=details)


def isolated_labels(labels: Categories, batch: Categories) -> NDArray[np.intp]:
    """Codes of the labels that occur in the fewest batches.

    Raises
    ------
    NotApplicable
        If every label is in every batch.
    """
    n_batches = (crosstab(labels, batch) > 0).sum(axis=1)
    if n_batches.min() == batch.n:
        raise NotApplicable(f"no label is isolated: each of the {labels.n} labels is in all {batch.n} batches")
    return np.flatnonzero(n_batches == n_batches.min())


@metric(
    MetricCard(
        name="asw_batch",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="For each label the mean over its cells of 1 - |s|, s the euclidean silhouette of the batches among the cells of the label; "
        "unweighted mean over labels. Labels with one batch, or as many batches as cells, are left out. " + SAMPLED,
        source="Luecken et al. 2022 (scib silhouette_batch)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def asw_batch(group_distances: GroupDistances, labels: NDArray[Any], batch: NDArray[Any]) -> Measured:
    """Batch silhouette within labels, turned so that 1 means that the batches of a label lie on top of each other.

    Raises
    ------
    NotApplicable
        If no label has cells of two batches.
    """
    by_label, by_batch = categories(labels), categories(batch)
    sizes = crosstab(by_label, by_batch)
    scored = _labels_with_batches(by_label, sizes)
    own, own_batch = by_label.codes[group_distances.rows], by_batch.codes[group_distances.rows]
    kept = np.isin(own, scored)
    s = _silhouette(group_distances.within_label[kept], sizes[own[kept]], own_batch[kept])
    values, variances = _per_stratum(1 - np.abs(s), own[kept], by_label.sizes)
    details = _per_label(by_label, scored, values)
    if len(own) < len(labels):
        details |= {"cells_measured": len(own), "standard_error": float(np.sqrt(variances[scored].sum()) / len(scored))}
    return Measured(float(values[scored].mean()), details=details)


def _labels_with_batches(labels: Categories, sizes: NDArray[np.integer]) -> NDArray[np.intp]:
    """Codes of the labels whose batches have a silhouette, given the cells (n_labels, n_batches) of each label in each batch."""
    n_batches = (sizes > 0).sum(axis=1)
    scored = np.flatnonzero((n_batches > 1) & (n_batches < labels.sizes))
    if not len(scored):
        raise NotApplicable(f"none of the {labels.n} labels has cells of two batches, with more cells than batches")
    return scored


def _per_label(labels: Categories, scored: NDArray[np.intp], values: NDArray[np.float64]) -> dict[str, Any]:
    left_out = [str(name) for i, name in enumerate(labels.names) if i not in set(scored)]
    return {"per_label": {str(labels.names[i]): float(values[i]) for i in scored}, "labels_left_out": left_out}


@metric(
    MetricCard(
        name="asw_batch_global",
        family="batches",
        better="lower",
        low=0.0,
        high=1.0,
        recipe="(s + 1) / 2, s the mean silhouette of the batches over all cells, euclidean, labels ignored. Low is good: the direction is "
        "the opposite of asw_batch. " + SAMPLED,
        source="Kedzierska et al. 2025 (zero-shot-scfoundation, ASW_batch)",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
        per_cell=True,
    )
)
def asw_batch_global(group_distances: GroupDistances, batch: NDArray[Any]) -> Measured:
    """Silhouette of the batches over all cells: 0.5 and below they overlap, near 1 they are apart.

    Raises
    ------
    NotApplicable
        If there is one batch, or every cell is a batch of its own.
    """
    by_batch = categories(batch)
    _needs_several(by_batch, "batch")
    s = _silhouette(group_distances.to_batch, by_batch.sizes, by_batch.codes[group_distances.rows])
    return _mean_score(_spread(group_distances, (s + 1) / 2), group_distances.labels)


@metric(
    MetricCard(
        name="bras",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="As asw_batch with cosine distance, and with b the mean distance to all cells of the other batches of the label, pooled, in "
        "place of the nearest batch. All cells, at any size.",
        source="Rautenstrauch and Ohler 2025 (batch removal adapted silhouette); scib-metrics bras",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def bras(embedding: NDArray[np.floating], labels: NDArray[Any], batch: NDArray[Any]) -> Measured:
    """Batch silhouette within labels against all other batches, cosine: 1 means that the batches of a label are mixed.

    A mean cosine distance to a group is 1 - x @ (mean of the group's unit vectors), so no pass over pairs is needed.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    labels, batch
        (n_cells,).

    Raises
    ------
    NotApplicable
        If no label has cells of two batches.
    """
    by_label, by_batch = categories(labels), categories(batch)
    sizes = crosstab(by_label, by_batch)
    scored = _labels_with_batches(by_label, sizes)
    values = np.full(by_label.n, np.nan)
    for label in scored:
        cells = np.flatnonzero(by_label.codes == label)
        values[label] = (1 - np.abs(_pooled_cosine(embedding[cells], by_batch.codes[cells]))).mean()
    return Measured(float(values[scored].mean()), details=_per_label(by_label, scored, values))


def _pooled_cosine(cells: NDArray[np.floating], batch: NDArray[np.integer]) -> NDArray[np.float64]:
    """Cosine silhouettes (n_cells,) of each cell's batch against all other cells pooled; a zero vector is at distance 1 from all."""
    lengths = np.sqrt(np.einsum("ij,ij->i", cells, cells, dtype=np.float64))[:, None]
    unit = np.divide(cells, lengths, where=lengths > 0, out=np.zeros(cells.shape))
    _, own = np.unique(batch, return_inverse=True)
    n_own = np.bincount(own)[own]
    sums = np.zeros((own.max() + 1, unit.shape[1]))
    np.add.at(sums, own, unit)
    to_own = np.einsum("ij,ij->i", unit, sums[own])
    to_all = unit @ sums.sum(axis=0)
    itself = np.einsum("ij,ij->i", unit, unit)
    a = 1 - (to_own - itself) / np.maximum(n_own - 1, 1)
    b = 1 - (to_all - to_own) / (len(own) - n_own)
    a, b = (np.where(distance > 1e-12, distance, 0.0) for distance in (a, b))  # what rounding leaves of equal directions
    return _contrast(a, b, n_own)
