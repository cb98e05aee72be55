"""Cheap baselines: depth, variable genes, principal components. What a model has to beat."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding, Reconstruction
from scrutiny.data.prepare import highly_variable, log_chunks, pca

from .entries import CELLS_AT_A_TIME, LOG_COUNT, check_has_log_counts, log_counts

N_TOP = 2000
"""Variable genes, as in scib and in the zero-shot paper."""
N_DIMS = 50
"""Principal components, the default of scanpy and Seurat."""


class Depth:
    """How much was sequenced: ``log1p`` of the counts and of the genes detected. A method below it has learnt nothing."""

    card = MethodCard(
        "depth",
        "log(1 + total counts) and log(1 + genes detected) of each cell",
        kind="baseline",
        independent=True,
        seconds_per_1000_cells=0.01,
        seconds_to_start=0.1,
        licence="BSD-3-Clause",
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        values = np.empty((query.n_cells, 2), dtype=np.float32)
        for start, stop, counts in query.matrix.chunks():
            values[start:stop, 0] = np.log1p(np.asarray(counts.sum(axis=1)).ravel())
            values[start:stop, 1] = np.log1p(np.diff(counts.indptr))
        return CellEmbedding(values, query.cell_ids)


class Hvg:
    """Log-normalised values of the variable genes themselves: no learning at all."""

    card = MethodCard(
        "hvg",
        "log-normalised values of the 2,000 most variable genes (all, if there are fewer), in full",
        kind="baseline",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.3,
        max_cells=50_000,
        licence="BSD-3-Clause",
        citation="Kedzierska et al. 2025, Genome Biology 26:101 (as baseline); Satija et al. 2015, Nature Biotechnology 33:495",
    )

    def __init__(self, n_top: int = N_TOP) -> None:
        self.n_top = n_top

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._genes = train.genes[highly_variable(train, self.n_top)]
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        values = np.empty((query.n_cells, len(self._genes)), dtype=np.float32)
        for start, stop, chosen in log_chunks(query, columns_of(query, self._genes)):
            values[start:stop] = chosen.toarray()
        return CellEmbedding(values, query.cell_ids)


class HvgPca:
    """Principal components of the variable genes, unscaled: the HVG baseline in as few dimensions as the models have."""

    card = MethodCard(
        "hvg_pca",
        "50 principal components of the 2,000 most variable genes, log-normalised, not scaled",
        kind="baseline",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=1.5,
        licence="BSD-3-Clause",
        citation="Kedzierska et al. 2025, Genome Biology 26:101 (HVG as baseline)",
    )
    unit_variance = False

    def __init__(self, n_dims: int = N_DIMS, n_top: int = N_TOP) -> None:
        self.n_dims, self.n_top = n_dims, n_top

    def fit(self, train: Dataset, *, seed: int) -> Self:
        columns = highly_variable(train, self.n_top)
        self._pca = pca(train, self.n_dims, scale=self.unit_variance, columns=columns)
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        return CellEmbedding(self._pca.transform(query), query.cell_ids)


class ScaledPca(HvgPca):
    """The recipe of the usual tutorials: each gene brought to unit variance and clipped at 10 before PCA."""

    card = MethodCard(
        "pca",
        "50 principal components of the 2,000 most variable genes, log-normalised, unit variance, clipped at 10",
        kind="baseline",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=1.5,
        licence="BSD-3-Clause",
        citation="Wolf et al. 2018, Genome Biology 19:15; Satija et al. 2015, Nature Biotechnology 33:495",
    )
    unit_variance = True

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._train, self._seed = train, seed
        self.__dict__.pop("_decoder", None)
        return super().fit(train, seed=seed)

    @cached_property
    def _decoder(self) -> Decoder:
        """Made when it is first asked for: an embedding does not need it."""
        return decoder(self._pca.transform(self._train), self._train)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """The log count of every gene, also of those that are not variable, from the components; a hidden gene enters them as 0."""
        check_has_log_counts(query)
        counts, found = log_counts(query, hide=hide, seed=self._seed), self._decoder
        scores, of_query = self._pca.transform(counts.shown(query)), columns_of(self._train, query.genes)
        predicted = np.empty(len(counts.true), np.float32)
        for start in range(0, query.n_cells, CELLS_AT_A_TIME):
            rows = np.arange(start, min(start + CELLS_AT_A_TIME, query.n_cells))
            counts.entries.pick(predicted, rows, (found.intercept + scores[rows] @ found.slopes)[:, of_query])
        return counts.entries.reconstruction(query.cell_ids, query.genes, predicted=predicted, true=counts.true, quantity=LOG_COUNT)


class Decoder(NamedTuple):
    """Log counts of all genes from components, by least squares: ``intercept`` (n_genes,), ``slopes`` (n_dims, n_genes) float32."""

    intercept: NDArray[np.float32]
    slopes: NDArray[np.float32]


def decoder(components: NDArray[np.floating], train: Dataset) -> Decoder:
    """The decoder that errs least on these cells, whose components are (n_cells, n_dims)."""
    scores = components.astype(np.float64)
    scores_mean = scores.mean(axis=0)
    shared, total = np.zeros((train.n_genes, scores.shape[1])), np.zeros(train.n_genes)
    for start, stop, values in log_chunks(train):
        shared += values.T @ (scores[start:stop] - scores_mean)
        total += np.asarray(values.sum(axis=0, dtype=np.float64)).ravel()
    slopes = np.linalg.lstsq((scores - scores_mean).T @ (scores - scores_mean), shared.T, rcond=None)[0]
    return Decoder((total / train.n_cells - scores_mean @ slopes).astype(np.float32), slopes.astype(np.float32))


def columns_of(data: Dataset, genes: NDArray[np.str_]) -> NDArray[np.intp]:
    """Columns of these genes, found by id. Raises InputError if the data lack some of them."""
    columns = pd.Index(data.genes).get_indexer(genes)
    lacking = genes[columns < 0]
    if len(lacking):
        raise InputError(f"'{data.name}' lacks {len(lacking)} of the {len(genes)} genes of the fit, e.g. {[str(g) for g in lacking[:3]]}")
    return columns
