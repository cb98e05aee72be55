"""Whether labels and batches can be told apart at all: facts for findings, from the two columns alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable

TECHNICAL = ("batch", "channel", "lane", "library", "sample", "plate", "run", "sort", "donor", "study", "technology", "chemistry", "assay")
"""Words in names of columns that tell how cells were processed rather than what they are."""


@dataclass(frozen=True)
class Confounding:
    """How far label and batch go together.

    Attributes
    ----------
    n_labels, n_batches
        Distinct values.
    cramers_v
        Cramer's V of the table of labels by batches: 0 independent, 1 one determines the other.
    labels_in_one_batch
        Labels all of whose cells are in a single batch: for them batch correction cannot be judged.
    batches_of_one_label
        Batches all of whose cells have a single label.
    """

    n_labels: int
    n_batches: int
    cramers_v: float
    labels_in_one_batch: tuple[str, ...]
    batches_of_one_label: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """No label occurs in two batches, so mixing and biology cannot be told apart."""
        return len(self.labels_in_one_batch) == self.n_labels


def confounding(labels: NDArray[np.str_], batches: NDArray[np.str_]) -> Confounding:
    """Facts about two columns (n_cells,) each.

    Raises
    ------
    NotApplicable
        If there is one label or one batch only, so that nothing can be confounded.

    Notes
    -----
    Cramer's V = sqrt(chi2 / (n * min(rows - 1, columns - 1))), without correction for small tables. H. Cramer, Mathematical
    Methods of Statistics (1946), page 282.
    """
    table = pd.crosstab(np.asarray(labels), np.asarray(batches))
    n_labels, n_batches = table.shape
    if min(table.shape) < 2:
        raise NotApplicable(f"confounding needs two labels and two batches; found {n_labels} and {n_batches}")
    observed = table.to_numpy(np.float64)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    chi2 = ((observed - expected) ** 2 / expected).sum()
    occurs = observed > 0
    return Confounding(
        n_labels=n_labels,
        n_batches=n_batches,
        cramers_v=float(np.sqrt(chi2 / (observed.sum() * (min(table.shape) - 1)))),
        labels_in_one_batch=tuple(table.index[occurs.sum(axis=1) == 1]),
        batches_of_one_label=tuple(table.columns[occurs.sum(axis=0) == 1]),
    )


def technical_twins(data: Dataset) -> tuple[str, ...]:
    """Columns with a technical name of which every value goes with one label, and every label with one value.

    Where there is one (each type sorted into its own channel), a method may find the labels by finding the channel.
    """
    label = data.obs[data.roles["label"]].astype(str) if data.has("label") else None
    if label is None or label.nunique() < 2:
        return ()
    return tuple(
        str(name)
        for name, column in data.obs.items()
        if name != data.roles["label"] and any(word in str(name).lower() for word in TECHNICAL) and _one_to_one(label, column.astype(str))
    )


def _one_to_one(left: pd.Series, right: pd.Series) -> bool:
    pairs = pd.DataFrame({"left": left.to_numpy(), "right": right.to_numpy()}).drop_duplicates()
    return pairs["left"].is_unique and pairs["right"].is_unique
