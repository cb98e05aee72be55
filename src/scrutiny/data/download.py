"""Downloads through pooch that resume, are checked, and appear under their name only when whole.

Of pooch comes the cache, the checksum and the atomic move; what it lacks is here: a downloader that goes on where an earlier one
was cut, a lock so that two processes do not fetch twice, and a message that helps where there is no network.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from scrutiny.core.errors import InputError

log = logging.getLogger(__name__)

BLOCK = 1 << 16
"""Bytes read at a time; of a transfer that is cut at most so many are lost."""
TIMEOUT = (10, 60)
"""Seconds to connect, and seconds without a byte after which a transfer counts as cut."""
PAUSE = 1.0
"""Seconds before a transfer that was cut goes on."""

OTHERWISE = "or name a folder that holds it with --data-folder FOLDER"
"""What else can be done where a data set cannot be downloaded."""

Report = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole file (None where the server does not say)."""


@dataclass(frozen=True)
class Remote:
    """A file on a server."""

    name: str
    url: str
    checksum: str = ""
    """``md5:...`` or ``sha256:...`` as published; '' where none is, then the SHA-256 of the first download binds."""
    member: str = ""
    """The file wanted from within, where the download is a zip archive."""


def cache_folder() -> Path:
    """Where downloads are kept unless a folder is named: the user's cache, under ``scrutiny/data``."""
    return platformdirs.user_cache_path("scrutiny") / "data"


def download(remote: Remote, folder: Path, *, progress: bool = False, otherwise: str = OTHERWISE) -> Path:
    """The file in ``folder``: as it lies there if its checksum holds, otherwise downloaded.

    Beside it lies ``NAME.sha256`` in the format of ``sha256sum``, written on first use. A download that was cut stays as
    ``NAME.part`` and is continued by the next call, in any process. ``otherwise`` ends the message if there is no connection.

    Raises
    ------
    InputError
        If the server cannot be reached or refuses, the checksum differs, or the folder cannot be written to.
    """
    import pooch
    import requests

    target = folder / remote.name
    record = folder / f"{remote.name}.sha256"
    pooch.get_logger().setLevel(logging.WARNING)  # it would print to the terminal, which is for commands alone to do
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{remote.name}.lock"), _bar(remote.name, shown=progress) as report:
            known = remote.checksum or _recorded(record)
            downloader = Resuming(folder / f"{remote.name}.part", report)
            pooch.retrieve(remote.url, known, fname=remote.name, path=folder, downloader=downloader)
            if not record.exists():
                write_whole(record, lambda part: part.write_text(f"{pooch.file_hash(str(target))}  {remote.name}\n"))
    except requests.RequestException as error:
        raise InputError(_unreachable(remote, target, error, otherwise)) from error
    except ValueError as error:  # pooch's word for a checksum that differs
        raise InputError(_differs(remote, target, str(error))) from error
    except OSError as error:
        raise InputError(f"cannot store {remote.name} in {folder}: {error.strerror or error}; free space or name another folder") from error
    return target


def check(remote: Remote, path: Path) -> Path:
    """The path of a file that was downloaded by hand. Raises InputError if a checksum is published and the file has another."""
    import pooch

    algorithm, _, wanted = remote.checksum.partition(":")
    if wanted and (found := pooch.file_hash(str(path), alg=algorithm)) != wanted.lower():
        raise InputError(f"{path} has the {algorithm} {found}, published is {wanted}; it is damaged or another version: {remote.url}")
    return path


class Resuming:
    """A downloader for pooch that continues a partial file.

    Beside the partial file lies what the server said of its version (strong ETag or date); it is sent along as ``If-Range``, so a
    file that changed meanwhile is fetched anew instead of being glued together from two versions.
    """

    def __init__(self, partial: Path, report: Report) -> None:
        self.partial = partial
        self.version = partial.with_name(f"{partial.name}.version")
        self.report = report

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch ``url``, trying again as long as each try brings something new."""
        import requests

        cut = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        while True:
            before = self._size()
            try:
                self._fetch_rest(url)
                break
            except cut as error:
                if self._size() <= before:
                    raise
                log.info("%s was cut after %d bytes (%s); going on", url, self._size(), type(error).__name__)
                time.sleep(PAUSE)
        os.replace(self.partial, output_file)
        self.version.unlink(missing_ok=True)

    def _fetch_rest(self, url: str) -> None:
        import requests

        have = self._size()
        version = self.version.read_text() if have and self.version.exists() else ""
        headers = {"Accept-Encoding": "identity"}
        if version:
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:  # shorter than what is here: start anew
                self.partial.unlink()
                return self._fetch_rest(url)
            answer.raise_for_status()
            have = have if answer.status_code == requests.codes.partial_content else 0
            if not have:
                self.version.write_text(_version_of(answer.headers))
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with open(self.partial, "ab" if have else "wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    have += len(block)
                    self.report(have, total)
        return None

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0


def extract(archive: Path, member: str, target: Path) -> Path:
    """One file of a zip archive, under ``target``, which appears only when whole. Raises InputError if there is no such member."""

    def unpack(part: Path) -> None:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as inside, open(part, "wb") as out:
            shutil.copyfileobj(inside, out, BLOCK)

    try:
        return write_whole(target, unpack)
    except KeyError as error:
        raise InputError(f"{archive} holds no '{member}'; it was probably replaced by another file of that name") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive} is not a whole zip archive; remove it and run again") from error


def write_whole(target: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``target`` and move it there once it is done."""
    part = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        write(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _version_of(headers: Mapping[str, str]) -> str:
    """The strong validator of an answer, '' if it has none (RFC 9110, 13.1.5: a weak one must not be used for ranges)."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _recorded(record: Path) -> str | None:
    return record.read_text().split()[0] if record.exists() else None


def _unreachable(remote: Remote, target: Path, error: Exception, otherwise: str) -> str:
    answer = getattr(error, "response", None)
    what = f"the server answered {answer.status_code}" if answer is not None else f"there is no connection ({type(error).__name__})"
    kept = " What has arrived is kept; run again to go on." if target.with_name(f"{target.name}.part").exists() else ""
    return f"cannot download {remote.url}: {what}.{kept} Or download it by hand and put it there as {target}, {otherwise}"


def _differs(remote: Remote, target: Path, detail: str) -> str:
    origin = "published" if remote.checksum else f"recorded on first use in {target}.sha256 (remove that file if the new version is meant)"
    return f"{remote.url} does not have the checksum that was {origin}; nothing of it was kept. {detail}"


@contextmanager
def _bar(name: str, *, shown: bool) -> Iterator[Report]:
    """One progress bar on the standard error stream: bytes, speed, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda have, total: progress.update(task, completed=have, total=total)
