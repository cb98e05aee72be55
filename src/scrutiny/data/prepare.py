"""From values to what linear methods work on: log-normalised values, variable genes, principal components; chunk by chunk.

Nothing here holds more than one chunk of cells and one square matrix of the chosen genes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, sparse

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.matrix import Chunk

TARGET = 1e4
"""Counts per cell after normalisation (CP10K)."""
N_BINS = 20
"""Bins of mean expression in `highly_variable`, as in Seurat and scanpy."""
CLIP = 10.0
"""Largest absolute z-score after scaling, as in Seurat and scanpy's recipes."""
MAX_PCA_GENES = 10_000
"""Above this the genes-by-genes matrix (float64) passes 800 MB."""


class Moments(NamedTuple):
    """Per gene: ``mean`` and ``variance`` (n_genes,) float64; the variance is the unbiased one (n - 1)."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def gene_moments(chunks: Iterable[Chunk]) -> Moments:
    """Mean and variance of each gene over all chunks of rows."""
    n_cells, total, squares = 0, np.zeros(1), np.zeros(1)
    for _, _, values in chunks:
        n_cells += values.shape[0]
        exact = values.astype(np.float64)
        total = total + np.asarray(exact.sum(axis=0)).ravel()
        exact.data **= 2
        squares = squares + np.asarray(exact.sum(axis=0)).ravel()
    mean = total / n_cells
    variance = np.maximum(squares - n_cells * mean**2, 0.0) / max(n_cells - 1, 1)
    return Moments(mean, variance)


def log_normalise(values: sparse.csr_matrix, totals: NDArray[np.floating], target: float = TARGET) -> sparse.csr_matrix:
    """``log(1 + target * x / total)`` of each cell.

    Parameters
    ----------
    values
        (n_cells, n_genes) CSR, non-negative; not changed.
    totals
        (n_cells,) sum over all genes of the cell, also where ``values`` holds only some of them. Cells of total 0 stay 0.

    Returns
    -------
    sparse.csr_matrix
        (n_cells, n_genes) float32, natural logarithm.
    """
    scaled = _per_target(values, totals, target)
    return _with_data(scaled, np.log1p(scaled.data).astype(np.float32))


def log_chunks(data: Dataset, columns: NDArray[np.integer] | None = None) -> Iterator[Chunk]:
    """Chunks of log-normalised values of all genes or of these columns; totals are always over all genes.

    Values that are already logged or scaled come as they are; counts and unlogged normalised values are log-normalised.
    """
    for start, stop, values in data.matrix.chunks():
        chosen = values if columns is None else values[:, columns]
        if data.scale in (Scale.COUNTS, Scale.NORMALISED):
            chosen = log_normalise(chosen, _totals(values))
        yield Chunk(start, stop, chosen)


def log_values(data: Dataset, columns: NDArray[np.integer]) -> sparse.csr_matrix:
    """Log-normalised values of these columns, (n_cells, len(columns)) CSR float32 in memory."""
    return sparse.vstack([chunk.values for chunk in log_chunks(data, columns)], format="csr")


def log_entries(data: Dataset, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float32]:
    """Log-normalised values (n_entries,) of single entries; ``rows`` and ``columns`` (n_entries,) are sorted by row."""
    out = np.empty(len(rows), np.float32)
    for start, stop, values in log_chunks(data):
        low, high = np.searchsorted(rows, [start, stop])
        out[low:high] = np.asarray(values[rows[low:high] - start, columns[low:high]]).ravel()
    return out


def highly_variable(data: Dataset, n_top: int = 2000) -> NDArray[np.intp]:
    """Columns of the most variable genes, in file order: dispersion normalised within bins of mean expression.

    The recipe of Seurat 1 as scanpy computes it (``flavor="seurat"``): on values normalised to 10,000 per cell, without log,
    the logarithm of variance / mean is standardised within 20 bins of log(1 + mean) of equal width; a gene alone in its bin gets 1.
    Genes that tie with the last one are kept too. Where there are no more than ``n_top`` genes, all of them are returned.

    Raises
    ------
    NotApplicable
        If a choice is needed and the values are scaled (centred), so that no dispersion exists.
    """
    if data.n_genes <= n_top:
        return np.arange(data.n_genes)
    if data.scale is Scale.SCALED:
        raise NotApplicable(f"'{data.name}' holds scaled values, of which no variable genes can be chosen; give counts or log values")
    mean, variance = gene_moments(_unlogged_chunks(data))
    scores = _normalised_dispersion(mean, variance)
    cutoff = np.sort(scores)[::-1][n_top - 1]
    return np.flatnonzero((scores >= cutoff) & np.isfinite(scores))


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal axes fitted on some genes.

    Attributes
    ----------
    genes
        (n_chosen,) ids of the genes.
    axes
        (n_chosen, n_dims) float64, orthonormal columns; the entry of largest magnitude of each is positive.
    variance
        (n_dims,) variance along each axis (n - 1), falling.
    total_variance
        Sum over all axes, also those left out.
    """

    genes: NDArray[np.str_]
    axes: NDArray[np.float64]
    variance: NDArray[np.float64]
    total_variance: float
    _mean: NDArray[np.float64]
    _scaling: Scaling | None

    def transform(self, data: Dataset) -> NDArray[np.float32]:
        """Coordinates (n_cells, n_dims) float32 of cells, which may be others than those of the fit; genes are found by id.

        Raises
        ------
        InputError
            If the data lack some of the genes.
        """
        columns = pd.Index(data.genes).get_indexer(self.genes)
        if (columns < 0).any():
            lacking = list(self.genes[columns < 0][:3])
            raise InputError(f"'{data.name}' lacks {(columns < 0).sum()} of the {len(columns)} genes of the fit, e.g. {lacking}")
        out = np.empty((data.n_cells, self.axes.shape[1]), dtype=np.float32)
        origin = self._mean @ self.axes
        for start, stop, values in shifted_chunks(data, columns, self._scaling):
            out[start:stop] = values @ self.axes - origin
        return out


def pca(data: Dataset, n_dims: int = 50, *, scale: bool = False, columns: NDArray[np.integer] | None = None) -> Pca:
    """Principal components of the log-normalised values, centred, from the genes-by-genes covariance in float64.

    Parameters
    ----------
    n_dims
        Fewer are kept where cells or genes do not span as many.
    scale
        Bring genes to unit variance first and clip at 10, as the usual Seurat and scanpy recipes do.
    columns
        Genes to use; by default `highly_variable`.
    """
    columns = highly_variable(data) if columns is None else np.asarray(columns)
    if len(columns) > MAX_PCA_GENES:
        raise InputError(f"PCA of {len(columns)} genes was asked for; choose at most {MAX_PCA_GENES}, for example the variable ones")
    scaling = fit_scaling(data, columns) if scale else None
    gram, total = np.zeros((len(columns), len(columns))), np.zeros(len(columns))
    for _, _, values in shifted_chunks(data, columns, scaling):
        gram += (values.T @ values).toarray()
        total += np.asarray(values.sum(axis=0)).ravel()
    mean = total / data.n_cells
    covariance = (gram - data.n_cells * np.outer(mean, mean)) / max(data.n_cells - 1, 1)
    n_kept = min(n_dims, len(columns), max(data.n_cells - 1, 1))
    rising, axes = linalg.eigh(covariance, subset_by_index=[len(columns) - n_kept, len(columns) - 1])
    axes = axes[:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_kept)])
    return Pca(data.genes[columns], axes * signs, np.maximum(rising[::-1], 0.0), float(np.trace(covariance)), mean, scaling)


class Scaling(NamedTuple):
    """How genes are standardised: per gene ``mean`` and ``deviation`` of the log values, and the z-score ``of_zero``."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    of_zero: NDArray[np.float64]


def fit_scaling(data: Dataset, columns: NDArray[np.integer]) -> Scaling:
    """How these columns are brought to mean 0 and variance 1; one that does not vary is only centred."""
    mean, variance = gene_moments(log_chunks(data, columns))
    deviation = np.where(variance > 0, np.sqrt(variance), 1.0)
    return Scaling(mean, deviation, np.clip(-mean / deviation, -CLIP, CLIP))


def shifted_chunks(data: Dataset, columns: NDArray[np.integer], scaling: Scaling | None) -> Iterator[Chunk]:
    """Float64 chunks equal to the values up to a constant per gene, which centring removes: so scaled values stay sparse."""
    for start, stop, values in log_chunks(data, columns):
        exact = values.astype(np.float64)
        if scaling is not None:
            gene = exact.indices
            z = np.clip((exact.data - scaling.mean[gene]) / scaling.deviation[gene], -CLIP, CLIP)
            exact = _with_data(exact, z - scaling.of_zero[gene])
        yield Chunk(start, stop, exact)


def _unlogged_chunks(data: Dataset) -> Iterator[Chunk]:
    for start, stop, values in data.matrix.chunks():
        if data.scale is Scale.LOG:
            yield Chunk(start, stop, _with_data(values, np.expm1(values.data.astype(np.float64))))
        else:
            yield Chunk(start, stop, _per_target(values, _totals(values), TARGET))


def _normalised_dispersion(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score (n_genes,) of each gene, -inf where it does not vary."""
    varies = variance > 0
    log_dispersion = np.full(len(mean), np.nan)
    log_dispersion[varies] = np.log(variance[varies] / mean[varies])
    # Genes that do not vary still take part in the range of the bins, as they do in scanpy.
    table = pd.DataFrame({"value": log_dispersion, "bin": pd.cut(np.log1p(np.maximum(mean, 1e-12)), bins=N_BINS, labels=False)})
    by_bin = table.groupby("bin")["value"]
    centre, spread = by_bin.transform("mean"), by_bin.transform("std")
    scores = ((table["value"] - centre) / spread).to_numpy()
    alone = varies & spread.isna().to_numpy()
    return np.where(varies, np.where(alone, 1.0, scores), -np.inf)


def _totals(values: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()


def _per_target(values: sparse.csr_matrix, totals: NDArray[np.floating], target: float) -> sparse.csr_matrix:
    factors = np.divide(target, totals, out=np.zeros(len(totals)), where=np.asarray(totals) > 0)
    return _with_data(values, values.data * np.repeat(factors, np.diff(values.indptr)))


def _with_data(values: sparse.csr_matrix, data: NDArray[np.floating]) -> sparse.csr_matrix:
    return sparse.csr_matrix((data, values.indices, values.indptr), shape=values.shape)
