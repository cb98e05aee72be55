"""Labels and batches as codes. Integers are categories too, never numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable


class Categories(NamedTuple):
    """A column of categories."""

    names: NDArray[np.str_]
    """(n_categories,) sorted."""
    codes: NDArray[np.intp]
    """(n_cells,) index into ``names``."""

    @property
    def n(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(n_categories,) cells of each."""
        return np.bincount(self.codes, minlength=self.n)


def categories(values: NDArray[Any]) -> Categories:
    """Categories of a column (n_cells,) of any type; numbers are read as names."""
    return Categories(*np.unique(np.asarray(values).astype(str), return_inverse=True))


def several(values: NDArray[Any], what: str) -> Categories:
    """Categories of a column (n_cells,) that must hold at least two of them.

    Raises
    ------
    NotApplicable
        If all cells have the same one; ``what`` names it ("label", "batch").
    """
    found = categories(values)
    if found.n < 2:
        raise NotApplicable(f"needs at least two different values of '{what}'; all {len(found.codes)} cells have '{found.names[0]}'")
    return found


def crosstab(rows: Categories, columns: Categories) -> NDArray[np.intp]:
    """Cells (n_row_categories, n_column_categories) that have both."""
    return np.bincount(rows.codes * columns.n + columns.codes, minlength=rows.n * columns.n).reshape(rows.n, columns.n)
