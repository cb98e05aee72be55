"""Multinomial logistic regression, the linear probe: on 100,000 cells x 512 dimensions in seconds, with the optimum of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .distances import one_thread_each

MAX_ITERATIONS = 1000
GRADIENT = 1e-5
"""The largest entry of the gradient of the mean loss, on uncorrelated features, at which the optimum counts as found."""
RIDGE = 1e-4
"""Added to the variance (1) of each feature before the correlations are taken away, since some features repeat others."""

ENTRIES_PER_BLOCK = 1_000_000
"""Numbers of a block of cells: 4 MB, which stay in the cache between the two products that need them."""

LEAST_SQUARE = 1e-9
"""Share of the largest squared extent below which cells do not vary along an axis."""


class LogisticFit(NamedTuple):
    """Scores of labels are ``vectors @ slopes + intercepts``; the likeliest label has the highest."""

    slopes: NDArray[np.float64]
    """(n_dims, n_labels) on the vectors as they were given."""
    intercepts: NDArray[np.float64]
    """(n_labels,)."""
    loss: float
    """What was made least: see `fit_logistic`."""
    n_iterations: int

    @property
    def n_trainable(self) -> int:
        """Slopes and intercepts; of two labels one set says all."""
        n_labels = len(self.intercepts)
        return (self.slopes.shape[0] + 1) * (1 if n_labels == 2 else n_labels)

    def scores(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n_cells, n_labels) of vectors (n_cells, n_dims)."""
        return vectors @ self.slopes + self.intercepts

    def probabilities(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n_cells, n_labels) of vectors (n_cells, n_dims), those of a cell add up to 1."""
        return softmax(self.scores(vectors))


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(score) over its sum in the row, for scores (n_cells, n_labels)."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def fit_logistic(
    vectors: NDArray[np.floating],
    codes: NDArray[np.integer],
    *,
    C: float = 1.0,  # noqa: N803 - known by it
    scale: Literal["each", "all"] = "each",
) -> LogisticFit:
    """The slopes W and intercepts b that make least, on standardised vectors: mean of -log p(label of the cell) + |W|² / (2 C n_cells).

    Of two labels the penalty is that of binomial regression, where one set of slopes stands for their difference. The optimum is that of
    scikit-learn's ``LogisticRegression(C)`` after ``StandardScaler``. L-BFGS runs on features without correlations (through the Cholesky
    factor of the covariance), which takes a tenth of the steps where the dimensions of an embedding say similar things; the products are
    of float32, sums and steps of float64.

    Parameters
    ----------
    vectors
        (n_cells, n_dims); a dimension that does not vary gets no weight.
    codes
        (n_cells,) label of each cell, from 0 without gaps, at least two.
    C
        Above 0; a smaller one keeps the slopes smaller.
    scale
        "each": every dimension has variance 1. "all": one factor makes the mean variance 1, so that dimensions keep their proportions.
    """
    from scipy.optimize import minimize

    centre, spread = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    spread[spread <= 1e-7 * np.abs(centre)] = 0.0  # rounding of a dimension that does not vary
    if scale == "all":
        spread[:] = np.sqrt(np.square(spread).mean())
    spread[spread == 0] = 1.0
    features = ((vectors - centre.astype(vectors.dtype)) / spread.astype(vectors.dtype)).astype(np.float32)
    axes = _axes(features) if features.shape[1] > len(features) and features.any() else None
    if axes is not None:
        features = features @ axes
    options = {"maxiter": MAX_ITERATIONS, "gtol": GRADIENT, "ftol": 1e-10}
    with one_thread_each() as threads:
        objective = _Objective.of(features, codes, C, threads)
        start = np.zeros((features.shape[1] + 1) * objective.n_labels)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        slopes, intercepts = objective.weights(found.x)
    slopes = (slopes if axes is None else axes @ slopes) / spread[:, None]
    return LogisticFit(slopes, intercepts - centre @ slopes, float(found.fun), int(found.nit))


def _axes(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Orthonormal axes (n_dims, n_axes) of the few directions in which fewer cells than dimensions vary; slopes lie in no other."""
    exact = features.astype(np.float64)
    squares, cells = np.linalg.eigh(exact @ exact.T)
    kept = squares > LEAST_SQUARE * squares[-1]
    return (exact.T @ (cells[:, kept] / np.sqrt(squares[kept]))).astype(np.float32)


class _Weights(NamedTuple):
    slopes: NDArray[np.float64]
    """(n_dims, n_labels) on the features."""
    intercepts: NDArray[np.float64]
    """(n_labels,)."""


class _Sums(NamedTuple):
    """Over some cells: of -log p, and of its slopes by weight."""

    loss: float
    by_slope: NDArray[np.float32]
    by_intercept: NDArray[np.float64]


class _Objective(NamedTuple):
    """Loss and gradient at a point: slopes on uncorrelated features, then intercepts, flat.

    Cells are taken in blocks that fit in the cache, each on one thread, and the blocks are added up in order: the number of threads
    changes no digit.
    """

    features: NDArray[np.float32]
    """(n_cells, n_dims) standardised."""
    codes: NDArray[np.integer]
    n_labels: int
    penalty: float
    uncorrelate: Callable[..., NDArray[np.float64]]
    """Of (n_dims, n_labels): solves with the Cholesky factor of the covariance, or with its transpose."""
    threads: ThreadPoolExecutor

    @classmethod
    def of(cls, features: NDArray[np.float32], codes: NDArray[np.integer], C: float, threads: ThreadPoolExecutor) -> _Objective:  # noqa: N803
        from scipy.linalg import cholesky, solve_triangular

        n_cells, n_dims = features.shape
        n_labels = int(codes.max()) + 1
        penalty = (2 if n_labels == 2 else 1) / (C * n_cells)
        parts = threads.map(lambda block: features[block].T @ features[block], _blocks(n_cells, n_dims))
        covariance = sum(parts, np.zeros((n_dims, n_dims))) / n_cells
        factor = cholesky(covariance + max(RIDGE, penalty * n_labels) * np.eye(n_dims), lower=True)

        def uncorrelate(values: NDArray[np.float64], *, transposed: bool) -> NDArray[np.float64]:
            return solve_triangular(factor, values, lower=True, trans=int(transposed), check_finite=False)

        return cls(features, codes, n_labels, penalty, uncorrelate, threads)

    def weights(self, point: NDArray[np.float64]) -> _Weights:
        table = point.reshape(-1, self.n_labels)
        return _Weights(self.uncorrelate(table[:-1], transposed=True), table[-1])

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slopes, intercepts = self.weights(point)
        weights = slopes.astype(np.float32), intercepts.astype(np.float32)
        loss, by_slope, by_intercept = 0.0, np.zeros(slopes.shape), np.zeros(intercepts.shape)
        for sums in self.threads.map(lambda block: self._sums(block, *weights), _blocks(*self.features.shape)):
            loss += sums.loss
            by_slope += sums.by_slope
            by_intercept += sums.by_intercept
        n_cells = len(self.codes)
        gradient = self.uncorrelate(by_slope / n_cells + self.penalty * slopes, transposed=False)
        value = loss / n_cells + self.penalty / 2 * float(np.square(slopes).sum())
        return value, np.concatenate([gradient.ravel(), by_intercept / n_cells])

    def _sums(self, block: slice, slopes: NDArray[np.float32], intercepts: NDArray[np.float32]) -> _Sums:
        features, codes = self.features[block], self.codes[block]
        cells = np.arange(len(codes))
        scores = features @ slopes
        scores += intercepts
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[cells, codes].sum(dtype=np.float64)
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1, keepdims=True)
        scores /= sums
        scores[cells, codes] -= 1
        return _Sums(float(np.log(sums).sum(dtype=np.float64) - own), features.T @ scores, scores.sum(axis=0, dtype=np.float64))


def _blocks(n_cells: int, n_dims: int) -> Iterator[slice]:
    step = max(256, ENTRIES_PER_BLOCK // n_dims)
    return (slice(start, min(start + step, n_cells)) for start in range(0, n_cells, step))
