"""Two data sets on the genes that both have, under one name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from scrutiny.core.dataset import GENE_NAMES, Dataset
from scrutiny.core.errors import InputError

from .genebook import strip_versions

LEAST = 0.1
"""Share of the genes of the smaller data set below which nothing is compared."""


class SharedGenes(NamedTuple):
    """The data sets with the same genes in the same order."""

    first: Dataset
    second: Dataset


def on_shared_genes(first: Dataset, second: Dataset) -> SharedGenes:
    """Both data sets cut to the genes that they share, looked up by the ids (index, symbols or Ensembl ids) that match best.

    Versions of Ensembl ids are ignored; of several columns of one name the first is taken. The notes of both say how many there are.

    Raises
    ------
    InputError
        If they share fewer than a tenth of the genes of the smaller one.
    """
    pairs = [(one, other) for one in _spellings(first) for other in _spellings(second)]
    mine, theirs = max(pairs, key=lambda pair: len(pair[0].index.intersection(pair[1].index)))
    shared = mine.index[mine.index.isin(theirs.index)]
    smaller = min(first.n_genes, second.n_genes)
    if len(shared) < LEAST * smaller:
        examples = [", ".join(data.genes[:3]) for data in (first, second)]
        what = f"'{first.name}' ({examples[0]}) and '{second.name}' ({examples[1]}) share {len(shared):,} of {smaller:,} genes"
        raise InputError(f"{what}; expected genes of one organism under symbols or Ensembl ids. Map orthologues first where species differ")
    note = f"{len(shared):,} genes are shared by {first.name} ({first.n_genes:,}) and {second.name} ({second.n_genes:,})."
    return SharedGenes(*(_cut(data, columns[shared], note) for data, columns in ((first, mine), (second, theirs))))


def _spellings(data: Dataset) -> Iterator[pd.Series]:
    """Number of the column of each gene, by the name that it goes by in one way of naming."""
    for ids in (data.genes, *(data.var[name] for name in GENE_NAMES if name in data.var)):
        columns = pd.Series(range(data.n_genes), index=strip_versions(ids))
        yield columns[~columns.index.duplicated() & (columns.index != "")]


def _cut(data: Dataset, columns: pd.Series, note: str) -> Dataset:
    kept = data.take_genes(columns.to_numpy())
    return replace(kept, var=kept.var.set_axis(columns.index.astype(str), axis=0), notes=(*data.notes, note))
