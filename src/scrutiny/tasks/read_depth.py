"""Read depth: can a method tell from a tenth or a fifth of the molecules of a cell what all of them would have shown?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import ContractError, NotApplicable
from scrutiny.core.matrix import CsrMatrix
from scrutiny.core.outputs import Reconstruction
from scrutiny.core.protocols import Problem
from scrutiny.data.draws import cell_generator
from scrutiny.data.prepare import log_entries
from scrutiny.data.splits import hold_out
from scrutiny.data.thinning import thin
from scrutiny.metrics.depth import AS_GIVEN

from .cells import HIDDEN

SHARE = 0.2
"""Share of the molecules of a cell that methods are shown."""
HELD_SHARE = 0.3
"""Share of the cells that are thinned: the batch that comes nearest, where there are several."""
MOST_CELLS = 2_000
"""Of the held-out cells so many are asked for: models predict thousands of genes of each."""
LEAST_TRAIN = 50
"""Cheap methods learn from the other cells; fewer teach nothing."""


class Entries(NamedTuple):
    """Cells and genes that are asked for: ``rows`` and ``columns`` (n_entries,) int64, sorted.

    ``weight`` (n_entries,) float32 says for how many genes of its cell each stands: zeros are a sample of all.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weight: NDArray[np.float32]


class ReadDepth:
    """Molecules of held-out cells are removed by chance; methods are to say what the cells showed before.

    They are told the total that is asked for, and asked for all genes that the cell expresses at full depth and a sample of the others.
    The other cells, at full depth, are there to learn from.
    """

    card = TaskCard(
        "read_depth",
        "can the full expression of a cell be told from a fifth of its molecules?",
        asks="deepen",
        metrics=("depth_skill", "depth_mse", "depth_mse_expressed", "depth_mse_zeros", "depth_pearson"),
        primary="depth_skill",
        optional=frozenset({"batch"}),
    )

    def __init__(self, share: float = SHARE) -> None:
        self.share = share

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        if data.scale is not Scale.COUNTS:
            raise NotApplicable(f"read_depth removes molecules, so it needs counts; '{data.name}' holds values of the scale '{data.scale}'")
        shown = data.hide(*HIDDEN)
        is_held, how = held_out(shown, rng)
        if np.count_nonzero(~is_held) < LEAST_TRAIN:
            few = np.count_nonzero(~is_held)
            raise NotApplicable(f"read_depth leaves {few} cells of '{data.name}' to learn from; expected at least {LEAST_TRAIN}")
        full = shown.take(sampled(np.flatnonzero(is_held), shown.cell_ids, rng))
        seed = int(rng.integers(2**32))
        thinned = replace(full, matrix=CsrMatrix(thin(full.values, self.share, seed=seed, cell_ids=full.cell_ids)))
        asked = entries(full.values, seed + 1, full.cell_ids)
        places = asked.rows, asked.columns
        note = f"read_depth: {how}; of {full.n_cells} of them {self.share:.0%} of the molecules were kept"
        return Problem(
            shown.take(np.flatnonzero(~is_held)),
            replace(thinned, notes=(*shown.notes, note)),
            truth={"full": log_entries(full, *places), "given": log_entries(thinned, *places), "weight": asked.weight},
            asks={"totals": np.asarray(full.values.sum(axis=1, dtype=np.float64)).ravel(), "rows": asked.rows, "columns": asked.columns},
        )

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {}

    def evidence(self, output: Reconstruction, problem: Problem) -> Mapping[str, Any]:
        """``deepened``, with the values at full depth as ``true`` and the thinned counts among ``also``; ``asked`` (n_cells,) genes."""
        where = _places(output, problem)
        full, given, weight = (problem.truth[name][where] for name in ("full", "given", "weight"))
        asked = np.bincount(problem.asks["rows"], problem.truth["weight"], problem.query.n_cells)
        deepened = replace(output, true=full, also={AS_GIVEN: given}, weight=weight)
        return {"deepened": deepened, "asked": asked}


def held_out(data: Dataset, rng: np.random.Generator) -> tuple[NDArray[np.bool_], str]:
    """Which cells (n_cells,) are held out, and how they were chosen: the batch nearest to 30% of the cells, or that share by chance."""
    if data.has("batch"):
        names, sizes = np.unique(data.role("batch"), return_counts=True)
        if len(names) > 1:
            name = names[np.argmin(np.abs(sizes / data.n_cells - HELD_SHARE))]
            return data.role("batch") == name, f"the batch '{name}' was held out"
    by_id = np.argsort(data.cell_ids, kind="stable")
    is_held = np.empty(data.n_cells, bool)
    is_held[by_id] = hold_out(np.zeros(data.n_cells, "U1"), HELD_SHARE, rng)
    return is_held, f"{HELD_SHARE:.0%} of the cells were held out by chance, so cells of one run are on both sides"


def sampled(rows: NDArray[np.intp], cell_ids: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.intp]:
    """At most `MOST_CELLS` of the rows, drawn by cell id and in the order of the file."""
    by_id = rows[np.argsort(cell_ids[rows], kind="stable")]
    return np.sort(rng.permutation(by_id)[:MOST_CELLS])


def entries(counts: sparse.csr_matrix, seed: int, cell_ids: NDArray[np.str_]) -> Entries:
    """All expressed genes of each cell and as many others, or all of these where they are fewer, drawn by (seed, cell id)."""
    n_genes, columns, weights = counts.shape[1], [], []
    for i, cell in enumerate(cell_ids):
        expressed = counts.indices[counts.indptr[i] : counts.indptr[i + 1]]
        zeros = np.setdiff1d(np.arange(n_genes), expressed, assume_unique=True)
        drawn = cell_generator(seed, cell).choice(zeros, size=min(len(expressed), len(zeros)), replace=False)
        own = np.sort(np.concatenate([expressed, drawn])).astype(np.int64)
        columns.append(own)
        weights.append(np.where(np.isin(own, expressed, assume_unique=True), 1.0, len(zeros) / max(len(drawn), 1)).astype(np.float32))
    rows = np.repeat(np.arange(len(columns)), [len(own) for own in columns])
    return Entries(rows, np.concatenate(columns), np.concatenate(weights))


def _places(output: Reconstruction, problem: Problem) -> NDArray[np.intp]:
    """Which of the asked entries each entry of an output is. Raises ContractError if it is none, or not in log counts."""
    if output.quantity != "log count":
        raise ContractError(f"'deepen' returned the quantity '{output.quantity}'; expected 'log count', ln(1 + 1e4 count / total)")
    query = problem.query
    column = query.var.index.get_indexer(output.gene_ids)
    if (column < 0).any():
        raise ContractError(f"'deepen' returned the gene '{output.gene_ids[column < 0][0]}', which the cells have not")
    asked = problem.asks["rows"] * query.n_genes + problem.asks["columns"]
    found = output.rows.astype(np.int64) * query.n_genes + column[output.columns]
    where = np.searchsorted(asked, found)
    odd = int((asked[np.minimum(where, len(asked) - 1)] != found).sum())
    if odd:
        raise ContractError(f"'deepen' returned {odd} entries that were not asked for")
    return where
