"""A baseline: it learns which genes to look at from the training cells."""

import numpy as np

from scrutiny import CellEmbedding, Dataset, MethodCard


class TopGenes:
    card = MethodCard("acme/top_genes", "log counts of the 20 genes with most counts", kind="baseline", licence="BSD-3-Clause")

    def fit(self, train: Dataset, *, seed: int) -> "TopGenes":
        totals = sum(np.asarray(chunk.values.sum(axis=0)).ravel() for chunk in train.matrix.chunks())
        self.genes = train.genes[np.argsort(-totals, kind="stable")[:20]]
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        columns = query.var.index.get_indexer(self.genes)  # by name: the query may hold its genes in another order
        chosen = query.take_genes(columns)
        return CellEmbedding(np.log1p(chosen.values.toarray()), query.cell_ids)
