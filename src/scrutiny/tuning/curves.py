"""The log of a training: one row a validation, in a CSV file that pandas reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scrutiny.core.atomic import write_atomic

HOW_FAR = ("step", "progress", "epoch", "cells", "tokens", "teraflops", "seconds", "waited")
FIRST = (*HOW_FAR, "learning_rate", "gradient_norm", "train", "validation")
"""Columns that every log has, in this order; the parts of the loss follow as train_NAME and validation_NAME.

``seconds`` since the training began, all its processes added, ``waited`` those that were spent waiting for batches.
"""

Row = Mapping[str, float]


class Log:
    """Rows of ``log.csv``, written anew as a whole: it is small, and so never half a row. Raises StoreError where that is refused."""

    def __init__(self, path: Path, rows: list[dict[str, float]] | None = None) -> None:
        self.path, self.rows = path, rows or []

    def add(self, row: Row) -> None:
        self.rows.append(dict(row))
        columns = [*FIRST, *sorted({name for known in self.rows for name in known} - set(FIRST))]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.path, lambda file: file.write(text.getvalue().encode()))


def read_log(path: Path) -> pd.DataFrame:
    """The rows of a log, every digit."""
    return pd.read_csv(path, float_precision="round_trip")
