"""Predicted expression beside trivial predictions of the same entries, summed up cell by cell, and in bins of the true value.

All metrics of reconstruction are made of these sums, so that parts of the cells cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import Reconstruction
from scrutiny.core.registry import derived

LOG_ODDS = "log-odds of being expressed"
FEWEST_GENES = 3
"""A cell with fewer entries has no correlation."""
MOST_BINS = 20


class Trivial(NamedTuple):
    """Predictions (n_entries,) float32 that know nothing of the cell."""

    gene_mean: NDArray[np.float32]
    """Mean of the gene over the other cells; where it has no entry in them, ``mean``."""
    mean: NDArray[np.float32]
    """Mean of all entries of the other cells."""


@dataclass(frozen=True, eq=False)
class Counted:
    """The entries that count: the hidden ones, or all where none is.

    Attributes
    ----------
    rows, columns
        (n_entries,) cell and gene of each.
    true, weight, gene_mean, mean
        (n_entries,) float32.
    predicted
        Name to (n_entries,) float32, on the scale of ``true``: log-odds are turned into probabilities. '' is what the method predicts.
    """

    n_cells: int
    quantity: str
    rows: NDArray[np.integer]
    columns: NDArray[np.integer]
    true: NDArray[np.float32]
    weight: NDArray[np.float32]
    gene_mean: NDArray[np.float32]
    mean: NDArray[np.float32]
    predicted: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class CellSums:
    """Sums of each cell: name to (n_cells,) float64.

    ``weight`` of its entries; ``error``, ``error_gene_mean``, ``error_mean``: weighted squared errors of the method, the gene mean and the
    overall mean, ``error NAME`` those of another prediction of that name; ``shared``: weighted products of what is predicted and what is
    true, both less the gene mean. ``pearson``, ``spearman``, ``auroc``, and each of them of the gene mean (``pearson_gene_mean`` ...), are
    NaN for cells that have none.
    """

    quantity: str
    others: tuple[str, ...]
    by_name: Mapping[str, NDArray[np.float64]]

    def part(self, rows: NDArray[np.integer]) -> CellSums:
        return CellSums(self.quantity, self.others, {name: values[rows] for name, values in self.by_name.items()})

    def total(self, name: str) -> float:
        return float(self.by_name[name].sum())

    def mean(self, name: str) -> float:
        """Over the cells that have one. Raises NotApplicable if none has."""
        known = self.by_name[name][np.isfinite(self.by_name[name])]
        if not len(known):
            raise NotApplicable(f"in none of {len(self.by_name[name])} cells do at least {FEWEST_GENES} entries differ")
        return float(known.mean())


def trivial_predictions(reconstruction: Reconstruction) -> Trivial:
    """The mean of each gene, and of all genes, over the other cells: the cell itself is left out.

    Where entries have weights, zeros that are not listed count too, in every cell that has entries.
    """
    rows, columns, true = reconstruction.rows, reconstruction.columns, reconstruction.true.astype(np.float64)
    weight = weights(reconstruction)
    of_gene = np.bincount(columns, weight * true, len(reconstruction.gene_ids))
    n_of_gene = np.bincount(columns, minlength=len(reconstruction.gene_ids))
    of_cell, n_of_cell = (np.bincount(rows, x, reconstruction.n_cells) for x in (weight * true, weight))
    if np.count_nonzero(n_of_cell) < 2:
        raise NotApplicable("predictions of one cell alone cannot be compared with the mean over other cells")
    mean = ((of_cell.sum() - of_cell) / (n_of_cell.sum() - n_of_cell))[rows]
    others = (n_of_gene if reconstruction.weight is None else np.full(len(n_of_gene), np.count_nonzero(n_of_cell)))[columns] - 1
    gene_mean = np.divide(of_gene[columns] - weight * true, others, out=mean.copy(), where=others > 0)
    return Trivial(gene_mean.astype(np.float32), mean.astype(np.float32))


def weights(reconstruction: Reconstruction) -> NDArray[np.float32]:
    """(n_entries,) how many entries each stands for."""
    given = reconstruction.weight
    return np.ones(len(reconstruction.rows), np.float32) if given is None else given


@derived("counted_entries")
def counted_entries(reconstruction: Reconstruction) -> Counted:
    """The entries that count, beside the trivial predictions of them.

    Raises
    ------
    NotApplicable
        If there are none, or those of one cell only.
    """
    found = reconstruction
    if not len(found.rows):
        raise NotApplicable("the method predicts nothing of these cells")
    trivial = trivial_predictions(found)
    kept: Any = np.flatnonzero(found.hidden) if found.hidden.any() else slice(None)
    predicted = {name: values[kept] for name, values in {"": found.predicted, **found.also}.items()}
    if found.quantity == LOG_ODDS:
        predicted = {name: expit(values) for name, values in predicted.items()}
    return Counted(
        found.n_cells,
        found.quantity,
        found.rows[kept],
        found.columns[kept],
        found.true[kept],
        weights(found)[kept],
        trivial.gene_mean[kept],
        trivial.mean[kept],
        predicted,
    )


@derived("cell_sums", rowwise=True)
def cell_sums(counted_entries: Counted) -> CellSums:
    """Sums over the entries of each cell."""
    e = counted_entries

    def summed(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(e.rows, values, e.n_cells)

    by_name = {"weight": summed(e.weight)}
    errors = {f"error {name}".strip(): values for name, values in e.predicted.items()}
    for name, values in {**errors, "error_gene_mean": e.gene_mean, "error_mean": e.mean}.items():
        by_name[name] = summed(e.weight * (values - e.true) ** 2)
    by_name["shared"] = summed(e.weight * (e.predicted[""] - e.gene_mean) * (e.true - e.gene_mean))
    for name, values in {"": e.predicted[""], "_gene_mean": e.gene_mean}.items():
        by_name |= {f"{kind}{name}": found for kind, found in _by_cell(values, e).items()}
    return CellSums(e.quantity, tuple(name for name in e.predicted if name), by_name)


def _by_cell(values: NDArray[np.float32], entries: Counted) -> dict[str, NDArray[np.float64]]:
    """What is no sum: correlations and the area under the curve of each cell, NaN where there is none."""
    found = {kind: np.full(entries.n_cells, np.nan) for kind in ("pearson", "spearman", "auroc")}
    starts = np.flatnonzero(np.diff(entries.rows, prepend=-1))
    for start, stop in zip(starts, np.append(starts[1:], len(entries.rows)), strict=True):
        part, row = slice(start, stop), entries.rows[start]
        true, own, weight = (x[part].astype(np.float64) for x in (entries.true, values, entries.weight))
        if entries.quantity == LOG_ODDS:
            found["auroc"][row] = area(own, true)
        elif stop - start >= FEWEST_GENES and np.ptp(true) > 0:
            found["pearson"][row] = correlation(own, true, weight)
            found["spearman"][row] = correlation(stats.rankdata(own), stats.rankdata(true), np.ones(len(own)))
    return found


def correlation(x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Pearson's, weighted; 0 where ``x`` is constant, since that tells nothing. ``y`` must vary."""
    if np.ptp(x) == 0:
        return 0.0
    dx, dy = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    return float((weight * dx * dy).sum() / np.sqrt((weight * dx**2).sum() * (weight * dy**2).sum()))


def area(score: NDArray[np.float64], positive: NDArray[np.float64]) -> float:
    """Chance that an entry that is 1 has a higher score than one that is 0, ties counted half; NaN if there is but one kind."""
    n_positive = int(positive.sum())
    n_pairs = n_positive * (len(positive) - n_positive)
    if not n_pairs:
        return float("nan")
    return float((stats.rankdata(score)[positive > 0].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


class Profile(NamedTuple):
    """How predictions follow the true values."""

    slope: float
    """Of predicted on true values, both less their own mean over the entries of the gene; NaN where no gene varies."""
    bins: list[dict[str, float]]


@derived("prediction_profiles", rowwise=True)
def prediction_profiles(counted_entries: Counted) -> dict[str, Profile]:
    """Name to how this prediction follows the true values; '' is what the method predicts. Parts of the cells keep those of all.

    A value of its own makes a bin where there are at most 20; else a lowest value that is common does, and the others are cut at
    quantiles.
    """
    e = counted_entries
    group = _groups(e.true)
    return {name: Profile(_slope(values, e), _bins(values, group, e)) for name, values in e.predicted.items()}


def _slope(predicted: NDArray[np.float32], entries: Counted) -> float:
    n = np.bincount(entries.columns, entries.weight)

    def less_mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
        total = np.bincount(entries.columns, entries.weight * values.astype(np.float64))
        return values - np.divide(total, n, out=np.zeros_like(total), where=n > 0)[entries.columns]

    true = less_mean(entries.true)
    variance = float((entries.weight * true**2).sum())
    return float((entries.weight * true * less_mean(predicted)).sum()) / variance if variance > 0 else float("nan")


def _groups(true: NDArray[np.float32]) -> NDArray[np.intp]:
    """Bin of each entry (n_entries,), from 0."""
    distinct, codes = np.unique(true, return_inverse=True)
    if len(distinct) <= MOST_BINS:
        return codes
    at_lowest = codes == 0
    is_common = at_lowest.mean() > 1 / MOST_BINS
    others = true[~at_lowest] if is_common else true
    cuts = np.unique(np.quantile(others, np.arange(1, n := MOST_BINS - is_common) / n, method="nearest"))
    group = np.searchsorted(cuts, true, side="right") + int(is_common)
    return np.unique(np.where(at_lowest & is_common, 0, group), return_inverse=True)[1]


def _bins(predicted: NDArray[np.float32], group: NDArray[np.intp], entries: Counted) -> list[dict[str, float]]:
    n_groups, order = int(group.max()) + 1, np.argsort(group, kind="stable")
    n = np.bincount(group, entries.weight, n_groups)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(group, entries.weight * values, n_groups) / n

    parts = np.split(order, np.cumsum(np.bincount(group, minlength=n_groups))[:-1])
    columns = {
        "low": np.array([entries.true[part].min() for part in parts]),
        "high": np.array([entries.true[part].max() for part in parts]),
        "n": n,
        "true": mean(entries.true),
        "predicted": mean(predicted),
        "predicted_p10": np.array([np.quantile(predicted[part], 0.1) for part in parts]),
        "predicted_p90": np.array([np.quantile(predicted[part], 0.9) for part in parts]),
        "gene_mean": mean(entries.gene_mean),
        "mse": mean((predicted - entries.true) ** 2),
        "mse_gene_mean": mean((entries.gene_mean - entries.true) ** 2),
    }
    return [{name: float(values[i]) for name, values in columns.items()} for i in range(n_groups)]
