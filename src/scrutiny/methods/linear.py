"""Cheap baselines: depth, variable genes, principal components. What a model has to beat."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.prepare import highly_variable, log_chunks, pca

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


def columns_of(data: Dataset, genes: NDArray[np.str_]) -> NDArray[np.intp]:
    """Columns of these genes, found by id. Raises InputError if the data lack some of them."""
    columns = pd.Index(data.genes).get_indexer(genes)
    lacking = genes[columns < 0]
    if len(lacking):
        raise InputError(f"'{data.name}' lacks {len(lacking)} of the {len(genes)} genes of the fit, e.g. {[str(g) for g in lacking[:3]]}")
    return columns
