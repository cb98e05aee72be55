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

import psutil

from .atomic import refused

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

    def __init__(self, key: str, marker: Path, owner: Owner | None) -> None:
        who = f"process {owner.pid} on {owner.host}" if owner else "another process"
        super().__init__(f"{who} is at {key}; if that process is gone, delete {marker}")


class Deadly(Exception):
    """The work ended the process that did it `DEATHS` times."""


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
        Deadly
            If it has been the death of its process `DEATHS` times.
        StoreError
            If the folder cannot be written.
        """
        while True:
            markers = self._markers(key)
            for marker in markers:
                holder = _read(marker)
                if holder != owner and _is_held(marker, holder):
                    raise Busy(key, marker, holder)
            if len(markers) >= DEATHS:
                raise Deadly(key)
            marker = self.folder / f"{key}.{max(map(_number, markers), default=0) + 1}"
            if _create(marker, owner):
                return marker

    def withdraw(self, marker: Path) -> None:
        """Take back one marker: the work was interrupted, which says nothing about it."""
        marker.unlink(missing_ok=True)

    def finish(self, key: str) -> None:
        """The work has ended; forget its markers."""
        for marker in self._markers(key):
            marker.unlink(missing_ok=True)

    def deaths(self, key: str) -> int:
        """How many markers of dead processes there are."""
        return sum(not _is_held(marker, _read(marker)) for marker in self._markers(key))

    def _markers(self, key: str) -> list[Path]:
        return sorted(self.folder.glob(f"{key}.*"))


def _create(marker: Path, owner: Owner) -> bool:
    """Whether this process made it; False if another was faster."""
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError as error:
        if isinstance(error, FileExistsError) and marker.parent.is_dir():
            return False
        raise refused(marker, error) from error
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(owner), file)
    return True


def _number(marker: Path) -> int:
    number = marker.name.rsplit(".", 1)[1]
    return int(number) if number.isdigit() else 0


def _read(marker: Path) -> Owner | None:
    try:
        return Owner(**json.loads(marker.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_held(marker: Path, owner: Owner | None) -> bool:
    if owner is not None:
        return owner.is_alive()
    try:
        return time.time() - marker.stat().st_mtime < YOUNG_SECONDS
    except OSError:
        return False
