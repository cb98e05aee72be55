"""Logistic regression on all genes, then on those that weigh most: the recipe of CellTypist, written from its paper."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.data.prepare import Scaling, fit_scaling, pca, shifted_chunks
from scrutiny.methods.linear import columns_of
from scrutiny.metrics.logistic import softmax

from .heads import clusters_of

ITERATIONS_TO_CHOOSE = 50
"""Steps of the first fit, which only has to rank the genes."""
ITERATIONS = 100
GRADIENT = 1e-5
RESOLUTIONS = ((5_000, 5), (20_000, 10), (40_000, 15), (100_000, 20), (200_000, 25))
"""Cells up to which a resolution over-clusters; 30 above."""


class Celltypist:
    """One regression for each label against all others, on log-normalised and standardised values clipped at 10.

    The first fit is on all genes; the 300 genes with the largest absolute slopes of each label are kept for the second. Probabilities
    are the logistic ones of the labels over their sum. The paper takes stochastic gradient steps; here L-BFGS takes 100 steps
    down the same loss, so no draw matters.

    Parameters
    ----------
    alpha
        Weight of half the squared slopes beside the mean loss.
    top_genes
        Genes kept for each label.
    majority_voting
        Over-cluster the query and tell each cluster the label that most of its cells have.
    """

    card = MethodCard(
        "celltypist",
        "logistic regression in the manner of CellTypist: all genes, then the 300 of each label that weigh most",
        kind="baseline",
        scale=None,
        reads=frozenset({"label"}),
        supervised=True,
        seconds_per_1000_cells=2.0,
        seconds_to_start=1.0,
        licence="BSD-3-Clause",
        citation="Dominguez Conde et al. 2022, Science 376:eabl5197",
    )

    def __init__(self, alpha: float = 1e-4, top_genes: int = 300, majority_voting: bool = False) -> None:
        self.alpha, self.top_genes, self.majority_voting = alpha, top_genes, majority_voting
        self.card = replace(type(self).card, together=majority_voting)

    def fit(self, train: Dataset, *, seed: int) -> Self:
        known = np.flatnonzero(train.role("label") != UNLABELLED)
        cells = train.take(known)
        self._names, codes = np.unique(cells.role("label"), return_inverse=True)
        if len(self._names) < 2:
            raise NotApplicable(f"the training cells have the labels {self._names.tolist()}; at least two are needed")
        chosen = np.arange(cells.n_genes)
        first = one_against_others(_values(cells, chosen), codes, self.alpha, ITERATIONS_TO_CHOOSE)
        heaviest = np.argsort(-np.abs(first.slopes), axis=0, kind="stable")[: self.top_genes]
        chosen = np.unique(heaviest)
        values = _values(cells, chosen)
        self._genes, self._scaling = cells.genes[chosen], values.scaling
        self._found = one_against_others(values, codes, self.alpha, ITERATIONS)
        return self

    def predict_labels(self, query: Dataset) -> LabelPrediction:
        values = _shifted(query, columns_of(query, self._genes), self._scaling)
        scores = values @ self._found.slopes + self._scaling.of_zero @ self._found.slopes + self._found.intercepts
        probabilities = softmax(-np.logaddexp(0, -scores))
        if self.majority_voting:
            probabilities = self._votes(probabilities.argmax(axis=1), query)
        return LabelPrediction(query.cell_ids, self._names, probabilities.astype(np.float32))

    @property
    def n_trainable(self) -> int:
        return int(self._found.slopes.size + self._found.intercepts.size)

    def _votes(self, told: NDArray[np.integer], query: Dataset) -> NDArray[np.float64]:
        """Share of the cells of its cluster that are told each label, (n_cells, n_labels)."""
        clusters = clusters_of(pca(query, scale=True).transform(query), next((r for n, r in RESOLUTIONS if query.n_cells < n), 30))
        counts = np.zeros((clusters.max() + 1, len(self._names)))
        np.add.at(counts, (clusters, told), 1)
        return (counts / counts.sum(axis=1, keepdims=True))[clusters]


class Standardised(NamedTuple):
    """Standardised values, kept sparse: ``shifted + scaling.of_zero``."""

    shifted: sparse.csr_matrix
    """(n_cells, n_genes) float32."""
    scaling: Scaling


class Slopes(NamedTuple):
    slopes: NDArray[np.float64]
    """(n_genes, n_labels) on standardised values."""
    intercepts: NDArray[np.float64]
    """(n_labels,)."""


def one_against_others(values: Standardised, codes: NDArray[np.integer], alpha: float, n_iterations: int) -> Slopes:
    """For each label the slopes that make least: mean of log(1 + exp(-y score)) + alpha |slopes|² / 2, y being 1 for its cells, else -1.

    Parameters
    ----------
    codes
        (n_cells,) label of each cell, from 0 without gaps.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    (n_cells, n_genes), n_labels = values.shifted.shape, int(codes.max()) + 1
    signs = np.where(codes[:, None] == np.arange(n_labels), 1.0, -1.0)
    matrix, of_zero, transposed = values.shifted, values.scaling.of_zero, values.shifted.T.tocsr()

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = point.reshape(n_genes + 1, n_labels)
        slopes, intercepts = table[:-1], table[-1]
        margins = signs * (matrix @ slopes.astype(np.float32) + of_zero @ slopes + intercepts)
        pulls = -signs / (1 + np.exp(np.minimum(margins, 500))) / n_cells
        by_gene = transposed @ pulls.astype(np.float32) + np.outer(of_zero, pulls.sum(axis=0)) + alpha * slopes
        value = np.logaddexp(0, -margins).sum() / n_cells + alpha / 2 * np.square(slopes).sum()
        return float(value), np.concatenate([by_gene.ravel(), pulls.sum(axis=0)])

    options = {"maxiter": n_iterations, "gtol": GRADIENT, "ftol": 1e-9}
    with threadpool_limits(1):  # else the number of threads changes digits, which 100 steps make into other genes
        found = minimize(loss, np.zeros((n_genes + 1) * n_labels), jac=True, method="L-BFGS-B", options=options)
    table = found.x.reshape(n_genes + 1, n_labels)
    return Slopes(table[:-1], table[-1])


def _values(data: Dataset, columns: NDArray[np.integer]) -> Standardised:
    scaling = fit_scaling(data, columns)
    return Standardised(_shifted(data, columns, scaling), scaling)


def _shifted(data: Dataset, columns: NDArray[np.integer], scaling: Scaling) -> sparse.csr_matrix:
    chunks = (chunk.values.astype(np.float32) for chunk in shifted_chunks(data, columns, scaling))
    return sparse.vstack(list(chunks), format="csr")
