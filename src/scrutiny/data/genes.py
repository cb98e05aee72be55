"""Gene identity: what the gene ids of a Dataset are, and one canonical id per gene.

Rules, the same for every user of this layer:

- Ensembl ids lose their version and the ``_PAR_Y`` mark; symbols are matched as spelt, then without case, then as synonyms.
- A symbol of several Ensembl ids stands for the lowest one, which is the oldest.
- Columns that come to the same id are summed, which is right for counts and other unlogged values only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import GENE_NAMES, Dataset, Scale
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.matrix import Chunk, Matrix, digest_of_matrix

from .genebook import ENSEMBL, GeneBook, checked, human_by_mouse, organism_of, strip_versions

Canonical = Literal["ensembl_id", "symbol"]

HUMAN_ONLY = re.compile(r"^(HLA-|LINC\d{4}|RP\d+-\d+|A[CLP]\d{6}\.\d|C(\d+|X)ORF\d)", re.IGNORECASE)
"""Names that only human genes bear, whatever their case; on shared genes the two organisms differ by case alone."""
MOUSE_ONLY = re.compile(r"^(H2-[A-Z]|GM\d{3}|\w+RIK$)", re.IGNORECASE)
FEW = 20
"""Below this many telling symbols no organism is guessed."""


class IdKind(StrEnum):
    ENSEMBL = "Ensembl ids"
    SYMBOL = "symbols"
    MIXED = "Ensembl ids and symbols"


@dataclass(frozen=True)
class GeneReport:
    """What the gene ids of a Dataset are."""

    n_genes: int
    kind: IdKind
    organism: str
    """As the ids tell: "human", "mouse", another Ensembl organism, or "unknown"."""
    n_ensembl: int
    n_versioned: int
    """Ensembl ids with a version, e.g. ``ENSG00000141510.18``."""
    clashes: tuple[str, ...]
    """Genes that are one gene once version and case are ignored, one example id each."""
    findings: tuple[str, ...]
    """What a user should know before models are run, one sentence each."""


def identify(data: Dataset) -> GeneReport:
    """What kind of gene ids the data have, of which organism, and what is odd about them."""
    ids = pd.Series(data.genes.tolist(), dtype=str)
    parts = ids.str.extract(ENSEMBL)
    is_ensembl = parts[0].notna()
    share = float(is_ensembl.mean()) if len(ids) else 0.0
    kind = IdKind.ENSEMBL if share > 0.95 else IdKind.SYMBOL if share < 0.05 else IdKind.MIXED
    others = (data.var[column].astype(str).reset_index(drop=True) for column in GENE_NAMES if column in data.var)
    organism = next((found for names in (ids, *others) if (found := _organism_of(names)) != "unknown"), "unknown")
    plain = pd.Series(strip_versions(ids)).str.upper()
    clashes = ids[plain.duplicated()]
    n_versioned = int(parts[2].notna().sum())
    findings = _findings(data, organism, n_versioned, clashes)
    return GeneReport(len(ids), kind, organism, int(is_ensembl.sum()), n_versioned, tuple(clashes), tuple(findings))


def resolve(data: Dataset, table: pd.DataFrame, *, to: Canonical = "ensembl_id") -> NDArray[np.str_]:
    """Canonical id of every gene of the data, '' where the table knows none. Shape (n_genes,).

    Parameters
    ----------
    table
        One row per gene: ``ensembl_id`` (unique), ``symbol`` and, if there are any, ``synonyms`` joined by ``|``.
    to
        "ensembl_id" or "symbol".

    Raises
    ------
    InputError
        If the table lacks a column, or is of another organism than the data.

    Notes
    -----
    The column ``ensembl_id`` of ``data.var`` is believed first, then the index, then the column ``symbol``.
    """
    book = GeneBook.of(table)
    _same_organism(data, book)
    found = np.full(data.n_genes, "")
    for ids in (data.var.get("ensembl_id"), data.var.index, data.var.get("symbol")):
        if ids is not None:
            found = np.where(found == "", book.ensembl_ids(ids), found)
    return book.symbols_of(found) if to == "symbol" else found


def map_genes(data: Dataset, table: pd.DataFrame, *, to: Canonical = "ensembl_id", keep_unmapped: bool = True) -> Dataset:
    """The same cells with one column per canonical gene id, columns of one gene summed.

    Genes that the table does not know keep their id (without version), or are left out with ``keep_unmapped=False``. What was done
    is told in ``notes``. Nothing is copied: the columns are summed chunk by chunk when the matrix is read.

    Raises
    ------
    InputError
        If the table lacks a column, or is of another organism than the data.
    NotApplicable
        If columns must be summed but the values are logged or scaled.
    """
    known = resolve(data, table, to=to)
    unmapped = known == ""
    target = np.where(unmapped, _own_ids(data, to) if keep_unmapped else "", known)
    n_unmapped = int(unmapped.sum())
    fate = "keep their id" if keep_unmapped else "were left out"
    notes = [f"{n_unmapped:,} of {data.n_genes:,} genes are not in the gene table and {fate}."] if n_unmapped else []
    mapped = sum_genes(data, target, notes=notes)
    by_id = checked(table).drop_duplicates(to).set_index(to, drop=False)[["ensembl_id", "symbol"]].rename_axis(None)
    var = by_id.reindex(mapped.var.index.rename(None))
    own = pd.Series(var.index, index=var.index)
    named = own if to == "symbol" else own.where(own.str.match(ENSEMBL))
    return replace(mapped, var=var.assign(**{to: var[to].fillna(named)}).fillna(""))


def to_human(data: Dataset, orthologues: pd.DataFrame) -> Dataset:
    """Mouse data with one column per human gene, under the human symbol.

    A mouse gene of several human genes goes to the one of the same name; without one it is left out as ambiguous. Several mouse
    genes of one human gene are summed.

    Parameters
    ----------
    orthologues
        Pairs in the columns ``human_symbol`` and ``mouse_symbol``, many to many.

    Raises
    ------
    InputError
        If the data have no mouse symbols (map Ensembl ids to symbols first), or none has an orthologue.
    NotApplicable
        If columns must be summed but the values are logged or scaled.
    """
    symbols = pd.Series(data.var["symbol"] if "symbol" in data.var else data.var.index).astype(str)
    if (symbols.str.match(ENSEMBL)).mean() > 0.5:
        raise InputError(f"'{data.name}' has Ensembl ids; map_genes(data, table_of_mouse_genes, to='symbol') first")
    human = symbols.str.upper().map(human_by_mouse(orthologues)).fillna("").to_numpy(str)
    n_found = int((human != "").sum())
    if not n_found:
        some = ", ".join(symbols[:3])
        raise InputError(f"no gene of '{data.name}' (e.g. {some}) has a human orthologue in the table; are they mouse symbols?")
    notes = [f"{n_found:,} of {data.n_genes:,} mouse genes were mapped to human orthologues; the others were left out."]
    mapped = sum_genes(data, human, notes=notes)
    return replace(mapped, organism="human", var=pd.DataFrame({"symbol": mapped.var.index}, index=mapped.var.index))


def sum_genes(data: Dataset, target: Sequence[str] | NDArray[np.str_], *, notes: Iterable[str] = ()) -> Dataset:
    """The same cells with a column for each id in ``target`` (n_genes,), in order of first appearance; '' leaves a gene out.

    Raises
    ------
    NotApplicable
        If two columns must be summed but the values are logged or scaled.
    """
    target = np.asarray(target, dtype=str)
    if np.array_equal(target, data.genes):
        return data
    codes, ids = pd.factorize(np.where(target == "", None, target.astype(object)))
    n_summed = int((codes >= 0).sum()) - len(ids)
    if n_summed and data.scale not in (Scale.COUNTS, Scale.NORMALISED):
        raise NotApplicable(f"'{data.name}' has {n_summed:,} columns of the same gene; {data.scale} values cannot be summed, give counts")
    told = [*notes, f"{n_summed:,} columns were summed into others of the same gene."] if n_summed else [*notes]
    columns = np.flatnonzero(codes >= 0)
    placed = sparse.csr_matrix((np.ones(len(columns), np.float32), (columns, codes[columns])), shape=(data.n_genes, len(ids)))
    var = pd.DataFrame(index=pd.Index(np.asarray(ids, dtype=str), name=data.var.index.name))
    return replace(data, matrix=SummedColumns(data.matrix, placed), var=var, notes=(*data.notes, *told))


@dataclass(frozen=True)
class Overlap:
    """How many genes of the data a vocabulary knows."""

    n_genes: int
    n_vocabulary: int
    n_found: int
    """Genes of the data that are in the vocabulary."""
    spelling: str
    """Which ids matched best: "index", "symbol" or "ensembl_id"."""
    unknown: tuple[str, ...]
    """Examples of genes of the data that are not in the vocabulary."""
    n_ignoring_case: int
    """As ``n_found``, with case ignored: much higher means another organism or another spelling."""

    @property
    def share(self) -> float:
        """Share of the data's genes that are in the vocabulary, 0 to 1, higher is better."""
        return self.n_found / max(self.n_genes, 1)

    @property
    def coverage(self) -> float:
        """Share of the vocabulary that the data have, 0 to 1, higher is better."""
        return self.n_found / max(self.n_vocabulary, 1)


def overlap(data: Dataset, vocabulary: Iterable[str], *, prefer: str = "index", examples: int = 5) -> Overlap:
    """How many genes of the data a vocabulary knows, under the ids (index, symbols or Ensembl ids) that match best.

    Parameters
    ----------
    prefer
        "index", "symbol" or "ensembl_id": taken where it finds at least half as many genes as the best.
    """
    words = {str(w) for w in vocabulary}
    folded = {w.upper() for w in words}
    spellings = {"index": data.var.index, **{c: data.var[c] for c in ("symbol", "ensembl_id") if c in data.var}}
    stripped = {name: pd.Series(strip_versions(ids)) for name, ids in spellings.items()}
    counted = {name: ids[ids.isin(words)].nunique() for name, ids in stripped.items()}
    best = max(counted, key=lambda name: counted[name])
    best = prefer if 2 * counted.get(prefer, 0) >= counted[best] else best
    ids = stripped[best]
    found = ids[ids.isin(words)].nunique()
    unknown = ids[~ids.isin(words) & (ids != "")].head(examples)
    return Overlap(data.n_genes, len(words), found, best, tuple(unknown), ids.str.upper()[ids.str.upper().isin(folded)].nunique())


class SummedColumns:
    """A matrix whose columns are sums of another's: (n_cells, n_in) times a 0/1 matrix ``placed`` (n_in, n_out), chunk by chunk."""

    def __init__(self, matrix: Matrix, placed: sparse.csr_matrix) -> None:
        self._matrix = matrix
        self._placed = placed

    @property
    def shape(self) -> tuple[int, int]:
        return self._matrix.shape[0], self._placed.shape[1]

    @cached_property
    def nnz(self) -> int:
        return sum(chunk.values.nnz for chunk in self.chunks())

    @cached_property
    def digest(self) -> str:
        return digest_of_matrix(self)

    def chunks(self, n_rows: int | None = None) -> Iterator[Chunk]:
        for start, stop, values in self._matrix.chunks(n_rows):
            summed = values @ self._placed
            summed.sort_indices()
            yield Chunk(start, stop, summed)

    def take_rows(self, rows: NDArray[np.integer]) -> SummedColumns:
        return SummedColumns(self._matrix.take_rows(rows), self._placed)

    def take_columns(self, columns: NDArray[np.integer]) -> SummedColumns:
        return SummedColumns(self._matrix, self._placed[:, columns])

    def to_csr(self) -> sparse.csr_matrix:
        return sparse.vstack([chunk.values for chunk in self.chunks()], format="csr")


def _own_ids(data: Dataset, to: Canonical) -> NDArray[np.str_]:
    """What the data themselves call each gene, in the wanted kind of id where they have it. Shape (n_genes,)."""
    index = strip_versions(data.var.index)
    return np.where(data.var[to] == "", index, strip_versions(data.var[to])) if to in data.var else index


def _same_organism(data: Dataset, book: GeneBook) -> None:
    of_data = data.organism if data.organism != "unknown" else identify(data).organism
    if "unknown" not in (of_data, book.organism) and of_data != book.organism:
        how = f"take the {of_data} table, go through orthologues (to_human), or declare organism='{book.organism}' if the data are that"
        raise InputError(f"'{data.name}' has {of_data} genes, the gene table is {book.organism}; {how}")


def _organism_of(names: pd.Series) -> str:
    is_ensembl = names.str.match(ENSEMBL)
    return organism_of(names) if is_ensembl.mean() > 0.5 else _organism_of_symbols(names[~is_ensembl])


def _organism_of_symbols(symbols: pd.Series) -> str:
    """By names that one organism alone has; failing that by case, as mouse symbols are capitalised and human ones in upper case."""
    human, mouse = int(symbols.str.match(HUMAN_ONLY).sum()), int(symbols.str.match(MOUSE_ONLY).sum())
    if max(human, mouse) >= FEW:
        return "human" if human > mouse else "mouse"
    words = symbols[symbols.str.match(r"^[A-Za-z]{3}")]
    if words.str.replace(r"\d+$", "", regex=True).nunique() < FEW:  # gene1, gene2, ...: names that say nothing
        return "unknown"
    upper = float((words == words.str.upper()).mean())
    capitalised = float(words.str.match(r"^[A-Z][a-z]").mean())
    return "human" if upper > 0.9 else "mouse" if capitalised > 0.5 else "unknown"


def _findings(data: Dataset, organism: str, n_versioned: int, clashes: pd.Series) -> list[str]:
    findings = []
    if n_versioned:
        findings.append(f"{n_versioned:,} Ensembl ids carry a version (e.g. ENSG00000141510.18); it is ignored in matching")
    if len(clashes):
        some = ", ".join(clashes[:3])
        findings.append(f"{len(clashes):,} genes are the same as another once version and case are ignored (e.g. {some})")
    if "unknown" not in (organism, data.organism) and organism != data.organism:
        findings.append(f"the gene ids look like {organism}, but the data are declared as {data.organism}")
    if organism == "mouse" and (pd.Series(data.genes).str.upper() == data.genes).mean() > 0.9:
        findings.append("these are mouse symbols in upper case; that is not the same as human orthologues")
    return findings
