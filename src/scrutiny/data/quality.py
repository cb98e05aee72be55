"""The stated policy on which cells and genes are left out before anything is scored. What was dropped is told in the notes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError

FEWEST_GENES = 200
"""A cell must express this many genes ..."""
FEWEST_SHARE = 0.01
"""... or this share of the genes of the data, whichever is less, so that cells of small panels are kept."""
FEWEST_CELLS = 20
"""With fewer cells left nothing can be scored."""
TRUTH = ("label", "batch")
"""Roles in which a cell must have a value."""
NO_VALUE = frozenset({"", "nan", "none", "na", "n/a", "<na>", "null"})
"""Texts that mean "not known"; case and surrounding spaces do not matter."""


def keep_good(data: Dataset) -> Dataset:
    """Without cells that have no label or batch (where there is such a role), shallow cells, and genes that are zero everywhere.

    A cell is shallow if it expresses fewer than 200 genes, or fewer than 1 % of the genes where that is less. Scaled values, in
    which zero does not mean absent, lose no cell and no gene for their values. Doublets and dying cells are not looked for: that is
    for the person who knows the tissue.

    Raises
    ------
    InputError
        If fewer than 20 cells are left; the message says what removed the others.
    """
    lacking = {role: without_value(data, role) for role in TRUTH if data.has(role)}
    named = ~np.any([*lacking.values(), np.zeros(data.n_cells, dtype=bool)], axis=0)
    fewest = max(1, min(FEWEST_GENES, int(np.ceil(FEWEST_SHARE * data.n_genes))))
    kept = _deep(data, named, fewest) if data.scale is not Scale.SCALED else _Kept(named, np.ones(data.n_genes, dtype=bool))
    n_shallow = int((named & ~kept.cells).sum())
    reasons = {f"have no {role}": int(bad.sum()) for role, bad in lacking.items()} | {f"express fewer than {fewest} genes": n_shallow}
    told = [f"{n:,} of {data.n_cells:,} cells were left out: they {why}." for why, n in reasons.items() if n]
    if kept.cells.sum() < FEWEST_CELLS:
        why = " ".join(told) or f"The data have no more than {data.n_cells}."
        raise InputError(f"'{data.name}' has {kept.cells.sum()} usable cells; expected at least {FEWEST_CELLS}. {why} Check the columns.")
    n_silent = int((~kept.genes).sum())
    told += [f"{n_silent:,} of {data.n_genes:,} genes were left out: they are zero in all cells."] if n_silent else []
    if not told:
        return data
    chosen = data.take(np.flatnonzero(kept.cells)) if not kept.cells.all() else data
    chosen = chosen.take_genes(np.flatnonzero(kept.genes)) if n_silent else chosen
    return replace(chosen, notes=(*data.notes, *told))


def without_value(data: Dataset, role: str) -> NDArray[np.bool_]:
    """Cells (n_cells,) whose value in a role is missing, empty or a word for "not known"."""
    column = data.obs[data.roles[role]]
    return (column.isna() | column.astype(str).str.strip().str.lower().isin(NO_VALUE)).to_numpy(bool)


class _Kept(NamedTuple):
    cells: NDArray[np.bool_]
    genes: NDArray[np.bool_]


def _deep(data: Dataset, candidates: NDArray[np.bool_], fewest: int) -> _Kept:
    """Candidates that express enough genes, and the genes that any of them expresses; one pass."""
    cells, genes = candidates.copy(), np.zeros(data.n_genes, dtype=bool)
    for start, stop, values in data.matrix.chunks():
        cells[start:stop] &= np.diff(values.indptr) >= fewest
        genes[values[cells[start:stop]].indices] = True
    return _Kept(cells, genes)
