"""Unique ids of cells and genes, and the columns ``symbol`` and ``ensembl_id`` whatever the file calls them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pandas as pd

from scrutiny.core.errors import InputError

from .genebook import ENSEMBL, strip_versions

SYMBOL_COLUMNS = ("symbol", "symbols", "gene_symbol", "gene_symbols", "feature_name", "gene_name", "gene_names", "gene_short_name", "gene")
ENSEMBL_COLUMNS = ("ensembl_id", "gene_ids", "gene_id", "ensembl", "ensembl_ids", "feature_id", "accession", "ensembl_gene_id", "id")
"""What files call them, best first; case does not matter."""

Duplicates = Literal["error", "rename"]


class Named(NamedTuple):
    """A table with unique ids and what had to be done, one sentence each."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def name_cells(obs: pd.DataFrame, source: str, duplicates: Duplicates = "error") -> Named:
    """Cells by unique text ids.

    Raises
    ------
    InputError
        If ids repeat and ``duplicates`` is not "rename": nobody could tell which embedding is of which cell.
    """
    obs = obs.set_axis(obs.index.astype(str), axis=0)
    repeated = obs.index[obs.index.duplicated()]
    if repeated.empty:
        return Named(obs, ())
    if duplicates == "error":
        raise InputError(
            f"{source}: cell ids must be unique; {len(repeated):,} of {len(obs):,} repeat another, e.g. '{repeated[0]}'; "
            "make them unique (adata.obs_names_make_unique()) or pass duplicates='rename'"
        )
    return Named(obs.set_axis(_renamed(obs.index), axis=0), (f"{len(repeated):,} repeated cell ids were numbered (-1, -2 ...), as asked.",))


def name_genes(var: pd.DataFrame) -> Named:
    """Genes by unique text ids, with the columns ``symbol`` and ``ensembl_id`` ('' where unknown) as far as the file has them.

    Repeated ids are common where symbols are used: then the Ensembl ids take their place if they are unique, else the repeats are
    numbered as scanpy does. Genes are not merged here.
    """
    index = var.index.astype(str)
    ids_in_index = index.str.match(ENSEMBL).mean() > 0.5 if len(index) else False
    ensembl = index.to_series() if ids_in_index else _column(var, ENSEMBL_COLUMNS)
    symbols = _column(var, SYMBOL_COLUMNS)
    if not ids_in_index:
        symbols = _symbols(symbols, index)
    columns = {}
    if symbols is not None:
        columns["symbol"] = symbols.to_numpy(object)
    if ensembl is not None and ensembl.str.match(ENSEMBL).any():
        columns["ensembl_id"] = ensembl.where(ensembl.str.match(ENSEMBL), "").pipe(strip_versions).astype(object)
    named = var.set_axis(index, axis=0).assign(**columns)
    repeated = index[index.duplicated()]
    if repeated.empty:
        return Named(named, ())
    what = f"{len(repeated):,} gene ids repeat another, e.g. '{repeated[0]}'"
    ids = pd.Index(columns["ensembl_id"]) if "ensembl_id" in columns else None
    if ids is not None and ids.is_unique and "" not in ids:
        return Named(named.set_axis(ids, axis=0), (f"{what}; the Ensembl ids were taken instead.",))
    return Named(named.set_axis(_renamed(index), axis=0), (f"{what}; the repeats were numbered (-1, -2 ...).",))


def _symbols(told: pd.Series | None, index: pd.Index) -> pd.Series:
    """What a column says, and the index where it says nothing or holds Ensembl ids."""
    own = index.to_series()
    if told is None or told.str.match(ENSEMBL).mean() > 0.5:
        return own
    return own.where((told == "").to_numpy(), told.to_numpy())


def _column(var: pd.DataFrame, wanted: tuple[str, ...]) -> pd.Series | None:
    known = {str(c).lower(): c for c in var.columns}
    for name in wanted:
        if name in known:
            texts = var[known[name]].astype(object)
            return texts.where(texts.notna(), "").astype(str)
    return None


def _renamed(index: pd.Index) -> pd.Index:
    """Repeats get ``-1``, ``-2`` ...; numbers that are taken already are skipped."""
    taken, counts, names = set(index), dict[str, int](), []
    for name, repeats in zip(index, index.duplicated()):
        new = name
        while repeats and new in taken:
            counts[name] = counts.get(name, 0) + 1
            new = f"{name}-{counts[name]}"
        taken.add(new)
        names.append(new)
    return pd.Index(names)
