"""A folder with a checkpoint in its official layout."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from scrutiny.core.errors import InputError

from .dictionaries import INDEX, read_index

BLOCK = 1 << 20
CONVERTED = {".pt": ".safetensors", ".pth": ".safetensors", ".ckpt": ".safetensors", ".bin": ".safetensors", ".torch": ".safetensors"}
CONVERTED |= {".pkl": ".json", ".pickle": ".json"}
"""What `scrutiny models convert` writes in place of a pickle."""


class Folder:
    """Finds the files of a checkpoint and remembers which were read: they, and nothing else, are the identity of the weights.

    Links are followed, as the cache of Hugging Face is made of them: a file is only ever read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not os.path.isdir(self.path):
            raise InputError(f"there is no folder {self.path}; expected one that holds the files of a checkpoint")
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise InputError(f"the folder {self.path} may not be read; look at its permissions")
        self._read: dict[str, Path] = {}

    def find(self, *patterns: str) -> Path | None:
        """The file that matches the first of these names or globs that any file matches; a converted one is preferred.

        Weights in several files are found by their ``.index.json``.

        Raises
        ------
        InputError
            If several files match one pattern, or an index names files that do not lie beside it.
        """
        for pattern in patterns:
            for wanted in _forms(pattern):
                found = sorted(path for path in self.path.glob(wanted) if path.is_file())
                if len(found) > 1:
                    raise InputError(f"{self.path} has several files '{wanted}': {[p.name for p in found]}; keep one")
                if found:
                    self._read[pattern] = found[0]
                    if found[0].name.endswith(INDEX):
                        self._read |= {f"{pattern}: {part}": found[0].parent / part for part in read_index(found[0])}
                    return found[0]
        return None

    def file(self, *patterns: str) -> Path:
        """As `find`. Raises InputError, saying what is there, if there is none."""
        found = self.find(*patterns)
        if found is None:
            there = sorted(p.name for p in self.path.iterdir())[:20]
            raise InputError(f"{self.path} has no file {' or '.join(patterns)}; it has {there or 'no files'}")
        return found

    def also(self, path: Path) -> Path:
        """A file that belongs to the checkpoint and lies elsewhere. Raises InputError if it is not there."""
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        self._read[str(path)] = path
        return path

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of all files found so far, by path in the folder; one that lies elsewhere by its whole path."""
        inside = {path: path.is_relative_to(self.path) for path in self._read.values()}
        return {(path.relative_to(self.path) if inside[path] else path).as_posix(): digest_of_file(path) for path in inside}

    @property
    def key(self) -> str:
        """Key of the names and the content of all files found so far, wherever the folder lies.

        A converted checkpoint has a key of its own: that it holds the same numbers is known to who converted it, not to who reads it.
        """
        digests = {f"{path.name}:{digest_of_file(path)}" for path in self._read.values()}
        return hashlib.sha256("|".join(sorted(digests)).encode()).hexdigest()[:16]


def _forms(pattern: str) -> list[str]:
    """The patterns that a file may match that is asked for by this one."""
    stem, dot, suffix = pattern.rpartition(".")
    converted = CONVERTED.get(dot + suffix)
    in_parts = suffix == "safetensors" or converted == ".safetensors"
    return [*([f"{stem}{converted}"] if converted else []), pattern, *([f"{pattern}{INDEX}"] if in_parts else [])]


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, remembered as long as the file stays as it is."""
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()
