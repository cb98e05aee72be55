"""Principal component regression: the share of an embedding's variance that the batch explains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import Categories, several

N_COMPONENTS = 50


@metric(
    MetricCard(
        name="pcr_batch",
        family="batches",
        better="lower",
        low=0.0,
        high=1.0,
        recipe="Sum over the first 50 principal components of variance times R2, over the sum of their variance; R2 of a one-way ANOVA on "
        "the batch as categories (never as a number). All components where there are no more than 50 dimensions.",
        source="Buettner et al. 2019; Luecken et al. 2022 (scib pcr)",
        floor=None,
        roof=None,
    )
)
def pcr_batch(embedding: NDArray[np.floating], batch: NDArray[Any]) -> float:
    """Share of the embedding's variance that lies between batches. Real differences between the batches' cells count too.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    batch
        (n_cells,); integers are categories.

    Raises
    ------
    NotApplicable
        If there is one batch or the embedding is constant.
    """
    return explained_share(embedding, several(batch, "batch"))


@metric(
    MetricCard(
        name="pcr_comparison",
        family="batches",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="(before - after) / before, 0 where negative; after = pcr_batch of the embedding, before = pcr_batch of the 50 principal "
        "components of the unintegrated variable genes.",
        source="Luecken et al. 2022 (scib pcr_comparison)",
        floor=None,
        roof=None,
    )
)
def pcr_comparison(embedding: NDArray[np.floating], reference: NDArray[np.floating], batch: NDArray[Any]) -> Measured:
    """How much of the variance between batches is gone. The value before clipping at 0 is in the details.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    reference
        (n_cells, n_components): components of the same cells before integration.
    batch
        (n_cells,); integers are categories.

    Raises
    ------
    NotApplicable
        If there is one batch, or the batch explains nothing of the reference, or one of the two is constant.
    """
    by_batch = several(batch, "batch")
    before, after = explained_share(reference, by_batch), explained_share(embedding, by_batch)
    if before < np.finfo(np.float32).eps:
        raise NotApplicable(f"the batch explains nothing of the unintegrated data (share {before:.1e}), so nothing can be removed")
    change = (before - after) / before
    return Measured(max(0.0, change), details={"before": before, "after": after, "unclipped": change})


def explained_share(embedding: NDArray[np.floating], groups: Categories, *, n_components: int | None = N_COMPONENTS) -> float:
    """Variance between groups over total variance, summed over principal components: the ANOVA form of PCR.

    Weighing the R2 of every component by its variance leaves the variance between groups on top, so no regression is needed, and
    with all components no PCA either: both sums are the same after a rotation.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    groups
        Categories of the cells.
    n_components
        Leading components that count; None: all.

    Raises
    ------
    NotApplicable
        If the embedding is constant.
    """
    mean = embedding.mean(axis=0, dtype=np.float64)
    axes = leading_axes(embedding, mean, n_components)
    sums = np.zeros((groups.n, embedding.shape[1] if axes is None else axes.shape[1]))
    total = 0.0
    for rows, centred in _centred(embedding, mean):
        scores = centred if axes is None else centred @ axes
        np.add.at(sums, groups.codes[rows], scores)
        total += float(np.square(scores).sum())
    if total <= len(embedding) * np.finfo(np.float32).eps ** 2 * float(np.square(mean).sum()):
        raise NotApplicable(f"all {len(embedding)} cells have the same embedding, so there is no variance to explain")
    return min(1.0, float((np.square(sums) / groups.sizes[:, None]).sum() / total))


def _centred(embedding: NDArray[np.floating], mean: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Centred rows in float64, some at a time: a wide embedding is never held twice."""
    for start in range(0, len(embedding), 4096):
        rows = slice(start, start + 4096)
        yield rows, embedding[rows] - mean


def leading_axes(embedding: NDArray[np.floating], mean: NDArray[np.float64], n_components: int | None) -> NDArray[np.float64] | None:
    """Principal axes (n_dims, n_components), None where all components count; from the smaller of the two products."""
    n_cells, n_dims = embedding.shape
    rank = min(n_cells, n_dims)
    if n_components is None or rank <= n_components:
        return None
    top = (rank - n_components, rank - 1)
    if n_dims <= n_cells:
        covariance = np.zeros((n_dims, n_dims))
        for _, centred in _centred(embedding, mean):
            covariance += centred.T @ centred
        return eigh(covariance, subset_by_index=top)[1]
    centred = embedding - mean
    squares, vectors = eigh(centred @ centred.T, subset_by_index=top)
    return centred.T @ (vectors / np.sqrt(np.maximum(squares, np.finfo(float).tiny)))
