"""A head: a way to tell labels from vectors, whichever method made them."""

from typing import Self

import numpy as np

from scrutiny.methods.annotation.reading import HeadCard, ReadsEmbedding


class Angle(ReadsEmbedding):
    card = HeadCard("acme/angle", "label whose mean vector points nearest to that of the cell", space={"sharpness": (20.0, 5.0, 80.0)})

    def __init__(self, sharpness: float = 20.0) -> None:  # an option, which a search may choose since it is in `space`
        self.sharpness = sharpness

    def fit(self, vectors: np.ndarray, labels: np.ndarray, *, seed: int) -> Self:
        # Only cells that have a label come here, of at least two labels. Columns of the answer are the labels, sorted.
        means = np.stack([vectors[labels == name].mean(axis=0) for name in np.unique(labels)])
        self.directions = _directions(means)  # (n_labels, n_dims)
        return self

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        scores = np.exp(self.sharpness * _directions(vectors) @ self.directions.T)  # (n_cells, n_labels)
        return scores / scores.sum(axis=1, keepdims=True)

    @property
    def n_trainable(self) -> int:  # how many numbers were learnt, for the table
        return self.directions.size


def _directions(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
