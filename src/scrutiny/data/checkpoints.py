"""Published weights by name: where they come from, and where they lie on this machine once `fetching` has brought them.

A fetched checkpoint is one folder in the official layout with a manifest, ``scrutiny-manifest.json``, that is written last: a folder
without it, or with a file that is not as the manifest says, is not taken for complete.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as remembered
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from scrutiny.core.errors import InputError, NotApplicable

MANIFEST = "scrutiny-manifest.json"
RECORD = "scrutiny.json"
"""In a folder that is not a published model: how scrutiny drafted it and, under ``trained``, how it trained it."""


@dataclass(frozen=True)
class File:
    """A file of a checkpoint, and one way to get it: from a repository of the Hugging Face hub, from a URL, or by hand."""

    name: str
    """Path in the folder of the checkpoint."""
    repo: str = ""
    path: str = ""
    """Path in the repository; ``name`` if empty."""
    revision: str = "main"
    url: str = ""
    member: str = ""
    """The end of the path of the file within, where the URL is a tar archive."""
    by_hand: str = ""
    """Where a person finds it."""
    sha256: str = ""
    """As published; '' where nobody published it, then the first download binds."""
    size: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One published set of weights."""

    name: str
    family: str
    about: str
    parameters: str
    files: tuple[File, ...]
    source: str
    """Where its links, names and checksums were read."""
    unverified: str = ""
    """What of that rests on others than the authors."""

    @property
    def by_hand(self) -> tuple[File, ...]:
        """Files that a person has to download."""
        return tuple(file for file in self.files if file.by_hand)

    @property
    def size(self) -> int | None:
        """Bytes of all files, None if one is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


# Which there are ---------------------------------------------------------------------------------------------------------------


@remembered
def checkpoints() -> Mapping[str, Checkpoint]:
    """Every published checkpoint that is known by name."""
    return parse(tomllib.loads(package_files("scrutiny.data").joinpath("checkpoints.toml").read_text("utf-8")))


@remembered
def default_checkpoints() -> Mapping[str, str]:
    """Family -> name of the checkpoint that its authors recommend, or use where none is named."""
    return tomllib.loads(package_files("scrutiny.data").joinpath("checkpoints.toml").read_text("utf-8"))["defaults"]


def parse(table: Mapping[str, Any]) -> dict[str, Checkpoint]:
    """Checkpoints from the tables ``checkpoints`` and ``shared``: lists of files that several checkpoints have."""
    found = {}
    for name, entry in table["checkpoints"].items():
        own = {key: value for key, value in entry.items() if key != "shared"}
        listed = [*entry["files"], *(file for part in entry.get("shared", ()) for file in table["shared"][part])]
        found[name] = Checkpoint(name=name, **{**own, "files": tuple(File(**file) for file in listed)})
    return found


def checkpoint(name: str) -> Checkpoint:
    """The checkpoint of that name, in any case; for the name of a family its default.

    Raises
    ------
    InputError
        If there is none; near matches are named.
    """
    known = checkpoints().get(default_checkpoints().get(name.lower(), name.lower()))
    if known is None:
        raise InputError(f"no checkpoint is called '{name}'; {near(name)}")
    return known


def family_and_checkpoint(name: str) -> tuple[str, str] | None:
    """What a name means, in any case: of a family it and '', of a checkpoint its family and it; None for other names."""
    name = name.lower()
    if name in default_checkpoints():
        return name, ""
    return (checkpoints()[name].family, name) if name in checkpoints() else None


def near(name: str) -> str:
    """What a person may have meant, of families and checkpoints alone."""
    found = difflib.get_close_matches(name.lower(), [*checkpoints(), *default_checkpoints()], cutoff=0.6)
    return f"did you mean {found}?" if found else "see `scrutiny models list`"


# Where they lie ----------------------------------------------------------------------------------------------------------------


def models_folder() -> Path:
    """Where checkpoints are kept unless a folder is named: the user's cache, under ``scrutiny/models``."""
    return platformdirs.user_cache_path("scrutiny") / "models"


def folder_of(name: str) -> Path:
    """Where a checkpoint lies, or will lie once it is fetched."""
    return models_folder() / name


def is_whole(folder: Path) -> bool:
    """Whether everything that the manifest of a folder lists is there in its size; contents are not read."""
    listed = manifest(folder)
    return bool(listed) and all(_size(folder / name) == about["size"] for name, about in listed.items())


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File -> its size and SHA-256, as they were when the checkpoint was fetched; empty without a manifest."""
    try:
        listed = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return {name: {"size": int(about["size"]), "sha256": str(about["sha256"])} for name, about in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or not one of ours
        return {}


def record(folder: Path) -> dict[str, Any]:
    """What the `RECORD` of a folder says; empty where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Origin(NamedTuple):
    """Where the weights in a folder come from, in words, and whether they are sure to be the published ones."""

    text: str
    published: bool
    checkpoint: str
    """Name of the checkpoint that was fetched; '' where it is another one, or not any more that."""


def origin(folder: Path, digests: Mapping[str, str]) -> Origin:
    """What the manifest of a folder, or the `RECORD` of one of ours, says of where its files come from; without one nobody knows.

    Parameters
    ----------
    digests
        File -> SHA-256 of those that were read; all of them must be as they were fetched.
    """
    try:
        name = str(json.loads((folder / MANIFEST).read_text("utf-8"))["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError):
        name = ""
    if name not in checkpoints():
        return Origin(_unpublished(record(folder)), False, "")
    fetched = manifest(folder)
    changed = sorted(file for file, digest in digests.items() if fetched.get(file, {}).get("sha256") != digest)
    if changed:
        return Origin(f"a folder of {name} in which {', '.join(changed)} is not as it was fetched", False, "")
    if any(not file.sha256 for file in checkpoints()[name].by_hand):
        return Origin(f"files downloaded by hand as {name}, without a published checksum to compare with", False, name)
    return Origin(f"the published files of {name}", True, name)


def _unpublished(made: Mapping[str, Any]) -> str:
    by = str(made.get("made_by", "scrutiny"))
    if made.get("trained"):
        return f"trained by {by}, not a published model"
    return f"a draft by {by}, not trained" if made.get("draft") else "a local folder"


def fetched_folder(name: str) -> Path | None:
    """The folder of a checkpoint if it was fetched and is complete."""
    folder = folder_of(name)
    return folder if is_whole(folder) else None


def default_folder(family: str) -> Path | None:
    """The folder that a family loads where none is named: its default checkpoint if it was fetched, else the only one fetched."""
    fetched = _fetched(family)
    only = next(iter(fetched.values())) if len(fetched) == 1 else None
    return fetched.get(default_checkpoints().get(family, ""), only)


def _fetched(family: str) -> dict[str, Path]:
    names = [name for name, known in checkpoints().items() if known.family == family]
    return {name: folder for name in names if (folder := fetched_folder(name))}


def located(family: str, named: str = "") -> Path:
    """The folder of a family's weights: ``named`` is a folder, a fetched checkpoint, or '' for `default_folder`.

    Raises
    ------
    NotApplicable
        If the checkpoint was not fetched, or none is named and it is not clear which; the message says what to do.
    InputError
        If there is no such folder or checkpoint, or it is one of another family.
    """
    if named and Path(named).is_dir():
        return Path(named)
    if Path(named).is_file():
        raise InputError(f"{named} is a file; name the folder it lies in")
    if named:
        return _located_checkpoint(family, named)
    folder = default_folder(family)
    if folder is None:
        several = sorted(_fetched(family))
        how = f"several are fetched; name one of {', '.join(several)}" if several else f"`scrutiny models fetch {family}`"
        raise NotApplicable(f"{family} needs its weights: {how}, or {_by_folder(family)}")
    return folder


def whole_path(named: str, beside: Path | None = None) -> str:
    """``named`` as workers elsewhere understand it: a folder, from ``beside`` or here, by its whole path; a checkpoint by its name."""
    folder = (beside or Path()) / Path(named).expanduser()
    return str(folder.absolute()) if named and folder.is_dir() else named


def _located_checkpoint(family: str, name: str) -> Path:
    known = checkpoints().get(name.lower())
    if known is None:
        raise InputError(f"there is no folder '{name}' and no checkpoint is called so; {near(name)}")
    if known.family != family:
        raise InputError(f"{known.name} is a checkpoint of {known.family}, not of {family}")
    folder = fetched_folder(known.name)
    if folder is None:
        raise NotApplicable(f"{known.name} is known but not fetched: scrutiny models fetch {known.name}; or {_by_folder(family)}")
    return folder


def _by_folder(family: str) -> str:
    return f"name a folder of the official files: --checkpoint FOLDER, or --model {family}=FOLDER"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
