"""Ranked genes as tokens: the genes of a cell by descending value, as Geneformer, LangCell, Nicheformer and GeneCompass do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.nets.tokens import Tokens


def ranked(values: sparse.csr_matrix, ids: NDArray[np.int64], longest: int) -> Tokens:
    """Tokens of each cell by descending value, equal values in the order of the columns, at most ``longest``.

    Parameters
    ----------
    values
        (n_cells, n_genes) CSR of positive values; what is not stored is not a token.
    ids
        (n_genes,) token of each column.

    Returns
    -------
    Tokens
        With the columns ``ids`` and ``values``.
    """
    n_stored = np.diff(values.indptr)
    cell = np.repeat(np.arange(values.shape[0]), n_stored)
    order = np.lexsort((values.indices, -values.data.astype(np.float64), cell))
    place = np.arange(len(order)) - np.repeat(values.indptr[:-1], n_stored)
    kept = order[place < longest]
    columns = {"ids": ids[values.indices[kept]].astype(np.int64), "values": values.data[kept]}
    return Tokens(np.minimum(n_stored, longest).astype(np.int64), columns)
