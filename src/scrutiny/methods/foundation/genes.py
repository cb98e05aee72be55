"""Which genes of a data set a model knows: one layer for all tokenisers, on top of `scrutiny.data.genes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.data.genes import Overlap, overlap, strip_versions

Order = Literal["vocabulary", "file"]
MIN_GENES = 100
"""Fewer known genes than this say nothing about a cell."""
MIN_SHARE = 0.1
"""A smaller known share of the data's genes means other ids or another organism, not a small panel."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The genes that a model knows.

    Attributes
    ----------
    names
        (n_words,) str, unique.
    kind
        Whether the names are symbols or Ensembl ids.
    folded
        The official code compares in upper case.
    aliases
        Other ids -> names, as the official files map them.
    """

    names: NDArray[np.str_]
    kind: Literal["symbol", "ensembl_id"]
    folded: bool = False
    aliases: Mapping[str, str] | None = None


class Counts(NamedTuple):
    """Counts of some cells: ``known`` (n, n_matched) CSR float32 of the genes that the model knows, ``totals`` (n,) of all genes."""

    start: int
    stop: int
    known: sparse.csr_matrix
    totals: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matched:
    """The genes of a data set that a vocabulary knows.

    Attributes
    ----------
    words
        (n_matched,) int64, row of the vocabulary of each matched gene.
    gene_ids
        (n_matched,) str, id of the gene in the data (the first, where several columns are one gene).
    placed
        (n_genes, n_matched) 0/1 CSR: columns of the data that are one gene are summed.
    overlap
        For the report.
    """

    words: NDArray[np.int64]
    gene_ids: NDArray[np.str_]
    placed: sparse.csr_matrix
    overlap: Overlap

    def counts(self, data: Dataset, n_rows: int | None = None) -> Iterator[Counts]:
        """The cells chunk by chunk, columns as in ``words``."""
        for start, stop, values in data.matrix.chunks(n_rows):
            known = (values @ self.placed).tocsr()
            known.sort_indices()
            yield Counts(start, stop, known, np.asarray(values.sum(axis=1, dtype=np.float64)).ravel())


def match(data: Dataset, vocabulary: Vocabulary, *, order: Order = "vocabulary", min_genes: int = MIN_GENES) -> Matched:
    """Find the genes of the data in a vocabulary, under the ids of the data (index, symbol, Ensembl id) that match best.

    Parameters
    ----------
    order
        Of the matched genes: by "vocabulary", so that the order of the file plays no part, or as first met in the "file".

    Raises
    ------
    NotApplicable
        If too few genes are known; the message has the number and examples of what is not known.
    """
    aliases = dict(vocabulary.aliases or {})
    known = overlap(data, [*vocabulary.names, *aliases], prefer=vocabulary.kind)
    ids = pd.Series(strip_versions(data.var.index if known.spelling == "index" else data.var[known.spelling]))
    if vocabulary.folded or aliases:
        ids = ids.str.upper()
    ids = ids.map(aliases).fillna(ids) if aliases else ids
    target = pd.Index(vocabulary.names).get_indexer(ids)
    columns = np.flatnonzero(target >= 0)
    words = np.unique(target[columns]) if order == "vocabulary" else pd.unique(target[columns])
    place = pd.Index(words).get_indexer(target[columns])
    first = np.full(len(words), -1)
    first[place[::-1]] = columns[::-1]
    if len(words) < min_genes or len(words) < MIN_SHARE * min(data.n_genes, len(vocabulary.names)):
        raise NotApplicable(_too_few(data, known, len(words), min_genes))
    placed = sparse.csr_matrix((np.ones(len(columns), np.float32), (columns, place)), shape=(data.n_genes, len(words)))
    return Matched(words.astype(np.int64), data.genes[first], placed, known)


def _too_few(data: Dataset, known: Overlap, n_found: int, min_genes: int) -> str:
    some = f", e.g. not {', '.join(known.unknown[:3])}" if known.unknown else ""
    hint = "; ignoring case many more match: is it another organism?" if known.n_ignoring_case > 2 * n_found + 100 else ""
    return (
        f"of {data.n_genes:,} genes of '{data.name}' the model knows {n_found:,} (of its {known.n_vocabulary:,}; looked up by "
        f"{known.spelling}{some}); expected at least {min_genes:,} and a tenth of either{hint}"
    )
