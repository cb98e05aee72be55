"""How well a clustering and the labels, or two tellers of labels, agree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .categories import Categories, crosstab


def contingency(labels: Categories, clusters: NDArray[Any]) -> NDArray[np.intp]:
    """Cells (n_labels, n_clusters) of each label in each cluster; ``clusters`` (n_cells,) of any type."""
    return crosstab(labels, Categories(*np.unique(clusters, return_inverse=True)))


def normalized_mutual_information(table: NDArray[np.integer]) -> float:
    """Mutual information of labels and clusters over the mean of their entropies, 0 to 1; 1 where neither splits the cells.

    Parameters
    ----------
    table
        (n_labels, n_clusters) cells; no row or column is empty.

    References
    ----------
    Strehl and Ghosh, J. Mach. Learn. Res. 3 (2002); arithmetic mean as in scikit-learn and scib.
    """
    n_cells = table.sum()
    by_label, by_cluster = table.sum(axis=1), table.sum(axis=0)
    entropies = _entropy(by_label / n_cells) + _entropy(by_cluster / n_cells)
    if entropies == 0:
        return 1.0
    row, column = np.nonzero(table)
    both = table[row, column] / n_cells
    information = float((both * np.log(both * n_cells / by_label[row] * n_cells / by_cluster[column])).sum())
    return min(max(2 * information / entropies, 0.0), 1.0)


def _entropy(shares: NDArray[np.float64]) -> float:
    return float(-(shares * np.log(shares)).sum())


def adjusted_rand_index(table: NDArray[np.integer]) -> float:
    """Rand index corrected for chance, -0.5 to 1: 0 for clusters drawn at random, 1 for the labels themselves.

    Parameters
    ----------
    table
        (n_labels, n_clusters) cells.

    References
    ----------
    Hubert and Arabie, J. Classification 2 (1985).
    """
    together, by_label, by_cluster = (_pairs(part) for part in (table, table.sum(axis=1), table.sum(axis=0)))
    if together == by_label == by_cluster:
        return 1.0
    expected = by_label * by_cluster / _pairs(table.sum())
    return (together - expected) / ((by_label + by_cluster) / 2 - expected)


def _pairs(sizes: NDArray[np.integer]) -> float:
    sizes = np.asarray(sizes, np.float64)
    return float((sizes * (sizes - 1) / 2).sum())


class Agreement(NamedTuple):
    """How far two tellers of labels, two models or a model and a person, say the same of the same cells."""

    share: float
    """Of cells that both tell the same, 0 to 1."""
    kappa: float | None
    """Cohen's kappa: what of the agreement is more than chance would give, at most 1; None where both tell one label only."""


def agreement(first: NDArray[np.str_], second: NDArray[np.str_]) -> Agreement:
    """Agreement of labels told twice of the same cells.

    Parameters
    ----------
    first, second
        (n_cells,).

    References
    ----------
    Cohen, Educational and Psychological Measurement 20 (1960).
    """
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    table = crosstab(Categories(names, codes[: len(first)]), Categories(names, codes[len(first) :])) / len(first)
    share, chance = float(np.trace(table)), float(table.sum(axis=1) @ table.sum(axis=0))
    return Agreement(share, None if len(names) == 1 else (share - chance) / (1 - chance))
