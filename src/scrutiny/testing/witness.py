"""Snapshots that show whether somebody touched what was not theirs: data handed over, and the global random generators."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from scrutiny.core.dataset import Dataset
from scrutiny.core.keys import digest_of_array
from scrutiny.core.matrix import CsrMatrix, digest_of_matrix
from scrutiny.methods.global_state import seeded_generators

UNUSUAL_SEED = 724_931_886
"""Nobody seeds with this by chance."""


@contextmanager
def generators_untouched() -> Iterator[None]:
    """Assert that the block neither draws from nor seeds a global generator (Python, numpy and, where it was loaded before, torch).

    They are put into a state of their own for the block, so that seeding them as somebody else did before is seen too.
    """
    with seeded_generators(UNUSUAL_SEED):
        before = _generators()
        yield
        after = _generators()
    touched = [name for name, state in before.items() if after[name] != state]
    assert not touched, f"the global random generator of {' and '.join(touched)} was drawn from or seeded; use np.random.default_rng(seed)"


@contextmanager
def data_untouched(*datasets: Dataset) -> Iterator[None]:
    """Assert that the block leaves values, tables, roles and arrays of the data sets as they were."""
    before = [_content(data) for data in datasets]
    yield
    for data, old in zip(datasets, before, strict=True):
        touched = [name for name, content in _content(data).items() if content != old[name]]
        assert not touched, f"the {' and '.join(touched)} of the data set were changed in place; work on a copy"


def fresh(data: Dataset) -> Dataset:
    """A copy that shares nothing with the original, so that what one check breaks is whole again for the next."""
    arrays = {name: array.copy() for name, array in data.obsm.items()}
    return replace(data, matrix=CsrMatrix(data.values), obs=data.obs.copy(), var=data.var.copy(), roles=dict(data.roles), obsm=arrays)


def _generators() -> dict[str, bytes]:
    states: dict[str, Any] = {"Python": random.getstate(), "numpy": np.random.get_state()}
    if torch := sys.modules.get("torch"):
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return {name: pickle.dumps(state) for name, state in states.items()}


def _content(data: Dataset) -> dict[str, Any]:
    # The matrix remembers its own digest, so it has to be made again from the values.
    return {
        "matrix": digest_of_matrix(data.matrix),
        "obs": data.obs.to_csv(),
        "var": data.var.to_csv(),
        "roles": dict(data.roles),
        "obsm": {name: digest_of_array(array) for name, array in data.obsm.items()},
    }
