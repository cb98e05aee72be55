"""Trivial answers to what a cell expresses: the mean of each gene, the mean of all, another cell. What a model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import Reconstruction
from scrutiny.data.prepare import gene_moments, log_chunks, log_values

from .deepening import deepened
from .entries import CELLS_AT_A_TIME, LOG_COUNT, check_has_log_counts, log_counts


class GeneMean:
    """The mean of each gene over the training cells, whatever the cell."""

    card = MethodCard(
        "gene_mean",
        "the mean log count of each gene over the training cells, the same for every cell",
        kind="baseline",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.1,
        licence="BSD-3-Clause",
        citation="Kedzierska et al. 2025, Genome Biology 26:101 (as baseline)",
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        check_has_log_counts(train)
        self._seed = seed
        self._means = pd.Series(gene_moments(log_chunks(train)).mean, index=train.genes)
        return self

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """Of genes that the training cells lack, 0."""
        entries, true = log_counts(query, hide=hide, seed=self._seed)
        predicted = self._means.reindex(query.genes, fill_value=0.0).to_numpy(np.float32)[entries.columns]
        return entries.reconstruction(query.cell_ids, query.genes, predicted=predicted, true=true, quantity=LOG_COUNT)

    def deepen(
        self, query: Dataset, *, totals: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Reconstruction:
        """The same for every cell, however deep. Of genes that the training cells lack, 0."""
        means = self._means.reindex(query.genes, fill_value=0.0).to_numpy(np.float32)
        return deepened(query, rows, columns, means[columns])


class OverallMean(GeneMean):
    """One number for all genes and cells: below it is no knowledge of genes at all."""

    card = MethodCard(
        "control/overall_mean",
        "the mean log count over all genes and training cells, the same for every gene and cell",
        kind="control",
        scale=None,
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.1,
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        super().fit(train, seed=seed)
        self._means[:] = self._means.mean()
        return self

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, truth: Mapping[str, NDArray[Any]] = {}) -> Reconstruction:
        return super().reconstruct(query, hide=hide)

    def deepen(self, query: Dataset, *, truth: Mapping[str, NDArray[Any]] = {}, **asked: NDArray[Any]) -> Reconstruction:
        return super().deepen(query, **asked)


class AnotherCell:
    """Each cell is told to be another one: what knowing how genes are distributed, but nothing of the cell, brings."""

    card = MethodCard(
        "control/another_cell",
        "the log counts of another cell, drawn at random",
        kind="control",
        scale=None,
        seeded=True,
        seconds_per_1000_cells=0.1,
        seconds_to_start=0.1,
    )

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._seed = seed
        return self

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, truth: Mapping[str, NDArray[Any]] = {}) -> Reconstruction:
        """Raises NotApplicable where there is no other cell."""
        if query.n_cells < 2:
            raise NotApplicable(f"'{query.name}' has {query.n_cells} cells here; telling each to be another one takes two")
        entries, true = log_counts(query, hide=hide, seed=self._seed)
        values, other = log_values(query, np.arange(query.n_genes)), partners(query.cell_ids, self._seed)
        predicted = np.empty(len(true), np.float32)
        for start in range(0, query.n_cells, CELLS_AT_A_TIME):
            rows = np.arange(start, min(start + CELLS_AT_A_TIME, query.n_cells))
            entries.pick(predicted, rows, values[other[rows]].toarray())
        return entries.reconstruction(query.cell_ids, query.genes, predicted=predicted, true=true, quantity=LOG_COUNT)


def partners(cell_ids: NDArray[np.str_], seed: int) -> NDArray[np.intp]:
    """Row (n_cells,) of another cell for each, every cell once; drawn by cell id, so the order of the file plays no part."""
    order = np.random.default_rng([seed, len(cell_ids)]).permutation(np.argsort(cell_ids, kind="stable"))
    other = np.empty(len(order), dtype=np.intp)
    other[order] = np.roll(order, 1)
    return other
