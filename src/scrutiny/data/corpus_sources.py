"""The files of a corpus before their cells are read: which they are, their genes, and what they say of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix

from .cell_hashes import gene_keys
from .corpus_config import LABEL, ONTOLOGY, CorpusConfig, CorpusFile
from .corpus_duplicates import GeneLists
from .corpus_genes import GeneRows, Names, names_for
from .formats import offer_of
from .genes import identify
from .names import name_genes
from .offer import choose
from .read import read
from .scale import check_declared, survey

TOLD = ("source", "citation", "licence")
"""Facts of a file that the manifest passes on."""


@dataclass(frozen=True, eq=False)
class Source:
    """One file of cells.

    Attributes
    ----------
    names
        Its genes as genes of the corpus's organism.
    sha256
        Of its content; of a Zarr folder, of all files in it.
    about
        Organism, and what the file says of its origin and licence.
    """

    file: CorpusFile
    names: Names
    n_cells: int
    sha256: str
    n_bytes: int
    about: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.file.name

    def open(self) -> Dataset:
        """Its cells: values of up to about 1 GB come into memory, larger ones stay on disk. Raises InputError if they are no counts."""
        file = self.file
        layer, organism = file.layer or None, self.about["organism"]
        data = read(file.path, layer=layer, scale=Scale.COUNTS, organism=organism, name=file.name, obsm=(), duplicates="rename")
        if data.n_cells != self.n_cells:
            raise InputError(f"{file.path} changed while the corpus was built; run the same command again")
        return data

    def column(self, data: Dataset, named: str, usual: str = "") -> NDArray[np.str_]:
        """Values (n_cells,) of the column that was named, which must be there, or else of the usual one; '' where there is none."""
        if named and named not in data.obs:
            raise InputError(f"{self.file.path} has no column '{named}'; it has {list(data.obs.columns)[:20]}")
        column = named or usual
        if column not in data.obs:
            return np.full(data.n_cells, "")
        values = data.obs[column]
        return values.astype(object).where(values.notna(), "").astype(str).to_numpy(str)

    def studies(self, data: Dataset) -> NDArray[np.str_]:
        """Study (n_cells,) of each cell."""
        return self.column(data, self.file.studies) if self.file.studies else np.full(data.n_cells, self.name)

    def labels(self, data: Dataset) -> NDArray[np.str_]:
        return self.column(data, self.file.label, LABEL)

    def ontology(self, data: Dataset) -> NDArray[np.str_]:
        return self.column(data, self.file.ontology, ONTOLOGY)


def source_of(file: CorpusFile, config: CorpusConfig) -> Source:
    """Look at a file without reading its cells. Raises InputError if it does not hold counts, as far as a sample shows, of known genes."""
    offer = offer_of(file.path)
    chosen = choose(offer, layer=file.layer or None, scale=Scale.COUNTS).name
    candidate = offer.candidates[chosen]
    check_declared(Scale.COUNTS, survey(candidate.sample()), offer.where(chosen))
    var = name_genes(candidate.var).table
    empty = Dataset(file.name, CsrMatrix(sparse.csr_matrix((0, len(var)))), offer.obs.iloc[:0], var)
    organism = file.organism or offer.organism or identify(empty).organism
    empty = Dataset(file.name, empty.matrix, empty.obs, var, organism=organism)
    about = {"organism": organism, **{name: offer.facts[name] for name in TOLD if name in offer.facts}}
    return Source(file, names_for(config, empty), len(offer.obs), sha256_of(file.path), size_of(file.path), about)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the names and digests of the files in it."""
    if path.is_dir():
        listed = [f"{p.relative_to(path).as_posix()}:{sha256_of(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
        return hashlib.sha256("\n".join(listed).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


@dataclass(frozen=True, eq=False)
class Union:
    """The genes of all files together.

    Attributes
    ----------
    genes
        One row for each.
    columns
        Name of a file -> row of each of its genes (n_genes,), -1 for one without a name.
    list_of
        Name of a file -> which of the distinct lists of genes it has.
    """

    genes: GeneRows
    columns: Mapping[str, NDArray[np.int64]]
    list_of: Mapping[str, int]
    lists: GeneLists

    @classmethod
    def of(cls, sources: list[Source]) -> Union:
        """Of files in this order; the first to name a gene names it for all."""
        genes = GeneRows()
        columns = {source.name: genes.add(source.names) for source in sources}
        listed = np.zeros((len(sources), len(genes)), dtype=bool)
        for mask, rows in zip(listed, columns.values(), strict=True):
            mask[rows[rows >= 0]] = True
        distinct, which = np.unique(listed, axis=0, return_inverse=True)
        keys = gene_keys(genes.table().index)
        return cls(genes, columns, dict(zip(columns, which.ravel().tolist(), strict=True)), GeneLists(distinct, keys))
