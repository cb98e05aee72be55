"""Smoothing: a cell is told from others like it. Cheap ways to say what deeper sequencing would show, which a model has to beat.

Both learn from training cells whose molecules are removed as those of the query were, so that like is compared with like, and answer
with what these cells showed in full; the thinned counts of the cell itself count as much as they turn out to be worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.matrix import CsrMatrix
from scrutiny.core.outputs import Reconstruction
from scrutiny.data.prepare import highly_variable, log_entries, log_values, pca
from scrutiny.data.thinning import thin

from .deepening import deepened
from .entries import CELLS_AT_A_TIME
from .linear import N_DIMS, N_TOP, decoder

NEIGHBORS = 30


class Smoother(ABC):
    """What smoothers share: principal components of the variable genes, of training cells thinned like the query and of the query."""

    card: ClassVar[MethodCard]

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._train, self._seed = train, seed
        self._pca = pca(train, N_DIMS, columns=highly_variable(train, N_TOP))
        return self

    @abstractmethod
    def learn(self, scores: NDArray[np.float32], train: Dataset) -> None:
        """Learn from components (n_train, n_dims) of thinned cells and from these cells in full."""

    @abstractmethod
    def predict(self, scores: NDArray[np.float32]) -> NDArray[np.floating]:
        """Log counts (n, n_genes) of cells with these components (n, n_dims)."""

    def deepen(
        self, query: Dataset, *, totals: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Reconstruction:
        train = self._train
        share = min(1.0, sum(float(chunk.values.sum()) for chunk in query.matrix.chunks()) / totals.sum())
        thinned = replace(train, matrix=CsrMatrix(thin(train.values, share, seed=self._seed, cell_ids=train.cell_ids)))
        held = kept_apart(train.cell_ids)
        rest = np.setdiff1d(np.arange(train.n_cells), held)
        self.learn(self._pca.transform(thinned.take(rest)), train.take(rest))
        trust = self._trust(thinned.take(held), train.take(held))
        scores, predicted = self._pca.transform(query), np.empty(len(rows), np.float32)
        for start in range(0, query.n_cells, CELLS_AT_A_TIME):
            low, high = np.searchsorted(rows, [start, start + CELLS_AT_A_TIME])
            dense = self.predict(scores[start : start + CELLS_AT_A_TIME])
            predicted[low:high] = dense[rows[low:high] - start, columns[low:high]]
        predicted += trust * (log_entries(query, rows, columns) - predicted)
        return deepened(query, rows, columns, np.maximum(predicted, 0.0))

    def _trust(self, thinned: Dataset, full: Dataset) -> float:
        """How far to go from what is smoothed to the thinned counts of the cell itself: as far as errs least on cells not learnt from."""
        smooth = self.predict(self._pca.transform(thinned))
        own, true = (log_values(cells, np.arange(cells.n_genes)).toarray() - smooth for cells in (thinned, full))
        return float((own * true).sum() / (own**2).sum())


def kept_apart(cell_ids: NDArray[np.str_]) -> NDArray[np.intp]:
    """Rows of the cells that are not learnt from: a fifth, at most `CELLS_AT_A_TIME`, and evenly by id, which often begins with a batch."""
    return np.argsort(cell_ids, kind="stable")[:: max(5, -(-len(cell_ids) // CELLS_AT_A_TIME))]


class PcaSmoothing(Smoother):
    """Each gene as a linear function of the components, and the cell itself."""

    card = MethodCard(
        "pca_smoothing",
        "log counts of each gene, regressed on 50 principal components of training cells that were thinned alike, and the cell's own",
        kind="baseline",
        seeded=True,
        seconds_per_1000_cells=1.0,
        seconds_to_start=2.0,
        licence="BSD-3-Clause",
    )

    def learn(self, scores: NDArray[np.float32], train: Dataset) -> None:
        self._decoder = decoder(scores, train)

    def predict(self, scores: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._decoder.intercept + scores @ self._decoder.slopes


class KnnSmoothing(Smoother):
    """The mean over the nearest cells, as in kNN-smoothing and MAGIC, but of full cells, and the cell itself."""

    card = MethodCard(
        "knn_smoothing",
        "mean log counts of the 30 training cells that are nearest by 50 principal components, once thinned alike, and the cell's own",
        kind="baseline",
        seeded=True,
        seconds_per_1000_cells=1.0,
        seconds_to_start=2.0,
        licence="BSD-3-Clause",
        citation="Wagner, Yan and Yanai 2018, bioRxiv 217737; van Dijk et al. 2018, Cell 174:716",
    )

    def learn(self, scores: NDArray[np.float32], train: Dataset) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._full = log_values(train, np.arange(train.n_genes))
        self._near = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(scores)), algorithm="brute").fit(scores)

    def predict(self, scores: NDArray[np.float32]) -> NDArray[np.floating]:
        graph = self._near.kneighbors_graph(scores)
        return np.asarray((graph @ self._full).todense()) / self._near.n_neighbors
