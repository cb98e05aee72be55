"""Content keys: the same content gives the same key in every process, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_LENGTH = 16
"""Hexadecimal digits kept of a SHA-256: 64 bits, so a clash among a million keys has a chance of 3e-8."""


def digest_of_json(content: Any) -> str:
    """Key of anything JSON can hold; the order of dictionary keys does not matter.

    Raises
    ------
    TypeError
        If the content cannot be written as JSON; there is no fallback to ``repr``, which may hold addresses.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def digest_of_strings(strings: Iterable[str]) -> str:
    """Key of an ordered list of strings. Lengths are hashed too, so ``["ab"]`` and ``["a", "b"]`` differ."""
    sha = hashlib.sha256()
    for text in strings:
        encoded = str(text).encode()
        sha.update(len(encoded).to_bytes(8, "little"))
        sha.update(encoded)
    return sha.hexdigest()[:KEY_LENGTH]


def digest_of_array(array: NDArray[Any]) -> str:
    """Key of a numeric array (any shape): dtype, shape and values in C order, little endian."""
    fixed = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    sha = hashlib.sha256(f"{fixed.dtype.str}{fixed.shape}".encode())
    sha.update(fixed.tobytes())
    return sha.hexdigest()[:KEY_LENGTH]
