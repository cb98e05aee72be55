"""Public data sets by name: where they lie, how their labels were made, and which published models saw them in pretraining."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache as remembered
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError

from .assemble import ASSEMBLERS
from .census import Query, fetch_census
from .download import Remote, cache_folder, check, download, extract, write_whole
from .read import read

Answer = Literal["seen", "not listed", "unknown"]


@dataclass(frozen=True)
class Exposure:
    """Whether a model saw the data in pretraining, and who says so; where cells were compared, how many of them it saw."""

    answer: Answer
    source: str = ""
    n_seen: int | None = None
    n_cells: int | None = None


UNKNOWN = Exposure("unknown", "No list of that model's pretraining data was read.")


@dataclass(frozen=True)
class Entry:
    """A public data set."""

    name: str
    title: str
    page: str
    citation: str
    licence: str
    organism: str
    roles: Mapping[str, str]
    label_origin: str
    """genotype, sorted, clustered, transferred, expert or unknown."""
    labels: str
    """How the labels were made, in a sentence."""
    files: tuple[Remote, ...] = ()
    query: Query | None = None
    """For cells drawn from the CELLxGENE Census in place of files."""
    assemble: str = ""
    """What puts several files together, a name in `ASSEMBLERS`."""
    layer: str | None = None
    """Where the counts are; None: found out."""
    scale: str | None = None
    """What the values are; None: told from the values."""
    merge_batches: Mapping[str, str] = field(default_factory=dict)
    """Batches that count as one: name in the file -> name here."""
    cells: int | None = None
    types: int | None = None
    batches: int | None = None
    """As published; None where nothing was printed."""
    notes: tuple[str, ...] = ()
    """What a reader of a report on these data must know, one sentence each."""
    pretraining: Mapping[str, Exposure] = field(default_factory=dict)

    def exposure(self, model: str) -> Exposure:
        """Whether that model saw these data in pretraining: "seen", "not listed" or "unknown"."""
        return self.pretraining.get(model, UNKNOWN)

    @property
    def is_made(self) -> bool:
        """Whether the file is made here from what is downloaded."""
        return bool(self.assemble) or any(remote.member for remote in self.files)

    @property
    def file_name(self) -> str:
        """Name of the one file that `fetch` gives."""
        if self.query:
            return self.query.file_name
        return f"{self.name}.h5ad" if self.assemble else self.files[0].member or self.files[0].name


@remembered
def catalog() -> Mapping[str, Entry]:
    """Every data set that is known by name."""
    text = package_files("scrutiny.data").joinpath("catalog.toml").read_text("utf-8")
    return {name: parse_entry(name, table) for name, table in tomllib.loads(text).items()}


def entry(name: str) -> Entry:
    """The data set of that name. Raises InputError with near matches if there is none."""
    known = catalog()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, cutoff=0.4)
        raise InputError(f"no data set is called '{name}'; {f'did you mean {near}?' if near else f'there is {sorted(known)}'}")
    return known[name]


def fetch(what: str | Entry, *, folder: Path | None = None, cache: Path | None = None, progress: bool = True) -> Path:
    """The file of a data set: downloaded, or found in a folder of files that were downloaded by hand.

    Parameters
    ----------
    folder
        Where the files lie already; nothing is downloaded then.
    cache
        Where downloads are kept; by default the user's cache.

    Raises
    ------
    InputError
        If there is no such data set, the server cannot be reached, a checksum differs, or the folder lacks a file.
    MissingDependency
        If a package is needed to get the data and is not installed.
    """
    wanted = what if isinstance(what, Entry) else entry(what)
    cache = cache or cache_folder()
    if folder is not None:
        return _from_folder(wanted, folder, cache)
    if wanted.query:
        return fetch_census(wanted.query, cache=cache)
    made = cache / wanted.name / wanted.file_name
    if made.exists() and wanted.is_made:
        return made
    return _whole(wanted, {remote.name: download(remote, made.parent, progress=progress) for remote in wanted.files}, made)


def load(what: str | Entry, *, folder: Path | None = None, cache: Path | None = None, progress: bool = True) -> Dataset:
    """A data set of the catalogue with its roles and the facts that a report needs. Options and errors as for `fetch`."""
    wanted = what if isinstance(what, Entry) else entry(what)
    path = fetch(wanted, folder=folder, cache=cache, progress=progress)
    data = read(path, roles=wanted.roles, layer=wanted.layer, scale=wanted.scale, organism=wanted.organism, name=wanted.name)
    if wanted.merge_batches:
        merged = [wanted.merge_batches.get(batch, batch) for batch in data.role("batch")]
        data = replace(data, obs=data.obs.assign(merged_batch=merged)).with_roles(batch="merged_batch")
    facts = {name: getattr(wanted, name) for name in ("label_origin", "labels", "citation", "licence")}
    facts |= {"source": wanted.page, "catalog": wanted.name}
    count = () if wanted.cells in (None, data.n_cells) else (f"{wanted.cells:,} cells were published, the file holds {data.n_cells:,}.",)
    return replace(data, facts={**data.facts, **facts}, notes=(*data.notes, *wanted.notes, *count))


def parse_entry(name: str, table: Mapping[str, Any]) -> Entry:
    """An `Entry` from a table of the catalogue. Raises InputError if a key is unknown or missing, or an answer is none of the three."""
    unknown = set(table) - {f.name for f in fields(Entry)}
    if unknown:
        raise InputError(f"the entry '{name}' has unknown keys {sorted(unknown)}")
    nested = {
        "files": tuple(Remote(**remote) for remote in table.get("files", ())),
        "query": Query(**table["query"], organism=table["organism"]) if "query" in table else None,
        "notes": tuple(table.get("notes", ())),
        "pretraining": {model: Exposure(**exposure) for model, exposure in table.get("pretraining", {}).items()},
    }
    wrong = {e.answer for e in nested["pretraining"].values()} - set(get_args(Answer))
    if wrong:
        raise InputError(f"the entry '{name}' answers {sorted(wrong)}; the answers are {get_args(Answer)}")
    try:
        return Entry(name=name, **{**table, **nested})
    except TypeError as error:
        raise InputError(f"the entry '{name}' is not complete: {error}") from error


def _from_folder(wanted: Entry, folder: Path, cache: Path) -> Path:
    ready = folder / wanted.file_name
    published = {remote.name: remote for remote in wanted.files}
    if ready.exists():
        return check(published[ready.name], ready) if ready.name in published else ready
    missing = [remote for remote in wanted.files if not (folder / remote.name).exists()]
    if missing or wanted.query:
        needed = "; ".join(f"{remote.name} from {remote.url}" for remote in missing)
        raise InputError(f"{folder} holds no {wanted.file_name}{f', and for making it lacks {needed}' if needed else ''}")
    parts = {name: check(remote, folder / name) for name, remote in published.items()}
    return _whole(wanted, parts, cache / wanted.name / wanted.file_name)


def _whole(wanted: Entry, parts: Mapping[str, Path], made: Path) -> Path:
    """The one file that the parts (name -> path) are or make; ``made`` is where it goes if it must be made."""
    if not wanted.is_made:
        return parts[wanted.file_name]
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_name(f".{made.name}.lock")):
        if made.exists():
            return made
        if wanted.assemble:
            return write_whole(made, ASSEMBLERS[wanted.assemble](parts).write_h5ad)
        return extract(parts[wanted.files[0].name], wanted.files[0].member, made)
