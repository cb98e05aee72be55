"""Ranked genes as tokens: the genes of a cell by descending value, as Geneformer, LangCell, Nicheformer and GeneCompass do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.nets.tokens import Tokens


def stable(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ascending order; equal values stay as they are."""
    return np.argsort(values, kind="stable")


def ranked(
    values: sparse.csr_matrix,
    ids: NDArray[np.int64],
    longest: int,
    *,
    argsort: Callable[[NDArray[np.float64]], NDArray[np.int64]] = stable,
) -> Tokens:
    """Tokens of each cell by descending value, equal values in the order of the columns, at most ``longest``.

    Parameters
    ----------
    values
        (n_cells, n_genes) CSR of values from 0 on, columns sorted; zeros are no tokens, stored or not.
    ids
        (n_genes,) token of each column.
    argsort
        Ascending order of the negative values of a cell, for models that bring equal ones into another order.

    Returns
    -------
    Tokens
        With the columns ``ids`` and ``values``.
    """
    if not values.data.all():
        values = values.copy()
        values.eliminate_zeros()
    falling = -values.data.astype(np.float64)
    ends = values.indptr
    # Cell after cell: many short sorts are several times as fast as one long sort by cell and value.
    orders = [begin + argsort(falling[begin:end])[:longest] for begin, end in zip(ends[:-1], ends[1:], strict=True)]
    kept = np.concatenate([*orders, np.empty(0, np.int64)]).astype(np.int64, copy=False)
    columns = {"ids": ids[values.indices[kept]].astype(np.int64), "values": values.data[kept]}
    return Tokens(np.minimum(np.diff(ends), longest).astype(np.int64), columns)


def framed(tokens: Tokens, start: tuple[int, ...] = (), end: tuple[int, ...] = ()) -> Tokens:
    """Ids with fixed tokens put before and after those of each cell; other columns are left out."""
    n_more = len(start) + len(end)
    out = Tokens(tokens.lengths + n_more, {"ids": np.empty(int(tokens.lengths.sum()) + n_more * tokens.n_cells, np.int64)})
    ids, begins, ends = out.columns["ids"], out.offsets[:-1], out.offsets[1:]
    ids[begins[:, None] + np.arange(len(start))] = start
    ids[(ends - len(end))[:, None] + np.arange(len(end))] = end
    moved = len(start) + n_more * np.arange(tokens.n_cells)
    ids[np.arange(len(tokens.columns["ids"])) + np.repeat(moved, tokens.lengths)] = tokens.columns["ids"]
    return out
