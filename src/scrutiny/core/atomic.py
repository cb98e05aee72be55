"""Files that a reader sees whole or not at all: a temporary name, fsync, rename.

Known limits, accepted: a killed process leaves its temporary file behind (``*.part``, removed by `remove_parts`); when two processes
write the same path, one of them wins, and both files are whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import StoreError

PART = ".part"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Make the file ``path`` of what ``write`` writes.

    Raises
    ------
    StoreError
        If the file system refuses (full, read-only, not a folder). ``path`` is then as it was before.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise refused(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def refused(path: Path, error: OSError) -> StoreError:
    """Our error for one of the file system's: what happened, what is safe, what to do."""
    why = error.strerror or str(error)
    if error.errno in FULL:
        todo = "What was finished is kept: make room there (or `scrutiny cache clean`), then run the same command again; it goes on"
        return StoreError(f"no space left to write {path} ({why}). {todo}")
    return StoreError(f"cannot write {path} ({why}). Choose a folder that you may write to with --out DIR, or mend its permissions")


def remove_parts(folder: Path) -> int:
    """Remove temporary files that killed processes left; returns the bytes freed. Call it while nobody writes."""
    freed = 0
    for part in folder.rglob(f".*{PART}"):
        with contextlib.suppress(OSError):
            size = part.stat().st_size
            part.unlink()
            freed += size
    return freed


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut; only POSIX can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
