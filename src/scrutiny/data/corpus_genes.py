"""The genes of a corpus: one row for a gene however the files spell it, and the choice of those that are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError

from .corpus_config import CorpusConfig
from .genebook import ENSEMBL, strip_versions
from .genetables import GeneTables

CELL_TOTAL = 10_000.0
"""Counts of a cell that medians are given for, as Geneformer does."""
STEP = np.log(1.01)
"""Width of a bin of the logarithm of a value, so a median is within 0.5 % of the exact one."""
LOWEST, N_BINS = np.log(1e-2), 1390
"""From 1 count in a million to all counts of a cell."""


class Names(NamedTuple):
    """Genes of a file: ``ensembl`` and ``symbols`` (n_genes,) str, '' where unknown."""

    ensembl: NDArray[np.str_]
    symbols: NDArray[np.str_]


def names_in(data: Dataset) -> Names:
    """The genes of the data under the names that the data themselves give them."""
    index = strip_versions(data.var.index)
    is_id = pd.Series(index).str.match(ENSEMBL).to_numpy(bool)
    ensembl = data.var["ensembl_id"].to_numpy(str) if "ensembl_id" in data.var else np.where(is_id, index, "")
    symbols = data.var["symbol"].to_numpy(str) if "symbol" in data.var else np.where(is_id, "", index)
    return Names(ensembl, symbols)


def own_ids(data: Dataset) -> NDArray[np.str_]:
    """One id for each gene (n_genes,): its Ensembl id, else its symbol, as the data themselves have it."""
    names = names_in(data)
    return np.where(names.ensembl == "", names.symbols, names.ensembl)


def names_for(config: CorpusConfig, data: Dataset) -> Names:
    """The genes of a file as genes of the corpus's organism.

    Raises
    ------
    InputError
        If the data are of another organism and nothing says which genes correspond.
    """
    tables = GeneTables(config.gene_tables, config.orthologues)
    names = names_in(data)
    if data.organism not in (config.organism, "unknown"):
        names = _human(names, data, tables, config.organism)
    book = tables.named(config.organism)
    if book is None:
        return names
    found = book.ensembl_ids(names.ensembl)
    found = np.where(found == "", book.ensembl_ids(names.symbols), found)
    return Names(np.where(found == "", names.ensembl, found), np.where(found == "", names.symbols, book.symbols_of(found)))


def _human(names: Names, data: Dataset, tables: GeneTables, organism: str) -> Names:
    if (data.organism, organism) != ("mouse", "human") or not tables.pairs:
        raise InputError(
            f"'{data.name}' has {data.organism} genes, the corpus has {organism} ones; mouse files go into a human corpus with "
            "orthologues = TABLE. Otherwise leave the file out, or declare its organism where the guess is wrong"
        )
    pairs = tables.human_by_mouse()
    return Names(np.full(len(names.symbols), ""), np.array([pairs.get(symbol.upper(), "") for symbol in names.symbols], dtype=str))


@dataclass
class GeneRows:
    """One row for each gene that any file has.

    Two spellings are one gene if they have the same Ensembl id; or else if they have the same symbol, and each stands for one gene in
    its file and in all files before. So an id that was retired meets the one that took its place.
    """

    ids: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    _by_id: dict[str, int] = field(default_factory=dict)
    _by_symbol: dict[str, int] = field(default_factory=dict)
    """-1 for a symbol of several genes."""
    _without_id: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, names: Names) -> NDArray[np.int64]:
        """Row of each gene (n_genes,); -1 where it has none."""
        rows = np.array([self._by_id.get(id, -1) if id else self._without_id.get(symbol, -1) for id, symbol in zip(*names)], dtype=np.int64)
        taken, spelt = set(rows.tolist()), pd.Series(names.symbols)
        is_open = (rows < 0) & (spelt != "").to_numpy() & ~spelt.duplicated(keep=False).to_numpy()
        for i in np.flatnonzero(is_open):
            row = self._by_symbol.get(names.symbols[i], -1)
            rows[i] = -1 if row in taken else row
        return rows

    def add(self, names: Names) -> NDArray[np.int64]:
        """Row of each gene (n_genes,), new ones at the end; -1 where a gene has no name at all."""
        rows = self.find(names)
        for i, (id, symbol) in enumerate(zip(names.ensembl.tolist(), names.symbols.tolist(), strict=True)):
            if rows[i] < 0 and (id or symbol):
                known = self._by_id.get(id) if id else self._without_id.get(symbol)
                rows[i] = self._new(id, symbol) if known is None else known
            if rows[i] >= 0 and id:
                self._by_id.setdefault(id, int(rows[i]))
                self.ids[rows[i]] = self.ids[rows[i]] or id
        return rows

    def _new(self, id: str, symbol: str) -> int:
        row = len(self.ids)
        self.ids.append(id)
        self.symbols.append(symbol)
        if symbol:
            self._by_symbol[symbol] = -1 if symbol in self._by_symbol else row
        if not id:
            self._without_id[symbol] = row
        return row

    def table(self) -> pd.DataFrame:
        """``symbol`` and ``ensembl_id``, indexed by the Ensembl id, else the symbol, of each gene."""
        index = pd.Index([id or symbol for id, symbol in zip(self.ids, self.symbols, strict=True)], name="gene")
        return pd.DataFrame({"symbol": self.symbols, "ensembl_id": self.ids}, index=index)


def chosen_genes(table: pd.DataFrame, config: CorpusConfig) -> NDArray[np.int64]:
    """Rows of the genes that the corpus has, sorted by id.

    A gene must be expressed by ``min_cells`` cells and listed by the files of a share ``measured_in`` of them. Of more than ``genes``
    those stay that the greatest share of the cells express whose file lists them; ties by id.

    Parameters
    ----------
    table
        ``n_cells`` that express a gene, ``n_measured`` cells whose file lists it, indexed by gene; attrs["n_cells"]: of all.

    Raises
    ------
    InputError
        If no gene is left, or the list that was named knows none of them.
    """
    usable = (table["n_cells"] >= config.min_cells) & (table["n_measured"] >= config.measured_in * table.attrs["n_cells"])
    if not isinstance(config.genes, int):
        usable &= _listed(table, config.genes.read_text("utf-8").split())
    share = table["n_cells"] / table["n_measured"].clip(lower=1)
    ranked = pd.DataFrame({"row": np.arange(len(table)), "share": share, "id": table.index})[usable.to_numpy()]
    if ranked.empty:
        which = "" if isinstance(config.genes, int) else f" and are in {config.genes}"
        raise InputError(
            f"no gene is left: of {len(table):,}, none are expressed by {config.min_cells} cells, listed by the files of "
            f"{config.measured_in:.0%} of {table.attrs['n_cells']:,} cells{which}; lower min_cells or measured_in"
        )
    n_kept = config.genes if isinstance(config.genes, int) else len(ranked)
    kept = ranked.sort_values(["share", "id"], ascending=[False, True]).head(n_kept)
    return kept.sort_values("id")["row"].to_numpy(np.int64)


def _listed(table: pd.DataFrame, wanted: Iterable[str]) -> NDArray[np.bool_]:
    ids = set(strip_versions(wanted))
    return (table["ensembl_id"].isin(ids) | table["symbol"].isin(ids)).to_numpy(bool)


class Medians:
    """Median over the cells that express a gene of count / total * 10,000, from a histogram: within 0.5 % of the exact one."""

    def __init__(self, n_genes: int) -> None:
        self.histogram = np.zeros((n_genes, N_BINS), dtype=np.uint32)

    def add(self, values: sparse.csr_matrix, totals: NDArray[np.float64]) -> None:
        """Count cells in: ``values`` (n_cells, n_genes) counts, ``totals`` (n_cells,) over all genes of their source."""
        scaled = values.data * np.repeat(CELL_TOTAL / totals, np.diff(values.indptr))
        bins = np.clip((np.log(scaled) - LOWEST) / STEP, 0, N_BINS - 1).astype(np.int64)
        np.add.at(self.histogram.reshape(-1), values.indices.astype(np.int64) * N_BINS + bins, 1)

    def values(self) -> NDArray[np.float64]:
        """Medians (n_genes,); nan for a gene that no cell expresses. Of an even number of cells the lower middle one."""
        totals = self.histogram.sum(axis=1, dtype=np.int64)
        middle = [np.searchsorted(np.cumsum(row), (n + 1) // 2) for row, n in zip(self.histogram, totals, strict=True)]
        return np.where(totals > 0, np.exp(LOWEST + STEP * (np.array(middle) + 0.5)), np.nan)


def placed(values: sparse.csr_matrix, columns: NDArray[np.int64], n_columns: int) -> sparse.csr_matrix:
    """The same cells with column ``columns[i]`` in place of i; -1 leaves it out, columns that meet are summed. (n_cells, n_columns)."""
    where = columns[values.indices]
    kept = np.flatnonzero(where >= 0)
    indptr = np.searchsorted(kept, values.indptr)
    moved = sparse.csr_matrix((values.data[kept], where[kept].astype(np.int32), indptr), shape=(values.shape[0], n_columns))
    moved.sum_duplicates()
    return moved
