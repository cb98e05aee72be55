"""Who is at what: markers that keep two processes from doing the same work, and that count the deaths of those who did it.

A marker ``<key>.<n>`` is made when a piece of work starts and removed when it ends, well or badly. One that stays behind belongs to a
process that is still at it, or to one that died of it. After `DEATHS` deaths the work is not tried again.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from scrutiny.core.atomic import refused, write_atomic
from scrutiny.core.errors import ScrutinyError

DEATHS = 2
"""So many markers of dead processes and the work counts as deadly."""
YOUNG_SECONDS = 10.0
"""A marker without content that is younger than this is being written."""


@dataclass(frozen=True)
class Owner:
    """A process that runs a study. ``born`` tells it from a later process with the same number."""

    host: str
    pid: int
    born: float

    @classmethod
    def this_process(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def is_alive(self) -> bool:
        """Whether it may still be running; on another host nobody can know, so yes."""
        if self.host != socket.gethostname():
            return True
        try:
            return abs(psutil.Process(self.pid).create_time() - self.born) < 1.0
        except psutil.NoSuchProcess:
            return False


class Busy(Exception):
    """Another process is at this work."""

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(holder)
        self.key = key


class ProcessDied(ScrutinyError):
    """The work ended the process that did it `DEATHS` times."""

    def __init__(self, ends: list[str]) -> None:
        self.how = "; ".join(dict.fromkeys(end for end in ends if end)) or "how is not known"
        times = f"{len(ends)} times ({self.how})"
        super().__init__(f"it ended the process that ran it {times}, so it is not tried again unless asked for (--retry)")


class Claims:
    """Markers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, key: str, owner: Owner) -> Path:
        """Claim a piece of work; returns the marker to hand to `withdraw`.

        Earlier markers of the same owner count as deaths: an owner does not do a thing twice at once.

        Raises
        ------
        Busy
            If another living process holds it.
        ProcessDied
            If it has been the death of its process `DEATHS` times.
        StoreError
            If the folder cannot be written.
        """
        while True:
            markers = self._markers(key)  # listed once: the new number must follow from the very markers that were judged
            if holder := _holder(markers, owner):
                raise Busy(key, holder)
            if len(markers) >= DEATHS:
                ends = [_read(marker).ended for marker in markers]
                if self._markers(key) == markers:  # else somebody has just finished it and taken them away
                    raise ProcessDied(ends)
                continue
            marker = self.folder / f"{key}.{max(map(_number, markers), default=0) + 1}"
            if _create(marker, owner):
                return marker

    def holder(self, key: str, *, besides: Owner) -> str:
        """Who else is at this work, in words; '' if nobody is."""
        return _holder(self._markers(key), besides)

    def anyone(self, *, besides: Owner) -> str:
        """Who else is at anything here, in words; '' if nobody is."""
        return _holder(sorted(self.folder.glob("*")), besides)

    def blame(self, marker: Path, how: str) -> None:
        """Write onto a marker how the process that held it ended."""
        if owner := _read(marker).owner:
            content = _content(owner, how)
            write_atomic(marker, lambda file: file.write(content))

    def withdraw(self, marker: Path) -> None:
        """Take back one marker: the work was interrupted, which says nothing about it."""
        marker.unlink(missing_ok=True)

    def withdraw_all(self, owner: Owner) -> None:
        """Take back everything that an owner still holds; deaths that were blamed on the work stay."""
        for marker in self.folder.glob("*"):
            if _read(marker) == _Marker(owner, ""):
                self.withdraw(marker)

    def forget_dead(self) -> None:
        """Remove the markers of processes that are over, for work that people may kill without meaning that it is deadly."""
        for marker in self.folder.glob("*"):
            if not _is_held(marker, _read(marker).owner):
                self.withdraw(marker)

    def finish(self, key: str) -> None:
        """The work has ended; forget its markers."""
        for marker in self._markers(key):
            marker.unlink(missing_ok=True)

    def _markers(self, key: str) -> list[Path]:
        return sorted(self.folder.glob(f"{key}.*"))


def _holder(markers: list[Path], besides: Owner) -> str:
    for marker in markers:
        found = _read(marker)
        if found.owner != besides and _is_held(marker, found.owner):
            who = f"process {found.owner.pid} on {found.owner.host}" if found.owner else "another process"
            return f"{who} (if that is over, delete {marker})"
    return ""


def _create(marker: Path, owner: Owner) -> bool:
    """Whether this process made it; False if another was faster."""
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        with marker.open("xb") as file:
            file.write(_content(owner, ""))
    except OSError as error:
        if isinstance(error, FileExistsError) and marker.parent.is_dir():
            return False
        raise refused(marker, error) from error
    return True


def _content(owner: Owner, ended: str) -> bytes:
    return json.dumps({"owner": asdict(owner), "ended": ended}).encode()


def _number(marker: Path) -> int:
    number = marker.name.rsplit(".", 1)[1]
    return int(number) if number.isdigit() else 0


class _Marker(NamedTuple):
    owner: Owner | None
    """None: it cannot be read, or not yet."""
    ended: str


def _read(marker: Path) -> _Marker:
    try:
        found = json.loads(marker.read_bytes())
        return _Marker(Owner(**found["owner"]), str(found["ended"]))
    except (OSError, ValueError, TypeError, KeyError):
        return _Marker(None, "")


def _is_held(marker: Path, owner: Owner | None) -> bool:
    if owner is not None:
        return owner.is_alive()
    try:
        return time.time() - marker.stat().st_mtime < YOUNG_SECONDS
    except OSError:
        return False
