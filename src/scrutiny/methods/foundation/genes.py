"""Which genes of a data set a model knows: one layer for all tokenisers, on top of `scrutiny.data.genebook`.

- Ids of the kind that the vocabulary has are looked up as the official code does. Where that finds enough genes nothing else is done.
- Where it finds too few because the data have ids of the other kind (Ensembl ids for a model of symbols, or the reverse), both sides are
  turned into Ensembl ids by a gene table. A table that the user names is used in any case: it also knows synonyms and former symbols.
- Mouse genes that meet a vocabulary of human ones are looked up as their human orthologues, and failing that as they are spelt
  (Nicheformer has words for a few mouse genes).
- Columns of the data that are one gene are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import GENE_NAMES, Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.data.genebook import ENSEMBL, GeneBook, strip_versions
from scrutiny.data.genetables import GeneTables

Order = Literal["vocabulary", "file"]
MIN_GENES = 100
"""Fewer known genes than this say nothing about a cell."""
MIN_SHARE = 0.1
"""A smaller known share of the data's genes means other ids or another organism, not a small panel."""
EXAMPLES = 3
OFFICIAL = GeneTables()


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
    organisms
        Whose genes the names are.
    """

    names: NDArray[np.str_]
    kind: Literal["symbol", "ensembl_id"]
    folded: bool = False
    aliases: Mapping[str, str] | None = None
    organisms: frozenset[str] = frozenset({"human"})

    @cached_property
    def _rows(self) -> pd.Index:
        return pd.Index(self.names)

    def find(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Row of each id (n,) as the official code looks it up, versions ignored; -1 where there is none."""
        spelt = pd.Series(strip_versions(ids))
        if self.folded or self.aliases:
            spelt = spelt.str.upper()
        return self._rows.get_indexer(spelt.map(self.aliases).fillna(spelt) if self.aliases else spelt)

    def find_as_spelt(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Row of each id (n,) that is a name letter by letter; -1 where there is none."""
        return self._rows.get_indexer(strip_versions(ids))

    def find_in(self, book: GeneBook, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Row of each Ensembl id (n,) of a gene table; -1 where there is none. Of two names of one gene its present symbol wins."""
        if self.kind == "ensembl_id":
            return self.find(ids)
        own = pd.DataFrame({"id": book.ensembl_ids(self.names), "row": np.arange(len(self.names))})
        own["former"] = book.symbols_of(own["id"]) != self.names
        own = own[own["id"] != ""].sort_values(["former", "row"]).drop_duplicates("id")
        where = pd.Index(own["id"]).get_indexer(ids)
        return np.where(where >= 0, own["row"].to_numpy()[where], -1)


class Counts(NamedTuple):
    """Counts of some cells: ``known`` (n, n_matched) CSR float32 of the genes that the model knows, ``totals`` (n,) of all genes."""

    start: int
    stop: int
    known: sparse.csr_matrix
    totals: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """Where the genes of a data set stand in a vocabulary.

    Attributes
    ----------
    rows
        (n_genes,) int64 row of the vocabulary, -1 where it has none.
    n_vocabulary
        Genes of the vocabulary.
    looked_up_by
        What the official look-up was given: "index", "symbol" or "ensembl_id" of the data, or "orthologue".
    translated
        How other ids were found, '' where none was.
    n_translated
        Genes found that way.
    """

    rows: NDArray[np.int64]
    n_vocabulary: int
    looked_up_by: str
    translated: str = ""
    n_translated: int = 0

    @property
    def n_words(self) -> int:
        """Genes of the vocabulary that the data have."""
        return len(np.unique(self.rows[self.rows >= 0]))

    def suffices(self, min_genes: int) -> bool:
        return self.n_words >= max(min_genes, MIN_SHARE * min(len(self.rows), self.n_vocabulary))

    def or_else(self, rows: NDArray[np.int64], how: str) -> Found:
        """With the rows (n_genes,) of another look-up for the genes that were not found."""
        more = (self.rows < 0) & (rows >= 0)
        told = ", ".join(filter(None, (self.translated, how if more.any() else "")))
        return replace(self, rows=np.where(more, rows, self.rows), translated=told, n_translated=self.n_translated + int(more.sum()))


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
    organism
        Of the cells.
    found
        For the report.
    """

    words: NDArray[np.int64]
    gene_ids: NDArray[np.str_]
    placed: sparse.csr_matrix
    organism: str
    found: Found

    def counts(self, data: Dataset, n_rows: int | None = None) -> Iterator[Counts]:
        """The cells chunk by chunk, columns as in ``words``."""
        for start, stop, values in data.matrix.chunks(n_rows):
            known = (values @ self.placed).tocsr()
            known.sort_indices()
            yield Counts(start, stop, known, np.asarray(values.sum(axis=1, dtype=np.float64)).ravel())

    @property
    def facts(self) -> dict[str, Any]:
        """What a report must know, in plain words and numbers; ``share`` is that of the data's genes, 0 to 1."""
        return {
            "n_found": len(self.words),
            "n_genes": self.placed.shape[0],
            "n_vocabulary": self.found.n_vocabulary,
            "share": self.placed.nnz / self.placed.shape[0],
            "looked_up_by": self.found.looked_up_by,
            "translated": self.found.translated,
            "n_translated": self.found.n_translated,
            "n_summed": self.placed.nnz - len(self.words),
        }


def match(
    data: Dataset, vocabulary: Vocabulary, *, order: Order = "vocabulary", min_genes: int = MIN_GENES, tables: GeneTables = OFFICIAL
) -> Matched:
    """Find the genes of the data in a vocabulary.

    Parameters
    ----------
    order
        Of the matched genes: by "vocabulary", so that the order of the file plays no part, or as first met in the "file".
    tables
        By which ids are translated, where they have to be.

    Raises
    ------
    NotApplicable
        If too few genes are known; the message has the number and examples of what is not known.
    InputError
        If a table that the user named cannot be read.
    """
    found = _found(data, vocabulary, min_genes, tables)
    if not found.suffices(min_genes):
        raise NotApplicable(_too_few(data, vocabulary, found, min_genes))
    columns = np.flatnonzero(found.rows >= 0)
    target = found.rows[columns]
    words = np.unique(target) if order == "vocabulary" else pd.unique(target)
    place = pd.Index(words).get_indexer(target)
    first = np.full(len(words), -1)
    first[place[::-1]] = columns[::-1]
    placed = sparse.csr_matrix((np.ones(len(columns), np.float32), (columns, place)), shape=(data.n_genes, len(words)))
    return Matched(words.astype(np.int64), data.genes[first], placed, data.organism, found)


Spellings = Mapping[str, NDArray[np.str_]]
"""Names of the genes of the data: "index", "symbol", "ensembl_id" or "orthologue" -> (n_genes,) str, '' where unknown."""


def _found(data: Dataset, vocabulary: Vocabulary, min_genes: int, tables: GeneTables) -> Found:
    own: Spellings = {"index": data.genes, **{c: data.var[c].to_numpy(str) for c in GENE_NAMES if c in data.var}}
    foreign = data.organism not in vocabulary.organisms | {"unknown"}
    spelt = {"orthologue": _orthologues(data, own, vocabulary, tables)} if foreign else own
    found = _official(spelt, vocabulary)
    if foreign:
        found = replace(found, translated=f"{data.organism} genes by human orthologues", n_translated=int((found.rows >= 0).sum()))
        for ids in own.values():
            found = found.or_else(vocabulary.find_as_spelt(ids), "the others as they are spelt")
    organism = data.organism if data.organism in vocabulary.organisms else min(vocabulary.organisms)
    book = tables.named(organism)
    if book is None and not found.suffices(min_genes) and _of_other_kind(spelt, vocabulary.kind):
        try:
            book = tables.official(organism)
        except NotApplicable as error:
            raise NotApplicable(f"{_too_few(data, vocabulary, found, min_genes)}; {error}") from error
    return found.or_else(vocabulary.find_in(book, _ensembl_ids(spelt, book)), f"a table of {organism} genes") if book else found


def _official(spelt: Spellings, vocabulary: Vocabulary) -> Found:
    """The official look-up by the names that find most; the kind of the vocabulary is preferred where it finds half as many."""
    tried = {name: Found(vocabulary.find(ids), len(vocabulary.names), name) for name, ids in spelt.items()}
    best = max(tried.values(), key=lambda found: found.n_words)
    preferred = tried.get(vocabulary.kind, best)
    return preferred if 2 * preferred.n_words >= best.n_words else best


def _orthologues(data: Dataset, own: Spellings, vocabulary: Vocabulary, tables: GeneTables) -> NDArray[np.str_]:
    """Human symbol of every mouse gene, '' where there is none. Shape (n_genes,)."""
    known = " and ".join(sorted(vocabulary.organisms))
    try:
        if data.organism != "mouse" or "human" not in vocabulary.organisms:
            raise NotApplicable("orthologues are at hand from mouse to human only")
        human = tables.human_by_mouse()
        symbols = pd.Series(own.get("symbol", own["index"]))
        symbols = symbols.mask(symbols.str.match(ENSEMBL), "")
        book = tables.named("mouse") or (tables.official("mouse") if (symbols == "").mean() > 0.5 else None)
    except NotApplicable as error:
        raise NotApplicable(f"'{data.name}' has {data.organism} genes and the model knows {known} ones; {error}") from error
    if book:
        symbols = symbols.mask(symbols == "", book.symbols_of(_ensembl_ids(own, book)))
    return np.array([human.get(symbol.upper(), "") for symbol in symbols], dtype=str)


def _ensembl_ids(spelt: Spellings, book: GeneBook) -> NDArray[np.str_]:
    """Ensembl id of every gene, '' where the table knows none: what the file gives as such is believed first. Shape (n_genes,)."""
    ids = np.full(len(next(iter(spelt.values()))), "")
    for name in ("ensembl_id", "index", "symbol", "orthologue"):
        if name in spelt:
            ids = np.where(ids == "", book.ensembl_ids(spelt[name]), ids)
    return ids


def _of_other_kind(spelt: Spellings, kind: str) -> bool:
    """Whether a good part of the genes has an id of the kind that the vocabulary has not."""
    for ids in spelt.values():
        names = pd.Series(ids)
        is_ensembl = names.str.match(ENSEMBL)
        if ((names != "") & (is_ensembl if kind == "symbol" else ~is_ensembl)).mean() >= MIN_SHARE:
            return True
    return False


def _too_few(data: Dataset, vocabulary: Vocabulary, found: Found, min_genes: int) -> str:
    names = pd.Series(data.var[found.looked_up_by] if found.looked_up_by in data.var else data.genes, dtype=str).to_numpy()
    some = [str(name) for name in names[found.rows < 0] if name][:EXAMPLES]
    folded = {str(name).upper() for name in vocabulary.names}
    n_folded = sum(str(name).upper() in folded for name in names)
    how = found.looked_up_by + (f" and {found.translated}" if found.translated else "")
    return (
        f"of {data.n_genes:,} genes of '{data.name}' the model knows {found.n_words:,} (of its {found.n_vocabulary:,}; looked up by {how}"
        f"{', e.g. not ' + ', '.join(some) if some else ''}); expected at least {min_genes:,} and a tenth of either"
        f"{'; ignoring case many more match: is it another organism?' if n_folded > 2 * found.n_words + 100 else ''}"
    )
