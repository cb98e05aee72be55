"""What every file from outside is asked before and after it is read: is it there, is it what its name says, is its content plain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scrutiny.core.errors import InputError

DEEPEST = 64
"""Dictionaries within dictionaries; official checkpoints have up to five."""
LONGEST_NUMBER = 1024
"""Bits of a whole number."""
SCALARS = (type(None), bool, int, float, str)
MOST_LAYERS, LARGEST = 1_000, 10_000_000
"""Sizes that no serious config exceeds; making the modules for larger ones would not end."""
WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def start_of(path: Path) -> bytes:
    """The first bytes of a file that is there, may be read and is no stand-in for another file.

    Raises
    ------
    InputError
        If there is no such file, or it is a folder, empty, forbidden, a pointer of git-lfs or a web page.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a file")
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; look at its permissions") from error
    if not head:
        raise InputError(f"{path} is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a pointer of git-lfs, not the file itself; run 'git lfs pull' where it was cloned, or download it")
    if head.lstrip().lower().startswith(WEB_PAGES):
        raise InputError(f"{path} is a web page, perhaps the error of a failed download; download it again")
    return head


def plain(value: Any, source: str, most: int) -> Any:
    """Dictionaries, lists, strings, numbers, None and tensors, and nothing else; tuples become lists, dtypes their names.

    Parameters
    ----------
    most
        Entries that may be found: a file of so many bytes cannot name more of them one by one, but can repeat one list within itself
        until no memory holds what it stands for.

    Raises
    ------
    InputError
        If there are more entries, they lie deeper than `DEEPEST`, or one is of another kind.
    """
    left = most

    def walked(found: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise InputError(f"{source} is nested beyond reason: deeper than {DEEPEST}, or more entries than the file has bytes")
        if isinstance(found, SCALARS):
            return _checked(found, source)
        if isinstance(found, dict):
            return {_key(key, source): walked(one, depth + 1) for key, one in dict.items(found)}
        if isinstance(found, list | tuple):
            return [walked(one, depth + 1) for one in found]
        if isinstance(found, Tensor):
            return found
        if isinstance(found, torch.dtype):
            return str(found)
        raise InputError(f"{source} holds a {type(found).__name__}; expected dictionaries, lists, text, numbers and tensors only")

    return walked(value, 0)


def _key(key: Any, source: str) -> Any:
    if not isinstance(key, SCALARS):
        raise InputError(f"{source} has a dictionary with a {type(key).__name__} as key; expected text or numbers")
    return _checked(key, source)


def _checked(value: Any, source: str) -> Any:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{source} holds text that is not Unicode: {value[:20]!r}") from error
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise InputError(f"{source} holds a whole number of {value.bit_length():,} bits")
    return value


def check_sizes(sizes: Mapping[str, Any], source: str, *, layers: str) -> None:
    """That all are whole numbers, or lists of them, from 1 to what a net may have; ``layers`` is the name of the number of layers.

    Raises
    ------
    InputError
        If one is none, with ``source``.
    """
    for name, size in sizes.items():
        most = MOST_LAYERS if name == layers else LARGEST
        numbers = size if isinstance(size, list | tuple) else [size]
        if not all(type(number) is int and 0 < number <= most for number in numbers):
            raise InputError(f"{source} says {name} is {size!r}; expected whole numbers from 1 to {most:,}")
