"""Labels that a method tells of cells, with how likely it holds each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alignment import found, found_all
from .errors import ContractError

UNLABELLED = ""
"""Label of a training cell that nobody has labelled: there to learn expression from, not labels."""
ROUNDING = 1e-3
"""Of a sum of probabilities in float32."""


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """How likely each label is, cell by cell.

    Attributes
    ----------
    cell_ids
        (n_cells,) str.
    label_names
        (n_labels,) str, sorted, each once; `UNLABELLED` is none of them.
    probabilities
        (n_cells, n_labels) float32, 0 to 1, those of a cell add up to 1.
    """

    cell_ids: NDArray[np.str_]
    label_names: NDArray[np.str_]
    probabilities: NDArray[np.float32]

    @property
    def n_cells(self) -> int:
        return len(self.cell_ids)

    @property
    def labels(self) -> NDArray[np.str_]:
        """The likeliest label of each cell (n_cells,); of equal ones the first by name."""
        return self.label_names[self.probabilities.argmax(axis=1)]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of that label (n_cells,)."""
        return self.probabilities.max(axis=1)

    def aligned_to(self, cell_ids: NDArray[np.str_]) -> LabelPrediction:
        """The same for the cells in the asked order.

        Raises
        ------
        Misaligned
            If the ids are not exactly the asked ones, each once.
        ContractError
            If the names are not sorted and single, or the numbers no probabilities.
        """
        self._check()
        return self._of(found_all(self.cell_ids, cell_ids), cell_ids)

    def of_cells(self, cell_ids: NDArray[np.str_]) -> LabelPrediction:
        """The same for some of the cells, in the asked order. Raises Misaligned if one is not there."""
        return self if np.array_equal(self.cell_ids, cell_ids) else self._of(found(self.cell_ids, cell_ids), cell_ids)

    def part(self, rows: NDArray[np.integer]) -> LabelPrediction:
        """The same for the cells at these rows."""
        return self._of(np.asarray(rows), self.cell_ids[rows])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a cache keeps."""
        ids, names = np.asarray(self.cell_ids, str), np.asarray(self.label_names, str)
        return {"cell_ids": ids, "label_names": names, "probabilities": self.probabilities}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LabelPrediction:
        return cls(arrays["cell_ids"], arrays["label_names"], arrays["probabilities"])

    def _of(self, where: NDArray[np.integer], cell_ids: NDArray[np.str_]) -> LabelPrediction:
        probabilities = np.ascontiguousarray(np.asarray(self.probabilities, np.float32)[where])
        return LabelPrediction(np.asarray(cell_ids), np.asarray(self.label_names, str), probabilities)

    def _check(self) -> None:
        names, values = np.asarray(self.label_names, str), np.asarray(self.probabilities)
        if not len(names) or (names[1:] <= names[:-1]).any() or UNLABELLED in names:
            raise ContractError(f"label names must be sorted, each once and none empty; found {names[:10].tolist()}")
        if values.shape != (len(self.cell_ids), len(names)):
            shape = (len(self.cell_ids), len(names))
            raise ContractError(f"probabilities have the shape {values.shape}; expected {shape}, cells by labels")
        sums = values.sum(axis=1, dtype=np.float64)
        odd = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= ROUNDING))
        if odd.any():
            which = int(np.flatnonzero(odd)[0])
            found_here = f"those of cell '{self.cell_ids[which]}' add up to {sums[which]:g}, the least is {values[which].min():g}"
            raise ContractError(f"{int(odd.sum())} of {len(odd)} cells have no probabilities: {found_here}")
