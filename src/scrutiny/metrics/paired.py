"""Two methods on the same cells: do they make different mistakes?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Discordance(NamedTuple):
    """Cells that one of two methods tells right and the other wrong.

    Attributes
    ----------
    first, second
        Cells that only the first, or only the second, tells right.
    p
        Chance of a split at least as uneven if neither were better; 1 where they never differ.
    """

    first: int
    second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Discordance:
    """Exact McNemar test: of the cells that one method alone tells right, is either's share beyond a coin's?

    Cells count as independent, which cells of one donor are not: p is of these cells, not of further donors.

    Parameters
    ----------
    first, second
        (n_cells,) whether each tells the cell right; the same cells in the same order.

    Notes
    -----
    Two-sided binomial test of the discordant pairs. Q. McNemar, Psychometrika 12:153 (1947).
    """
    from scipy.stats import binom

    one, other = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))
    p = min(1.0, 2 * float(binom.cdf(min(one, other), one + other, 0.5)))
    return Discordance(one, other, p)


def mcnemar_by_label(labels: NDArray[np.str_], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Discordance]:
    """`mcnemar` among the cells of each label; p is not corrected for the number of labels.

    Parameters
    ----------
    labels
        (n_cells,) the truth.
    first, second
        (n_cells,) whether each method tells the cell right.
    """
    return {str(name): mcnemar(first[labels == name], second[labels == name]) for name in np.unique(labels)}
