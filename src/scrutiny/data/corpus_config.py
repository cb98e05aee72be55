"""What a corpus is made of: the table ``[corpus]`` of a TOML file. ::

[corpus]
files = ["blood/*.h5ad", { path = "pancreas.h5ad", name = "baron", studies = "donor" }]
hold_out = ["kang*"]                       # files or studies by name, with all cells equal to theirs
hold_out_cells_of = ["test/zheng.h5ad"]    # no file of the corpus, and no cell of the corpus is in it
genes = 8000
"""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scrutiny.core.errors import InputError
from scrutiny.core.options import made

from .read import SUFFIXES

LABEL, ONTOLOGY = "cell_type", "cell_type_ontology_term_id"
"""Columns that are taken where a file has them and none is named; so they are called in the CELLxGENE schema."""


@dataclass(frozen=True)
class CorpusFile:
    """One file of cells; '' in place of a column or layer: find out.

    Attributes
    ----------
    name
        Unique in the corpus; for a data set of the catalogue its name there. By default that of the file.
    label, ontology
        Columns of the cell type and of its Cell Ontology id.
    studies
        Column of the study of each cell; by default the file is one study and lends it its name.
    """

    path: Path
    name: str = ""
    organism: str = ""
    layer: str = ""
    label: str = ""
    ontology: str = ""
    studies: str = ""


@dataclass(frozen=True)
class CorpusConfig:
    """What a corpus is made of.

    Attributes
    ----------
    files
        In the order in which they are read: of equal cells the first stays.
    organism
        Whose genes the corpus has. Mouse cells need ``orthologues``, unless their file names human genes.
    gene_tables, orthologues
        By which gene names are brought together, as in `GeneTables`; without them the files' own Ensembl ids and symbols count.
    min_genes, min_counts, max_mito
        A cell must express as many genes, hold as many counts and have no greater share of mitochondrial counts.
    genes
        How many genes are taken at most, or a file that lists their Ensembl ids or symbols, a line each.
    min_cells
        A gene must be expressed by as many cells.
    measured_in
        Share of the cells whose files must list a gene.
    hold_out
        Names or globs of files or studies that are left out, with all cells equal to theirs.
    hold_out_cells_of
        Files beside the corpus whose cells, and all equal to them, are left out.
    validation
        Share of the cells that are kept for validation.
    shard_cells
        Cells in a shard, about.
    """

    files: tuple[CorpusFile, ...]
    organism: str = "human"
    gene_tables: str = ""
    orthologues: str = ""
    min_genes: int = 200
    min_counts: int = 500
    max_mito: float = 0.2
    genes: int | Path = 20_000
    min_cells: int = 10
    measured_in: float = 0.9
    hold_out: tuple[str, ...] = ()
    hold_out_cells_of: tuple[CorpusFile, ...] = ()
    validation: float = 0.05
    shard_cells: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("max_mito", 0.0, 1.0), ("measured_in", 0.0, 1.0), ("validation", 0.0, 0.5)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a share from {low:g} to {high:g}")
        for name, least in (("min_genes", 1), ("min_counts", 0), ("min_cells", 1), ("shard_cells", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a whole number of at least {least}")
        if isinstance(self.genes, int) and self.genes < 1:
            raise InputError(f"genes is {self.genes!r}; expected a whole number of at least 1, or the path of a list")
        names = [file.name for file in (*self.files, *self.hold_out_cells_of)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"two files are called '{twice}'; give one of them another name: {{ path = ..., name = ... }}")

    @classmethod
    def from_fields(cls, table: Mapping[str, Any], folder: Path, source: str) -> CorpusConfig:
        """The config that a table holds.

        Parameters
        ----------
        folder
            Where relative paths begin.
        source
            What is named in errors: the file that the table stands in.

        Raises
        ------
        InputError
            If a key is not known, a value is of another kind than expected, or a file is not there.
        """
        owner = f"{source}: [corpus]"
        parsed = dict(table)
        for key in ("files", "hold_out_cells_of"):
            if key in parsed:
                parsed[key] = _files(parsed[key], folder, f"{owner} {key}")
        if "hold_out" in parsed:
            parsed["hold_out"] = _texts(parsed["hold_out"], f"{owner} hold_out")
        if "genes" in parsed:
            parsed["genes"] = _genes(parsed["genes"], folder, f"{owner} genes")
        for key in ("organism", "gene_tables", "orthologues"):
            if not isinstance(parsed.get(key, ""), str):
                raise InputError(f"{owner} {key} is {parsed[key]!r}; expected text")
        for key in ("gene_tables", "orthologues"):
            if key in parsed:
                parsed[key] = ",".join(_beside(part, folder) for part in parsed[key].split(",") if part)
        return made(cls, options=parsed, owner=owner)


def read_corpus_config(path: str | Path, folder: Path | None = None) -> CorpusConfig:
    """The table ``[corpus]`` of a TOML file, whose paths begin in ``folder``, by default that of the file.

    Raises
    ------
    InputError
        If the file cannot be read or has no such table, and as `CorpusConfig.from_fields`.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error
    table = content.get("corpus")
    if not isinstance(table, dict):
        raise InputError(f"{path} has no table [corpus]; it has {sorted(content) or 'nothing'}")
    return CorpusConfig.from_fields(table, folder or path.parent, str(path))


def _files(entries: Any, folder: Path, where: str) -> tuple[CorpusFile, ...]:
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where} is {entries!r}; expected a list of paths, globs or tables with a path")
    return tuple(file for entry in entries for file in _matching(entry, folder, where))


def _matching(entry: Any, folder: Path, where: str) -> list[CorpusFile]:
    """The files that an entry of a list means, in order of their paths."""
    table = {"path": entry} if isinstance(entry, str) else entry
    if not isinstance(table, Mapping) or not all(isinstance(value, str) and value for value in table.values()):
        raise InputError(f"{where} has {entry!r}; expected a path, a glob or a table of texts with a path")
    given = made(CorpusFile, options=table, owner=where)
    pattern = Path(given.path).expanduser()
    found = sorted(glob.glob(str(folder / pattern)))
    if not found:
        raise InputError(f"{where}: there is no file {folder / pattern}")
    if len(found) > 1 and given.name:
        raise InputError(f"{where}: '{given.path}' is {len(found)} files, which cannot all be called '{given.name}'")
    own = {field.name: getattr(given, field.name) for field in fields(CorpusFile)}
    return [CorpusFile(**{**own, "path": Path(path), "name": given.name or SUFFIXES.sub("", Path(path).name)}) for path in found]


def _texts(entries: Any, where: str) -> tuple[str, ...]:
    entries = [entries] if isinstance(entries, str) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
        raise InputError(f"{where} is {entries!r}; expected names or globs of files or studies")
    return tuple(entries)


def _genes(value: Any, folder: Path, where: str) -> int | Path:
    if isinstance(value, str) and value:
        path = folder / Path(value).expanduser()
        if not path.is_file():
            raise InputError(f"{where}: there is no file {path}; expected a list of genes, a line each, or how many to take")
        return path
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where} is {value!r}; expected a whole number, or the path of a list")
    return value


def _beside(source: str, folder: Path) -> str:
    """A named file from the folder of the config; the name of an official table as it is."""
    path = folder / Path(source).expanduser()
    return str(path) if path.is_file() else source
