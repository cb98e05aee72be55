"""Controls: what no information scores, what the truth itself scores. Ordinary methods, except that `embed` is shown the truth.

Random draws go by sorted cell id, so the order of the file plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.prepare import log_chunks

from .linear import N_DIMS, Hvg, HvgPca, columns_of

JITTER = 0.01
"""Standard deviation added to one-hot vectors: without it all cells of a group tie, and ties follow the order of the file."""

Truth = Mapping[str, NDArray[np.str_]]


class NoIntegration(HvgPca):
    """What integration starts from, so that a batch score can be read as a change."""

    card = MethodCard(
        "control/no_integration",
        "the hvg_pca embedding as it is: what integration methods start from",
        kind="control",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=1.5,
    )

    def embed(self, query: Dataset, *, truth: Truth) -> CellEmbedding:
        return super().embed(query)


class Shuffle(HvgPca):
    """A real embedding given to the wrong cells. A method at or below this on label metrics is probably misaligned."""

    card = MethodCard(
        "control/shuffle",
        "the hvg_pca embedding with its rows permuted against the cells",
        kind="control",
        scale=None,
        seeded=True,
        seconds_per_1000_cells=0.1,
        seconds_to_start=1.5,
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._seed = seed
        return super().fit(train, seed=seed)

    def embed(self, query: Dataset, *, truth: Truth) -> CellEmbedding:
        everyone = np.zeros(query.n_cells, dtype=int)
        return permuted_within(super().embed(query), everyone, self._seed)


class ShuffleWithinLabel(Shuffle):
    """Perfect mixing that keeps the cell types: the best that a batch metric can reach without losing biology."""

    card = MethodCard(
        "control/shuffle_within_label",
        "the hvg_pca embedding with its rows permuted among the cells of a label",
        kind="control",
        scale=None,
        seeded=True,
        seconds_per_1000_cells=0.1,
        seconds_to_start=1.5,
    )

    def embed(self, query: Dataset, *, truth: Truth) -> CellEmbedding:
        labels = groups_of(truth, "label", query)
        return permuted_within(HvgPca.embed(self, query), labels, self._seed)


class RandomProjection(Hvg):
    """No learning: distances between the variable genes kept by a random projection (Johnson and Lindenstrauss)."""

    card = MethodCard(
        "control/random_projection",
        "Gaussian random projection of the log-normalised variable genes to 50 dimensions",
        kind="control",
        scale=None,
        seeded=True,
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.5,
        citation="Johnson and Lindenstrauss 1984, Contemporary Mathematics 26:189",
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        super().fit(train, seed=seed)
        rng = np.random.default_rng([seed, len(self._genes)])
        self._directions = rng.standard_normal((len(self._genes), N_DIMS)) / np.sqrt(N_DIMS)
        return self

    def embed(self, query: Dataset, *, truth: Truth) -> CellEmbedding:
        values = np.empty((query.n_cells, N_DIMS), dtype=np.float32)
        for start, stop, chosen in log_chunks(query, columns_of(query, self._genes)):
            values[start:stop] = chosen @ self._directions
        return CellEmbedding(values, query.cell_ids)


class _OneHot:
    """The truth of one role as the embedding."""

    card: ClassVar[MethodCard]
    role: ClassVar[str]

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._seed = seed
        return self

    def embed(self, query: Dataset, *, truth: Truth) -> CellEmbedding:
        names, codes = np.unique(groups_of(truth, self.role, query), return_inverse=True)
        values = np.random.default_rng([self._seed, query.n_cells]).normal(0.0, JITTER, (query.n_cells, len(names)))
        order = np.argsort(query.cell_ids, kind="stable")
        values[np.arange(query.n_cells), codes[order]] += 1.0
        return CellEmbedding(in_file_order(values, order), query.cell_ids)


class LabelOracle(_OneHot):
    """The labels themselves: the roof of label metrics."""

    card = MethodCard(
        "control/label_oracle",
        "the label as a one-hot vector with jitter (sd 0.01)",
        kind="control",
        scale=None,
        seeded=True,
        together=True,
        seconds_per_1000_cells=0.01,
        seconds_to_start=0.1,
    )
    role = "label"

    def predict_labels(self, query: Dataset, *, truth: Truth) -> LabelPrediction:
        return certain(groups_of(truth, "label", query), query.cell_ids)


class BatchOnly(_OneHot):
    """Nothing but the batch: the floor of batch metrics."""

    card = MethodCard(
        "control/batch_only",
        "the batch as a one-hot vector with jitter (sd 0.01)",
        kind="control",
        scale=None,
        seeded=True,
        seconds_per_1000_cells=0.01,
        seconds_to_start=0.1,
    )
    role = "batch"


def groups_of(truth: Truth, role: str, query: Dataset) -> NDArray[np.str_]:
    """Values (n_cells,) of a role in the truth. Raises NotApplicable where the data have none."""
    if role not in truth:
        raise NotApplicable(f"'{query.name}' has no column in the role '{role}', which this control is made of")
    return truth[role]


def permuted_within(embedding: CellEmbedding, groups: NDArray[Any], seed: int) -> CellEmbedding:
    """Give the vectors to other cells of the same group; ``groups`` (n_cells,) in the order of the embedding."""
    values = embedding.values.copy()
    order = np.argsort(embedding.cell_ids, kind="stable")
    rng = np.random.default_rng([seed, len(order)])
    for group in np.unique(groups):
        members = order[groups[order] == group]
        values[members] = embedding.values[rng.permutation(members)]
    return CellEmbedding(values, embedding.cell_ids)


def in_file_order(by_id: NDArray[np.floating], order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Rows that were made in the order of sorted ids (``order`` is their argsort) brought to the order of the cells."""
    values = np.empty(by_id.shape, dtype=np.float32)
    values[order] = by_id
    return values


class ShuffledLabels:
    """The true labels given to the wrong cells: every label as often as it is there, and no information."""

    card = MethodCard(
        "control/shuffled_labels",
        "the true labels of the query, permuted against its cells",
        kind="control",
        scale=None,
        seeded=True,
        together=True,
        seconds_per_1000_cells=0.01,
        seconds_to_start=0.1,
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._seed = seed
        return self

    def predict_labels(self, query: Dataset, *, truth: Truth) -> LabelPrediction:
        order = np.argsort(query.cell_ids, kind="stable")
        labels = groups_of(truth, "label", query).copy()
        labels[order] = labels[order][np.random.default_rng([self._seed, len(order)]).permutation(len(order))]
        return certain(labels, query.cell_ids)


def certain(labels: NDArray[np.str_], cell_ids: NDArray[np.str_]) -> LabelPrediction:
    """The prediction that holds these labels (n_cells,) to be sure."""
    names, codes = np.unique(labels, return_inverse=True)
    return LabelPrediction(cell_ids, names, np.eye(len(names), dtype=np.float32)[codes])
