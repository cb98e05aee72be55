"""A model: frozen weights, nothing learnt from the cells at hand."""

import zlib

import numpy as np

from scrutiny import CellEmbedding, Dataset, MethodCard


class HashNet:
    card = MethodCard(
        "acme/hashnet",
        "log counts through one frozen random layer, 16 dimensions",
        organisms=frozenset({"human", "mouse"}),  # any other is not applicable, with this reason, before anything runs
        trained_on=frozenset({"pbmc_12k"}),  # names of the catalogue; None: not known
        seconds_per_1000_cells=0.1,
        licence="BSD-3-Clause",
    )

    def __init__(self, n_dims: int = 16) -> None:  # options of a study, part of every record
        self.n_dims = n_dims

    def fit(self, train: Dataset, *, seed: int) -> "HashNet":
        return self  # zero-shot

    def embed(self, query: Dataset) -> CellEmbedding:
        # A gene's weights follow from its name, so the order of the genes in the file plays no part.
        rows = [np.random.default_rng(zlib.crc32(gene.encode())).standard_normal(self.n_dims) for gene in query.genes]
        weights = np.stack(rows)  # (n_genes, n_dims)
        values = np.empty((query.n_cells, self.n_dims), dtype=np.float32)
        for start, stop, counts in query.matrix.chunks():  # sparse; never the whole matrix at once
            values[start:stop] = counts.log1p() @ weights
        return CellEmbedding(values, query.cell_ids)
