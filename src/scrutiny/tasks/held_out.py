"""Which cells are held out: those the user names, a batch, a donor, a study ..., or some at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable

from .transfer import held_out_batch, random_training_rows

QUERY = ("query", "test", "held out")
"""Values of the role ``split`` that hold a cell out; all others train."""
LEAKS = "cells of one run are on both sides, so such scores promise more than a new batch, donor or study will keep"


class Held(NamedTuple):
    """Cells that are held out."""

    rows: NDArray[np.bool_]
    """(n_cells,)."""
    what: str
    """In words."""
    warning: str = ""


Hold = Callable[[Dataset, np.random.Generator], Held]


def chosen_or_batch(data: Dataset, rng: np.random.Generator) -> Held:
    """What the role ``split`` says; else the batch nearest to 30 % of the cells; else cells at random."""
    if data.has("split"):
        return chosen(data)
    held = held_out_batch(data.role("label"), data.role("batch")) if data.has("batch") else None
    if held is None:
        random = at_random(data, rng)
        return random._replace(warning=f"no batch could be held out: {LEAKS}")
    return Held(data.role("batch") == held, f"the batch '{held}'")


def chosen(data: Dataset) -> Held:
    """What the role ``split`` says. Raises NotApplicable if it leaves no cell on one of the sides."""
    values = data.role("split")
    rows = np.isin(np.char.lower(values), QUERY)
    if rows.all() or not rows.any():
        names = sorted({*values})[:10]
        raise NotApplicable(f"'{data.name}' has the values {names} in the role 'split'; {QUERY} hold cells out, and both sides need some")
    return Held(rows, "the part chosen by the user")


def at_random(data: Dataset, rng: np.random.Generator) -> Held:
    """About 30 % of the cells of each label."""
    return Held(~random_training_rows(data.role("label"), data.cell_ids, rng), "30% of the cells of each label, drawn at random,", LEAKS)


def group_of(role: str) -> Hold:
    """Hold out the donor, study, ... nearest to 30 % of the cells that shares labels with the others."""

    def hold(data: Dataset, rng: np.random.Generator) -> Held:
        name = held_out_batch(data.role("label"), data.role(role))
        if name is None:
            raise NotApplicable(f"'{data.name}': no {role} has two labels that are found in another one too")
        return Held(data.role(role) == name, f"the {role} '{name}'")

    return hold
