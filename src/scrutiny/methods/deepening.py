"""Answers to what deeper sequencing would show, and the one that every other is held against: the counts as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.outputs import Reconstruction
from scrutiny.data.prepare import TARGET, log_entries

from .entries import LOG_COUNT, Entries
from .foundation.genes import Matched


def deepened(query: Dataset, rows: NDArray[np.integer], columns: NDArray[np.integer], predicted: NDArray[np.float32]) -> Reconstruction:
    """The output of `deepen` for entries of the query, all arrays (n_entries,); what the query shows of them stands beside."""
    hidden = np.ones(len(rows), bool)
    return Reconstruction(query.cell_ids, query.genes, rows, columns, predicted, log_entries(query, rows, columns), hidden, LOG_COUNT)


def deepened_by_model(
    query: Dataset,
    matched: Matched,
    parts: Iterable[tuple[NDArray[np.integer], NDArray[np.floating]]],
    *,
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
) -> Reconstruction:
    """The output of a model that predicts all genes that it knows, for those of the entries (n_entries,) that are of such genes.

    Genes of the data that are one to the model are left out too.

    Parameters
    ----------
    parts
        Rows of some cells, and ln(1 + 1e4 count / total) of their genes (n, n_matched), the total being that of the matched genes. Values
        that no count can have are brought to the nearest that one can.
    """
    place = np.full(query.n_genes, -1, np.int32)
    known = np.flatnonzero(np.diff(matched.placed.indptr))
    is_one = np.bincount(matched.placed.indices) == 1
    place[known] = np.where(is_one[matched.placed.indices], matched.placed.indices, -1)
    kept = place[columns] >= 0
    rows, columns = rows[kept], columns[kept]
    none = np.zeros(len(rows), bool)
    picked = Entries(np.bincount(rows, minlength=query.n_cells), place[columns], none, none, None).picked(parts)
    counts = np.expm1(np.clip(picked.astype(np.float64), 0.0, np.log1p(TARGET))) * known_share(query, matched)[rows]
    return deepened(query, rows, columns, np.log1p(counts).astype(np.float32))


def known_share(query: Dataset, matched: Matched) -> NDArray[np.float64]:
    """Share (n_cells,) of the counts of each cell that is of matched genes; 1 for a cell without counts."""
    known = [(np.asarray(counts.known.sum(axis=1, dtype=np.float64)).ravel(), counts.totals) for counts in matched.counts(query)]
    matched_totals, totals = (np.concatenate(sums) for sums in zip(*known, strict=True))
    return np.divide(matched_totals, totals, out=np.ones(len(totals)), where=totals > 0)


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
