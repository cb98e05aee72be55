"""Reading the Cell Ontology: the official OBO file, a folder of two tables, or a table of direct parents."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.core.ontology import Ontology, closure

CHILD, PARENT = "child", "parent"
PARENTS_TABLE, TERMS_TABLE = "cl_parents.tsv", "cl_terms.tsv"
"""Names of the tables in a folder; gzipped ones end in ``.gz``."""
PREFIX = "CL:"
"""Of the terms that are kept; the official file names those of other ontologies too."""
LARGEST = 200 * 2**20
"""Bytes of a file, unpacked; the full ontology has about 30 million."""
MOST_TERMS = 100_000


class Term(NamedTuple):
    """What a source says of one term."""

    name: str = ""
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    is_obsolete: bool = False
    replaced_by: str = ""
    former_ids: tuple[str, ...] = ()
    """Of terms that were merged into it."""


def read_ontology(path: str | Path) -> Ontology:
    """The ontology of an OBO file, a folder of the tables ``cl_parents.tsv`` and ``cl_terms.tsv``, or a table of direct parents.

    All may be gzipped. A table of parents is tab-separated with the columns ``child`` and ``parent``; of the table of terms ``id`` and
    ``label`` are needed, and ``synonyms`` (with | between them), ``deprecated`` and ``replaced_by`` are used where they are there.
    Of an OBO file the terms of the Cell Ontology, their ``is_a`` and their exact synonyms are taken.

    Raises
    ------
    InputError
        If the file cannot be read as such, is too large, names a parent that it does not have, or makes a term an ancestor of itself.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if re.search(r"\.obo(\.gz)?$", path.name):
        return _from_obo(path)
    return ontology_of(*_pairs(path), str(path))


def ontology_of(children: NDArray[np.str_], parents: NDArray[np.str_], source: str) -> Ontology:
    """The ontology of pairs (n,) of terms; ``source`` is named in errors, see `read_ontology`."""
    terms = np.unique(np.concatenate([children, parents]))
    return Ontology(terms, _direct(terms, children, parents, source), np.full(len(terms), ""))


def _direct(terms: NDArray[np.str_], children: NDArray[np.str_], parents: NDArray[np.str_], source: str) -> sparse.csr_matrix:
    """Parents (n_terms, n_terms) of sorted terms from pairs (n,). Raises InputError for circles and for too many terms."""
    if len(terms) > MOST_TERMS:
        raise InputError(f"{source} has {len(terms):,} terms; expected at most {MOST_TERMS:,}")
    places = np.searchsorted(terms, children), np.searchsorted(terms, parents)
    direct = sparse.csr_matrix((np.ones(len(children), bool), places), shape=(len(terms), len(terms)))
    direct.sum_duplicates()
    direct = direct.astype(bool)
    if own := terms[closure(direct).diagonal()].tolist():
        raise InputError(f"{source} makes {own[0]} an ancestor of itself ({len(own)} such terms); expected no circles")
    return direct


def _of_terms(found: Mapping[str, Term], version: str, source: str) -> Ontology:
    """The ontology of what a source says term by term."""
    live = {term: said for term, said in found.items() if not said.is_obsolete}
    if not live:
        raise InputError(f"{source} has no terms as {PREFIX}0000000; is it the Cell Ontology?")
    pairs = [(term, parent) for term, said in live.items() for parent in said.parents]
    if lost := sorted({parent for _, parent in pairs} - live.keys()):
        raise InputError(f"{source} makes terms kinds of {', '.join(lost[:5])} ({len(lost)} such), which it has not or calls obsolete")
    terms = np.array(sorted(live))
    children, parents = (np.array([pair[i] for pair in pairs], dtype=terms.dtype) for i in (0, 1))
    return Ontology(
        terms,
        _direct(terms, children, parents, source),
        np.array([live[term].name for term in terms]),
        version=version,
        synonyms={term: said.synonyms for term, said in live.items() if said.synonyms},
        replaced_by={
            **{former: term for term, said in live.items() for former in said.former_ids if former not in live},
            **{term: said.replaced_by for term, said in found.items() if said.is_obsolete and said.replaced_by in live},
        },
    )


# Tables --------------------------------------------------------------------------------------------------------------------------


def _from_folder(folder: Path) -> Ontology:
    parents, terms = (_in(folder, name) for name in (PARENTS_TABLE, TERMS_TABLE))
    children, above = _pairs(parents)
    table = read_table(terms, ("id", "label"))
    of = {column: table[column].tolist() if column in table else [""] * len(table) for column in ("synonyms", "deprecated", "replaced_by")}
    direct: dict[str, list[str]] = {}
    for child, parent in zip(children.tolist(), above.tolist(), strict=True):
        direct.setdefault(child, []).append(parent)
    found = {
        term: Term(name, tuple(direct.pop(term, ())), _split(synonyms), deprecated.lower() == "true", replaced_by)
        for term, name, synonyms, deprecated, replaced_by in zip(table["id"], table["label"], *of.values(), strict=True)
    }
    if direct:
        raise InputError(f"{parents} has parents of {sorted(direct)[0]} ({len(direct)} such), which {terms} does not have")
    return _of_terms(found, "", str(folder))


def _in(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise InputError(f"{folder} has no {name} or {name}.gz; expected a folder with {PARENTS_TABLE} and {TERMS_TABLE}, or an OBO file")


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


def _pairs(path: Path) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    table = read_table(path, (CHILD, PARENT))
    return table[CHILD].to_numpy(str), table[PARENT].to_numpy(str)


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """A tab-separated table of texts that has these columns. Raises InputError if it is none, has no rows, or is too large."""
    import io

    try:
        table = pd.read_csv(io.BytesIO(_bytes_of(path)), sep="\t", dtype=str, keep_default_na=False)
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is no tab-separated table: {error}") from error
    if not set(columns) <= set(table.columns) or table.empty:
        wanted = " and ".join(f"'{column}'" for column in columns)
        raise InputError(f"{path} has {len(table)} rows of {list(table.columns)[:5]}; expected a table of {wanted}")
    return table


def _bytes_of(path: Path) -> bytes:
    """The whole file, unpacked. Raises InputError if it cannot be read, is cut, or is larger than any ontology."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is no tab-separated table and no OBO file: it is cut or damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    if len(content) > LARGEST:
        raise InputError(f"{path} unpacks to more than {LARGEST / 2**20:.0f} MB; expected an ontology")
    return content


# OBO -----------------------------------------------------------------------------------------------------------------------------


def _from_obo(path: Path) -> Ontology:
    import io

    import obonet

    try:
        text = "\n".join(" ".join(line.split()) for line in _bytes_of(path).decode().split("\n"))  # obonet is slow on long runs of blanks
        if "\nontology:" not in "\n" + text.partition("[Term]")[0]:
            raise ValueError("its header names no ontology")
        graph = obonet.read_obo(io.StringIO(text), ignore_obsolete=False)
    except (UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no OBO file: {error}") from error
    found = {term: _of_obo(graph, term, said) for term, said in graph.nodes(data=True) if str(term).startswith(PREFIX) and "name" in said}
    return _of_terms(found, version_of(str(graph.graph.get("data-version", ""))), str(path))


def _of_obo(graph: object, term: str, said: Mapping[str, object]) -> Term:
    above = graph.out_edges(term, keys=True)  # type: ignore[attr-defined]
    replaced = said.get("replaced_by") or [""]
    return Term(
        name=str(said["name"]),
        parents=tuple(sorted(parent for _, parent, kind in above if kind == "is_a" and parent.startswith(PREFIX))),
        synonyms=tuple(name for text in said.get("synonym", ()) if (name := exact_synonym(str(text)))),  # type: ignore[attr-defined]
        is_obsolete=said.get("is_obsolete") == "true",
        replaced_by=str(replaced[0]),  # type: ignore[index]
        former_ids=tuple(said.get("alt_id", ())),  # type: ignore[arg-type]
    )


def exact_synonym(text: str) -> str:
    r"""The name in the value of an OBO ``synonym`` such as ``"T-cell" EXACT []``; '' where it is not exact."""
    found = re.match(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b', text)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def version_of(data_version: str) -> str:
    """The date of ``cl/releases/2026-03-26/cl-basic.owl``; other texts as they are."""
    found = re.search(r"\d{4}-\d{2}-\d{2}", data_version)
    return found[0] if found else data_version
