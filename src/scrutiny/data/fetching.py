"""Fetching published weights: from the Hugging Face hub, from URLs, out of archives; what only a person can get is told.

A fetch that was cut goes on where it was; nobody else writes to the folder meanwhile, and the manifest is written last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from scrutiny.core.errors import InputError

from .checkpoints import MANIFEST, Checkpoint, File, checkpoint, folder_of, manifest
from .download import BLOCK, Remote, download, write_whole

PARTS = ".parts"
"""Folder of archives while they are needed."""
OTHERWISE = "or name another folder that holds all files of the checkpoint with --folder FOLDER"


def fetch(name: str, folder: Path | None = None, *, progress: bool = False) -> Path:
    """The folder of a checkpoint, complete: what is there and sound stays, the rest is fetched.

    A fetch that was cut goes on where it was. Files that a person put there under their names are taken as they are, if their
    checksum is that which was published.

    Parameters
    ----------
    name
        Of a checkpoint, or of a family for its default.
    folder
        Where to put it; by default `folder_of` its name.

    Raises
    ------
    InputError
        If a server cannot be reached or refuses, a checksum differs, the folder cannot be written to, or files are lacking that
        only a person can download; the message says which, from where, and where to put them.
    MissingDependency
        If huggingface_hub is needed and not installed.
    """
    wanted = checkpoint(name)
    folder = folder or folder_of(wanted.name)
    with _sole_writer(folder):
        recorded = manifest(folder)
        sound = {file.name for file in wanted.files if _is_sound(file, folder, recorded)}
        if recorded and sound == {file.name for file in wanted.files}:
            return folder
        (folder / MANIFEST).unlink(missing_ok=True)
        bound = [replace(f, sha256=f.sha256 or recorded.get(f.name, {}).get("sha256", "")) for f in wanted.files if f.name not in sound]
        lacking = [file for file in wanted.by_hand if not (folder / file.name).is_file()]
        by_hand = [_by_hand(wanted, lacking, folder)] if lacking else []
        try:
            for _, group in groupby(bound, key=lambda file: file.url if file.member else file.name):
                _get(list(group), folder, progress)
        except InputError as error:
            raise InputError("\n".join([str(error), *by_hand])) from error
        if by_hand:
            raise InputError(by_hand[0])
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
    listed = {f.name: {"size": (folder / f.name).stat().st_size, "sha256": _sha256(folder / f.name)} for f in wanted.files}
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
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock"):
            try:
                yield
            finally:
                if is_new and all(path.is_dir() or path.suffix == ".lock" for path in folder.rglob("*")):
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}; free space or name another folder") from error


def _by_hand(wanted: Checkpoint, lacking: list[File], folder: Path) -> str:
    again = f"scrutiny models fetch {wanted.name}" + (f" --folder {folder}" if folder != folder_of(wanted.name) else "")
    pages = dict.fromkeys(file.by_hand for file in lacking)
    listed = [f"  from {page}:\n    {', '.join(file.name for file in lacking if file.by_hand == page)}" for page in pages]
    return "\n".join(
        [
            f"{wanted.name} has files that a person has to download. Put them, under exactly these names, into {folder}",
            *listed,
            f"and run `{again}` again.",
        ]
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
