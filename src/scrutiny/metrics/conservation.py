"""Is what is known of the cells beside their labels still there: the order along a trajectory, the cell cycle, variable genes?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import orth
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.stats import spearmanr

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .categories import categories
from .regression import N_COMPONENTS, leading_axes

MIN_CELLS_OF_TRAJECTORY = 30

MIN_CELLS_OF_BATCH = 30

N_DIFFUSION_COMPONENTS = 10
"""As in scanpy, counting the steady state."""


@metric(
    MetricCard(
        name="trajectory",
        family="conservation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="(rho + 1) / 2, rho the Spearman correlation of the given pseudotime with diffusion pseudotime (10 components) on the "
        "weighted graph of 15 neighbours, in its largest connected component, from the cell of smallest given pseudotime in it. Cells "
        "outside it have no order: they count with the median. Cells without a given pseudotime are left out.",
        source="Luecken et al. 2022 (scib trajectory_conservation); Haghverdi et al. 2016 (diffusion pseudotime)",
        roof=None,
    )
)
def trajectory(connectivities: sparse.csr_matrix, pseudotime: NDArray[Any]) -> Measured:
    """Whether walking along the embedding meets the cells in the order of a known trajectory; 0.5 is no relation.

    Parameters
    ----------
    connectivities
        (n_cells, n_cells) symmetric.
    pseudotime
        (n_cells,) numbers; NaN where a cell is on no trajectory.

    Raises
    ------
    NotApplicable
        If fewer than 30 cells that hang together have a pseudotime, or all the same.
    """
    times = pseudotime.astype(np.float64)
    known = np.flatnonzero(np.isfinite(times))
    before, graph = times[known], connectivities[known][:, known]
    _, component = connected_components(graph, directed=False)
    largest = np.flatnonzero(component == np.bincount(component, minlength=1).argmax())
    if len(largest) < MIN_CELLS_OF_TRAJECTORY:
        raise NotApplicable(f"a trajectory needs {MIN_CELLS_OF_TRAJECTORY} cells that hang together; {len(largest)} of {len(known)} do")
    if np.ptp(before) == 0:
        raise NotApplicable(f"all {len(known)} cells have the same pseudotime, so there is no order to keep")
    reached = diffusion_pseudotime(graph[largest][:, largest], root=int(before[largest].argmin()))
    after = np.full(len(known), np.median(reached))
    after[largest] = reached
    rho = float(spearmanr(before, after).statistic)
    return Measured((rho + 1) / 2, details={"cells_with_pseudotime": len(known), "cells_in_largest_component": len(largest)})


def diffusion_pseudotime(graph: sparse.csr_matrix, *, root: int) -> NDArray[np.float64]:
    """Distance of every cell from the root along random walks of all lengths, (n_cells,) from 0 to 1.

    Parameters
    ----------
    graph
        (n_cells, n_cells) symmetric weights, connected.
    root
        Row of the cell where time starts.

    scanpy's `dpt` also takes components with an eigenvalue above 0.9994 for steady and all but ignores them. Here only the one steady
    state is left out, because on long trajectories the components that decay slowest are the ones that hold the order.

    References
    ----------
    Haghverdi et al., Nature Methods 13:845 (2016).
    """
    density = sparse.diags(1 / np.asarray(graph.sum(axis=1)).ravel())
    kernel = density @ graph.astype(np.float64) @ density
    scale = sparse.diags(1 / np.sqrt(np.asarray(kernel.sum(axis=1)).ravel()))
    start = np.random.default_rng(0).standard_normal(graph.shape[0])
    values, vectors = eigsh(scale @ kernel @ scale, k=min(N_DIFFUSION_COMPONENTS, graph.shape[0] - 1), which="LA", v0=start)
    decaying, vectors = values[:-1], vectors[:, :-1]  # ascending: the last one is the steady state
    distance = np.sqrt(np.square(decaying / (1 - decaying) * (vectors - vectors[root])).sum(axis=1))
    return distance / distance.max()


@metric(
    MetricCard(
        name="cell_cycle",
        family="conservation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="In every batch of at least 30 cells: 1 - |after - before| / before, at least 0, with before and after the share of the "
        "variance of the first 50 principal components (of the unintegrated variable genes; of the embedding) that a linear regression "
        "on S and G2M score explains; unweighted mean over batches.",
        source="Luecken et al. 2022 (scib cell_cycle)",
        roof="control/no_integration",
    )
)
def cell_cycle(
    embedding: NDArray[np.floating], reference: NDArray[np.floating], phase_scores: NDArray[np.floating], batch: NDArray[Any]
) -> Measured:
    """Whether the cell cycle takes the share of variance that it had before. Where it had none, its loss costs nothing.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    reference
        (n_cells, n_components): components of the same cells before integration.
    phase_scores
        (n_cells, 2) S and G2M scores.
    batch
        (n_cells,).

    Raises
    ------
    NotApplicable
        If no batch is large enough, or the phase explains nothing of any.
    """
    by_batch = categories(batch)
    scores: dict[str, float] = {}
    for code, name in enumerate(by_batch.names):
        rows = np.flatnonzero(by_batch.codes == code)
        before = explained_by_regression(reference[rows], phase_scores[rows]) if len(rows) >= MIN_CELLS_OF_BATCH else 0.0
        if before > np.finfo(np.float32).eps:
            after = explained_by_regression(embedding[rows], phase_scores[rows])
            scores[str(name)] = max(0.0, 1 - abs(after - before) / before)
    if not scores:
        raise NotApplicable(f"in none of the {by_batch.n} batches do {MIN_CELLS_OF_BATCH} cells or more vary with the cell cycle")
    return Measured(float(np.mean(list(scores.values()))), details={"per_batch": scores})


def explained_by_regression(embedding: NDArray[np.floating], covariates: NDArray[np.floating]) -> float:
    """Share of the variance of the first 50 principal components that a linear regression on the covariates explains, 0 to 1.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    covariates
        (n_cells, n_covariates) numbers.
    """
    mean = embedding.mean(axis=0, dtype=np.float64)
    axes = leading_axes(embedding, mean, N_COMPONENTS)
    components = embedding - mean if axes is None else (embedding - mean) @ axes
    total = float(np.square(components).sum())
    directions = orth(covariates - covariates.mean(axis=0, dtype=np.float64))
    return float(np.square(directions.T @ components).sum()) / total if total > 0 else 0.0


@metric(
    MetricCard(
        name="hvg_overlap",
        family="conservation",
        better="higher",
        low=0.0,
        high=1.0,
        recipe="In every batch: variable genes before and after integration that are the same, over the smaller number of the two; "
        "unweighted mean over batches. Only for methods that return corrected expression values.",
        source="Luecken et al. 2022 (scib hvg_overlap)",
        floor=None,
        roof=None,
    )
)
def hvg_overlap(hvg_before: NDArray[np.bool_] | None = None, hvg_after: NDArray[np.bool_] | None = None) -> Measured:
    """Whether the genes that vary within a batch are still the ones that vary.

    Parameters
    ----------
    hvg_before, hvg_after
        (n_batches, n_genes) variable genes of every batch.

    Raises
    ------
    NotApplicable
        For embeddings: they have no genes. Or if no batch has variable genes on both sides.
    """
    if hvg_before is None or hvg_after is None:
        raise NotApplicable("an embedding has no genes; this needs corrected expression values of the genes")
    smaller = np.minimum(hvg_before.sum(axis=1), hvg_after.sum(axis=1))
    if not smaller.any():
        raise NotApplicable(f"none of the {len(smaller)} batches has variable genes before and after")
    shares = (hvg_before & hvg_after).sum(axis=1)[smaller > 0] / smaller[smaller > 0]
    return Measured(float(shares.mean()), details={"per_batch": shares.tolist()})
