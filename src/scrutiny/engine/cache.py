"""Arrays by content key: outputs of methods and evidence that no method changes. Anything in here can be made again."""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.atomic import remove_parts, write_atomic
from scrutiny.core.keys import digest_of_array, digest_of_json, digest_of_strings

from .records import plain

FACTS = "__facts__"
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Arrays:
    """Named arrays (numeric or str) and JSON facts about how they were made."""

    by_name: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class ArrayCache:
    """``<folder>/<key>.npz``. A file that is torn or altered is as good as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, arrays: Arrays) -> None:
        """Write the arrays under their key. Raises StoreError if the file system refuses."""
        facts = json.dumps({**plain(arrays.facts), "digest": _digest(arrays.by_name)}, allow_nan=False)

        members: dict[str, Any] = {FACTS: np.array(facts), **arrays.by_name}
        write_atomic(self._path(key), lambda file: np.savez(file, **members))

    def get(self, key: str) -> Arrays | None:
        """The arrays of that key; None if they are not there or not what was written (a warning says so)."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                by_name = {name: file[name] for name in file.files if name != FACTS}
                facts = json.loads(str(file[FACTS]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            log.warning("%s cannot be read (%s); it will be made again", path, error)
            return None
        if facts.pop("digest", "") != _digest(by_name):
            log.warning("%s does not hold what was written to it; it will be made again", path)
            return None
        return Arrays(by_name, facts)

    def names(self, pattern: str) -> list[str]:
        """Keys that match a glob pattern."""
        return [path.name.removesuffix(".npz") for path in self.folder.glob(f"{pattern}.npz")]

    def remove(self, key: str) -> None:
        """Remove what is there under a key, if anything is."""
        self._path(key).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.npz"))

    def clean(self) -> int:
        """Remove everything; returns the bytes freed. Runs stay, and what they need is made again when asked for."""
        freed = remove_parts(self.folder)
        for path in self.folder.glob("*.npz"):
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
        return freed

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _digest(by_name: Mapping[str, NDArray[Any]]) -> str:
    text = {name: array.dtype.kind == "U" for name, array in by_name.items()}
    return digest_of_json({n: digest_of_strings(a.ravel()) if text[n] else digest_of_array(a) for n, a in by_name.items()})
