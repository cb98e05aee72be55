"""The label that most training cells have, whatever the cell: what accuracy has to be compared with."""

from __future__ import annotations

from typing import Self

import numpy as np

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction


class Majority:
    """Every cell gets the shares of the labels among the training cells, so the commonest is told."""

    card = MethodCard(
        "majority",
        "the commonest label of the training cells, for every cell",
        kind="baseline",
        scale=None,
        reads=frozenset({"label"}),
        supervised=True,
        seconds_per_1000_cells=0.001,
        seconds_to_start=0.1,
        licence="BSD-3-Clause",
    )
    n_trainable = 0

    def fit(self, train: Dataset, *, seed: int) -> Self:
        labels = train.role("label")
        self._names, counts = np.unique(labels[labels != UNLABELLED], return_counts=True)
        if len(self._names) < 2:
            raise NotApplicable(f"the training cells have the labels {self._names.tolist()}; at least two are needed")
        self._shares = (counts / counts.sum()).astype(np.float32)
        return self

    def predict_labels(self, query: Dataset) -> LabelPrediction:
        return LabelPrediction(query.cell_ids, self._names, np.tile(self._shares, (query.n_cells, 1)))
