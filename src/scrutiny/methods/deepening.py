"""Answers to what deeper sequencing would show, and the one that every other is held against: the counts as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.outputs import Reconstruction
from scrutiny.data.prepare import log_entries

from .entries import LOG_COUNT


def deepened(query: Dataset, rows: NDArray[np.integer], columns: NDArray[np.integer], predicted: NDArray[np.float32]) -> Reconstruction:
    """The output of `deepen` for entries of the query, all arrays (n_entries,); what the query shows of them stands beside."""
    hidden = np.ones(len(rows), bool)
    return Reconstruction(query.cell_ids, query.genes, rows, columns, predicted, log_entries(query, rows, columns), hidden, LOG_COUNT)


class Thinned:
    """Doing nothing: counts brought to 10,000 a cell, as if nothing had been removed."""

    card = MethodCard(
        "control/thinned",
        "the thinned counts as they are, brought to 10,000 a cell: what a method was given",
        kind="control",
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.1,
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        return self

    def deepen(
        self,
        query: Dataset,
        *,
        totals: NDArray[np.float64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        truth: Mapping[str, NDArray[Any]],
    ) -> Reconstruction:
        return deepened(query, rows, columns, log_entries(query, rows, columns))
