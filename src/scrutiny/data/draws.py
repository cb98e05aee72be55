"""Random draws that belong to a cell: the same whatever its place in the file and whatever else is drawn for."""

from __future__ import annotations

import hashlib

import numpy as np


def cell_generator(seed: int, cell_id: str) -> np.random.Generator:
    """A generator that depends on (seed, cell id) alone."""
    digest = hashlib.sha256(cell_id.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
