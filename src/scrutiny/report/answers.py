"""What methods told of each cell, and what is true: read from the cache of a store, which may have been cleaned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.labels import LabelPrediction
from scrutiny.engine.store import Store

from .comparisons import Comparison

CERTAIN = 1.0


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of several methods of the same cells.

    Attributes
    ----------
    truth
        (n_cells,) str.
    by_method
        Method to its prediction, in the order of ``truth``; of several seeds the first.
    """

    truth: NDArray[np.str_]
    by_method: Mapping[str, LabelPrediction]

    def labels(self, method: str) -> NDArray[np.str_]:
        """The label that a method tells of each cell (n_cells,)."""
        return self.by_method[method].labels

    def right(self, method: str) -> NDArray[np.bool_]:
        """Whether it is the true one (n_cells,)."""
        return np.asarray(self.labels(method) == self.truth)

    def confidence(self, method: str) -> NDArray[np.float32]:
        return self.by_method[method].confidence


def answers(comparison: Comparison, store: Store, cells: pd.DataFrame | None, methods: Sequence[str]) -> Answers | None:
    """Answers of these methods as far as they are in the cache and of the same cells; None where there are none."""
    column = comparison.key.label_column
    if cells is None or column not in cells:
        return None
    found: dict[str, LabelPrediction] = {}
    ids: NDArray[np.str_] | None = None
    for method in methods:
        prediction = _first(comparison, store, method)
        if prediction is None:
            continue
        ids = prediction.cell_ids if ids is None else ids
        if set(ids) == set(prediction.cell_ids):
            found[method] = prediction.of_cells(ids)
    if ids is None or not found:
        return None
    return Answers(cells[column].astype(str).reindex(ids).to_numpy(str), found)


def _first(comparison: Comparison, store: Store, method: str) -> LabelPrediction | None:
    rows = comparison.scored[comparison.scored["method"] == method].sort_values("seed", kind="stable")
    for key in dict.fromkeys(filter(None, rows["output_key"])):
        output = store.cached_output(key)
        if isinstance(output, LabelPrediction):
            return output
    return None
