"""Two methods on the same cells: what each gets right that the other gets wrong, with McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scrutiny.metrics.agreement import Agreement, agreement
from scrutiny.metrics.paired import Discordance, mcnemar, mcnemar_by_label

from .answers import Answers
from .intervals import holm
from .verdict import SIGNIFICANCE
from .words import listing


@dataclass(frozen=True)
class ContrastRow:
    """Cells of one label: both right, one alone right, both wrong; ``p`` is corrected for the number of labels."""

    label: str
    n_cells: int
    both: int
    neither: int
    alone: Discordance

    @property
    def is_sure(self) -> bool:
        return self.alone.p <= SIGNIFICANCE


@dataclass(frozen=True)
class Contrast:
    """Two methods; ``whole`` is over all cells, without correction, ``agreed`` of what they tell, right or wrong."""

    first: str
    second: str
    agreed: Agreement
    whole: ContrastRow
    rows: tuple[ContrastRow, ...]

    @property
    def words(self) -> str:
        """What to see."""
        alone = self.whole.alone
        kappa = "" if self.agreed.kappa is None else f" (Cohen's kappa {self.agreed.kappa:.2f})"
        said = [
            f"{self.first} alone is right on {alone.first:,} cells, {self.second} alone on {alone.second:,}; both are wrong on "
            f"{self.whole.neither:,} of {self.whole.n_cells:,}.",
            f"They tell the same of {self.agreed.share:.0%} of the cells{kappa}.",
        ]
        for method in (self.first, self.second):
            is_first = method == self.first
            if labels := [row.label for row in self.rows if row.is_sure and (row.alone.first > row.alone.second) == is_first]:
                said.append(f"{method} is surely better on {listing(labels)}.")
        if not any(row.is_sure for row in self.rows):
            said.append("On no type is one surely better than the other.")
        return " ".join(said)


def contrast(found: Answers, first: str, second: str) -> Contrast:
    """The two methods over all cells and label by label, labels with the most differing cells first."""
    one, other = found.right(first), found.right(second)
    by_label = mcnemar_by_label(found.truth, one, other)
    corrected = holm({label: alone.p for label, alone in by_label.items()})
    rows = [
        _row(label, one[found.truth == label], other[found.truth == label], alone._replace(p=corrected[label]))
        for label, alone in by_label.items()
    ]
    rows.sort(key=lambda row: (-(row.alone.first + row.alone.second), row.label))
    agreed = agreement(found.labels(first), found.labels(second))
    return Contrast(first, second, agreed, _row("all cells", one, other, mcnemar(one, other)), tuple(rows))


def _row(label: str, one: np.ndarray, other: np.ndarray, alone: Discordance) -> ContrastRow:
    return ContrastRow(label, len(one), int((one & other).sum()), int((~one & ~other).sum()), alone)
