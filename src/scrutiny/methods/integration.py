"""Integration baselines: they read the batch column and embed all cells at once, so they cannot embed unseen cells."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import ContractError, NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.prepare import highly_variable, log_values, pca

from .global_state import seeded_generators
from .linear import N_DIMS, N_TOP, HvgPca
from .mutual_neighbors import K, correct

BATCH = frozenset({"batch"})
MAX_DENSE_CELLS = 50_000
"""ComBat holds several dense copies of cells x 2,000 genes: at 50,000 cells about 3 GB."""


class Harmony:
    """Moves cells of a cluster towards each other across batches, until the clusters hold every batch alike."""

    card = MethodCard(
        "harmony",
        "Harmony on the hvg_pca embedding, defaults of harmonypy",
        kind="baseline",
        scale=None,
        reads=BATCH,
        transductive=True,
        seeded=True,
        requires=("harmonypy",),
        extra="integration",
        seconds_per_1000_cells=0.2,
        seconds_to_start=1.5,
        licence="GPL-3.0 (harmonypy)",
        citation="Korsunsky et al. 2019, Nature Methods 16:1289",
    )

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        from harmonypy import run_harmony

        batches = batches_of(data)
        components = HvgPca().fit(data, seed=seed).embed(data)
        n_clusters = max(2, min(round(data.n_cells / 30), 100))
        found = run_harmony(components.values, {"batch": batches}, "batch", nclust=n_clusters, random_state=seed, verbose=False)
        values = np.asarray(found.Z_corr, dtype=np.float32)
        # Version 1 gave components x cells. There are always fewer components than cells, so the shape tells them apart.
        if values.shape != components.values.shape:
            raise ContractError(f"harmonypy gave {values.shape} for {components.values.shape} (cells x components); version 2 is needed")
        return CellEmbedding(values, components.cell_ids)


class Scanorama:
    """Stitches batches together like a panorama, by mutual nearest neighbours in a common low-dimensional space."""

    card = MethodCard(
        "scanorama",
        "Scanorama on the log-normalised 2,000 most variable genes, 100 dimensions as by default",
        kind="baseline",
        scale=None,
        reads=BATCH,
        transductive=True,
        seeded=True,
        requires=("scanorama",),
        extra="integration",
        seconds_per_1000_cells=0.6,
        seconds_to_start=3.0,
        licence="MIT (scanorama)",
        citation="Hie et al. 2019, Nature Biotechnology 37:685",
    )

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        import scanorama

        batches = batches_of(data)
        columns = highly_variable(data, N_TOP)
        values, genes = log_values(data, columns), [str(g) for g in data.genes[columns]]
        rows = [np.flatnonzero(batches == name) for name in np.unique(batches)]
        parts = [values[r] for r in rows]
        with seeded_generators(seed), redirect_stdout(io.StringIO()):
            merged, _ = scanorama.integrate(
                parts,
                [genes] * len(parts),
                dimred=min(100, len(genes) - 1, data.n_cells - 1),
                knn=min(20, *(len(r) for r in rows)),
                seed=seed,
                verbose=0,
            )
        # The parts come back batch by batch: rows go where their cells stand in the data.
        together = np.empty((data.n_cells, merged[0].shape[1]), dtype=np.float32)
        for where, part in zip(rows, merged, strict=True):
            together[where] = part
        return CellEmbedding(together, data.cell_ids)


class Combat:
    """Takes out of every gene what is constant in a batch (mean and spread), shrunk towards all genes of the batch."""

    card = MethodCard(
        "combat",
        "ComBat on the log-normalised 2,000 most variable genes, then 50 principal components",
        kind="baseline",
        scale=None,
        reads=BATCH,
        transductive=True,
        seconds_per_1000_cells=0.7,
        seconds_to_start=3.0,
        max_cells=MAX_DENSE_CELLS,
        licence="BSD-3-Clause (scanpy)",
        citation="Johnson, Li and Rabinovic 2007, Biostatistics 8:118",
    )

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        import anndata
        import scanpy
        from sklearn.decomposition import PCA

        batches = batches_of(data, smallest=2)
        values = log_values(data, highly_variable(data, N_TOP)).toarray()
        values = values[:, values.std(axis=0) > 0]
        table = anndata.AnnData(values, obs=data.obs[[]].assign(batch=batches))
        # Where a gene does not vary in a batch, the package's test of convergence divides by 0; the values stay finite.
        with np.errstate(divide="ignore", invalid="ignore"):
            corrected = scanpy.pp.combat(table, key="batch", inplace=False)
        n_dims = min(N_DIMS, corrected.shape[1], data.n_cells - 1)
        components = PCA(n_dims, svd_solver="covariance_eigh").fit_transform(corrected)
        return CellEmbedding(components.astype(np.float32), data.cell_ids)


class Mnn:
    """Mutual nearest neighbours as in fastMNN: principal components of cosine-normalised values, corrected batch by batch."""

    card = MethodCard(
        "mnn",
        f"mutual nearest neighbours (k = {K}) on 50 principal components of cosine-normalised log values, largest batch first",
        kind="baseline",
        scale=None,
        reads=BATCH,
        transductive=True,
        seconds_per_1000_cells=0.2,
        seconds_to_start=1.5,
        licence="BSD-3-Clause",
        citation="Haghverdi et al. 2018, Nature Biotechnology 36:421",
    )

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        batches = batches_of(data)
        columns = highly_variable(data, N_TOP)
        unit = replace(data.take_genes(columns), matrix=CsrMatrix(_unit_rows(log_values(data, columns))), scale=Scale.LOG)
        components = pca(unit, N_DIMS, columns=np.arange(len(columns))).transform(unit)
        return CellEmbedding(correct(components, batches).astype(np.float32), data.cell_ids)


def batches_of(data: Dataset, *, smallest: int = 1) -> NDArray[np.str_]:
    """Batch (n_cells,) of each cell.

    Raises
    ------
    NotApplicable
        If there are no batches, only one, or one of fewer than ``smallest`` cells.
    """
    batches = data.role("batch")
    names, sizes = np.unique(batches, return_counts=True)
    if len(names) < 2:
        raise NotApplicable(f"'{data.name}' has one batch ('{names[0]}'); there is nothing to integrate")
    if sizes.min() < smallest:
        raise NotApplicable(f"batch '{names[sizes.argmin()]}' of '{data.name}' has {sizes.min()} cells; {smallest} are needed in each")
    return batches


def _unit_rows(values: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each cell divided by its length (cosine normalisation); cells without counts stay 0."""
    lengths = np.sqrt(np.asarray(values.multiply(values).sum(axis=1)).ravel())
    return sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ values
