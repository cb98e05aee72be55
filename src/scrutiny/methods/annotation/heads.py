"""Heads: simple ways to tell labels from vectors."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .reading import HeadCard, ReadsEmbedding


class NearestCells(ReadsEmbedding):
    """Vote of the nearest labelled cells, euclidean, one vote each; see `Reading` for how it is used."""

    card = HeadCard("knn", "vote of the 15 nearest training cells", space={"k": (5, 15, 50)})

    def __init__(self, k: int = 15) -> None:
        self.k = k

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        from sklearn.neighbors import KNeighborsClassifier

        self._model = KNeighborsClassifier(min(self.k, len(vectors)), algorithm="brute").fit(vectors, labels)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict_proba(vectors)

    n_trainable = 0


class LogisticHead(ReadsEmbedding):
    """Multinomial logistic regression on standardised vectors: the linear probe; see `Reading` for how it is used."""

    card = HeadCard("logreg", "multinomial logistic regression (the linear probe)", space={"C": (0.01, 0.1, 1.0, 10.0)})

    def __init__(self, C: float = 1.0) -> None:  # noqa: N803 - the name that everybody knows
        self.C = C

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=1000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(vectors, labels)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict_proba(vectors)

    @property
    def n_trainable(self) -> int:
        return int(self._model[-1].coef_.size + self._model[-1].intercept_.size)
