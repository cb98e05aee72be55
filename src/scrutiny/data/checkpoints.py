"""Published weights by name: where they come from, fetching them, and where they lie on this machine.

A fetched checkpoint is one folder in the official layout with a manifest, ``scrutiny-manifest.json``, that is written last: a folder
without it, or with a file that is not as the manifest says, is not taken for complete.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import shutil
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache as remembered
from importlib.resources import files as package_files
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import platformdirs
from filelock import FileLock

from scrutiny.core.errors import InputError, NotApplicable

from .download import BLOCK, Remote, download, write_whole

MANIFEST = "scrutiny-manifest.json"
PARTS = ".parts"
"""Folder of archives while they are needed."""
OTHERWISE = "or name another folder that holds all files of the checkpoint with --checkpoint FOLDER"


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
    """The checkpoint of that name; for the name of a family its default. Raises InputError with near matches if there is none."""
    known = checkpoints()
    name = default_checkpoints().get(name, name)
    if name not in known:
        raise InputError(f"no checkpoint is called '{name}'; {_near(name)}")
    return known[name]


def _near(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), [*checkpoints(), *default_checkpoints()], cutoff=0.6)
    return f"did you mean {near}?" if near else "see `scrutiny models list`"


# Where they lie ----------------------------------------------------------------------------------------------------------------


def models_folder() -> Path:
    """Where checkpoints are kept unless a folder is named: the user's cache, under ``scrutiny/models``."""
    return platformdirs.user_cache_path("scrutiny") / "models"


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


class Origin(NamedTuple):
    """Where the weights in a folder come from, in words, and whether they are sure to be the published ones."""

    text: str
    published: bool
    checkpoint: str
    """Name of the checkpoint that was fetched; '' where it is another one, or not any more that."""


def origin(folder: Path, digests: Mapping[str, str]) -> Origin:
    """What the manifest of a folder says of where its files come from; without one nobody knows.

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
        return Origin("a local folder", False, "")
    fetched = manifest(folder)
    changed = sorted(file for file, digest in digests.items() if fetched.get(file, {}).get("sha256") != digest)
    if changed:
        return Origin(f"a folder of {name} in which {', '.join(changed)} is not as it was fetched", False, "")
    if any(not file.sha256 for file in checkpoints()[name].by_hand):
        return Origin(f"files downloaded by hand as {name}, without a published checksum to compare with", False, name)
    return Origin(f"the published files of {name}", True, name)


def fetched_folder(name: str) -> Path | None:
    """The folder of a checkpoint if it was fetched and is complete."""
    folder = models_folder() / name
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
    if name not in checkpoints():
        raise InputError(f"there is no folder '{name}' and no checkpoint is called so; {_near(name)}")
    if checkpoints()[name].family != family:
        raise InputError(f"{name} is a checkpoint of {checkpoints()[name].family}, not of {family}")
    folder = fetched_folder(name)
    if folder is None:
        raise NotApplicable(f"{name} is not fetched: `scrutiny models fetch {name}`, or {_by_folder(family)}")
    return folder


def _by_folder(family: str) -> str:
    return f"name a folder of the official files: --checkpoint FOLDER, or --model {family}=FOLDER"


# Fetching ----------------------------------------------------------------------------------------------------------------------


def fetch(name: str, folder: Path | None = None, *, progress: bool = False) -> Path:
    """The folder of a checkpoint, complete: what is there and sound stays, the rest is fetched.

    A fetch that was cut goes on where it was. Files that a person put there under their names are taken as they are, if their
    checksum is that which was published.

    Parameters
    ----------
    name
        Of a checkpoint, or of a family for its default.
    folder
        Where to put it; by default under `models_folder`.

    Raises
    ------
    InputError
        If a server cannot be reached or refuses, a checksum differs, the folder cannot be written to, or files are lacking that
        only a person can download; the message says which, from where, and where to put them.
    MissingDependency
        If huggingface_hub is needed and not installed.
    """
    wanted = checkpoint(name)
    folder = folder or models_folder() / wanted.name
    with _sole_writer(folder):
        recorded = manifest(folder)
        sound = {file.name for file in wanted.files if _is_sound(file, folder, recorded)}
        if recorded and sound == {file.name for file in wanted.files}:
            return folder
        (folder / MANIFEST).unlink(missing_ok=True)
        bound = [replace(f, sha256=f.sha256 or recorded.get(f.name, {}).get("sha256", "")) for f in wanted.files if f.name not in sound]
        for _, group in groupby(bound, key=lambda file: file.url if file.member else file.name):
            _get(list(group), folder, progress)
        lacking = [file for file in wanted.by_hand if not (folder / file.name).is_file()]
        if lacking:
            raise InputError(_by_hand(wanted, lacking, folder))
        _tidy(wanted, folder)
        _write_manifest(wanted, folder)
    return folder


def _get(files: list[File], folder: Path, progress: bool) -> None:
    """Get one file, or all that are members of one archive."""
    first, place = files[0], folder / files[0].name
    if first.member:
        archive = download(Remote(PurePosixPath(first.url).name, first.url), folder / PARTS, progress=progress, otherwise=OTHERWISE)
        _unpack(archive, {file.member: folder / file.name for file in files})
    elif first.url or not (first.by_hand or (place.is_file() and not first.sha256)):
        url, sha256 = (first.url, first.sha256) if first.url else _on_the_hub(first, place)
        remote = Remote(place.name, url, f"sha256:{sha256}" if sha256 else "")
        download(remote, place.parent, progress=progress, otherwise=OTHERWISE)
    for file in files:
        here = folder / file.name
        if here.is_file() and file.sha256 and (found := _sha256(here)) != file.sha256:
            raise InputError(f"{here} has the SHA-256 {found}, expected {file.sha256}; it is damaged or another version")


def _on_the_hub(file: File, place: Path) -> tuple[str, str]:
    """URL and SHA-256 of a file of the Hugging Face hub, or of the one that ``HF_ENDPOINT`` names.

    The hub's own downloader begins anew after a kill; so it only resolves, and the transfer is the one that resumes. Of large files
    the ETag is the SHA-256.
    """
    from scrutiny.core.registry import require

    require(["huggingface_hub"], "models", needed_by=f"fetching from {file.repo}")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HTTPError

    url = hf_hub_url(file.repo, file.path or file.name, revision=file.revision)
    try:
        tag = get_hf_file_metadata(url).etag or ""
    except (HTTPError, OSError) as error:  # the first is the root of what the hub's HTTP library raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        otherwise = f"HF_ENDPOINT can name a mirror of the hub; or download it by hand and put it there as {place}"
        raise InputError(f"cannot fetch {url}: {reason}. {otherwise}") from error
    published = tag if len(tag) == hashlib.sha256().digest_size * 2 else ""
    if published and file.sha256 and published != file.sha256:
        raise InputError(f"{url} has the SHA-256 {published}, expected {file.sha256}; nothing of it was fetched")
    return url, file.sha256 or published


def _unpack(archive: Path, wanted: dict[str, Path]) -> None:
    """Write the members of a tar archive whose paths end as named; names in the archive decide nothing about where files go."""
    missing = dict(wanted)
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                ending = next((e for e in missing if member.isfile() and PurePosixPath(member.name).match(e)), None)
                if ending is None:
                    continue
                place = missing.pop(ending)
                place.parent.mkdir(parents=True, exist_ok=True)
                write_whole(place, lambda part, m=member: _copy_member(opened, m, part))
                if not missing:
                    return
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive} is not a whole tar archive ({error}); remove it and run again") from error
    raise InputError(f"{archive} holds no {', '.join(missing)}; it was probably replaced by another file of that name")


def _copy_member(opened: tarfile.TarFile, member: tarfile.TarInfo, part: Path) -> None:
    inside = opened.extractfile(member)
    assert inside is not None, "a regular file can be read"
    with inside, part.open("wb") as out:
        shutil.copyfileobj(inside, out, BLOCK)


def _is_sound(file: File, folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a file is there with the checksum that was published, or else recorded."""
    expected = file.sha256 or recorded.get(file.name, {}).get("sha256")
    path = folder / file.name
    return bool(expected) and path.is_file() and _sha256(path) == expected


def _write_manifest(wanted: Checkpoint, folder: Path) -> None:
    listed = {f.name: {"size": _size(folder / f.name), "sha256": _sha256(folder / f.name)} for f in wanted.files}
    text = json.dumps({"checkpoint": wanted.name, "family": wanted.family, "files": listed}, indent=1)
    write_whole(folder / MANIFEST, lambda part: part.write_text(text, "utf-8"))


def _tidy(wanted: Checkpoint, folder: Path) -> None:
    """Remove what the downloads left beside the files; the manifest holds the checksums."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    for file in wanted.files:
        place = folder / file.name
        for leftover in (f".{place.name}.lock", f"{place.name}.sha256"):
            place.with_name(leftover).unlink(missing_ok=True)


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock"):
            yield
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}; free space or name another folder") from error


def _by_hand(wanted: Checkpoint, lacking: list[File], folder: Path) -> str:
    again = f"scrutiny models fetch {wanted.name}" + (f" --folder {folder}" if folder != models_folder() / wanted.name else "")
    pages = dict.fromkeys(file.by_hand for file in lacking)
    listed = [f"  from {page}:\n    {', '.join(file.name for file in lacking if file.by_hand == page)}" for page in pages]
    return "\n".join(
        [
            f"{wanted.name} has files that a person has to download. Put them, under exactly these names, into {folder}",
            *listed,
            f"and run `{again}` again. What can be fetched has been.",
        ]
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
