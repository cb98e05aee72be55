"""For libraries that draw from the global generators: seed them inside, and leave them as they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Inside, the global generators of Python, numpy and (where it is loaded) torch start from ``seed``; after, they are as before."""
    python, legacy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch else None
    random.seed(seed)
    np.random.seed(seed)
    if torch:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        if torch:
            torch.set_rng_state(torch_state)
