"""Can expression be predicted better than by the mean of each gene? With all genes given, as in the zero-shot paper, or some hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import Reconstruction as Output
from scrutiny.core.protocols import Problem

from .cells import HIDDEN
from .transfer import HELD_SHARE, random_training_rows

MOST_QUERY = 2_000
"""Cells asked for: predictions are kept for thousands of genes of each."""
METRICS = (
    "reconstruction_skill",
    "reconstruction_skill_cell",
    "reconstruction_slope",
    "reconstruction_variance_explained",
    "reconstruction_mse",
    "reconstruction_mse_gene_mean",
    "reconstruction_mse_mean",
    "reconstruction_mse_cell",
    "reconstruction_pearson",
    "reconstruction_pearson_mean",
    "reconstruction_spearman",
    "expressed_auroc",
    "expressed_auroc_gene",
)


class Reconstruction:
    """Methods are fitted on 70% of the cells and say what the others express; labels are only used to draw evenly."""

    card: ClassVar[TaskCard] = TaskCard(
        "reconstruction",
        "is expression predicted better than by the mean of each gene, when all genes of the cell are given?",
        asks="reconstruct",
        metrics=METRICS,
        primary="reconstruction_skill",
        optional=frozenset({"label"}),
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        strata = data.role("label") if data.has("label") else np.zeros(data.n_cells, dtype="U1")
        train_rows = random_training_rows(strata, data.cell_ids, rng)
        by_id = np.argsort(data.cell_ids, kind="stable")
        left = by_id[~train_rows[by_id]]
        if len(left) < 2:
            raise NotApplicable(f"'{data.name}' has {data.n_cells} cells; {HELD_SHARE:.0%} of them, to be predicted, must be at least two")
        asked = np.sort(rng.permutation(left)[:MOST_QUERY])
        blind = data.hide(*HIDDEN)
        query = blind.take(asked)
        if len(asked) < len(left):
            note = f"{self.card.name}: {len(asked):,} of the {len(left):,} cells that are not fitted on are predicted"
            query = replace(query, notes=(*query.notes, note))
        truth = {"labels": data.role("label")[asked]} if data.has("label") else {}
        return Problem(blind.take(np.flatnonzero(train_rows)), query, truth)

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {}

    def evidence(self, output: Output, problem: Problem) -> Mapping[str, Any]:
        """``reconstruction``: the entries; and ``labels`` (n_cells,) where there are any, by which cells are dealt into parts."""
        return {"reconstruction": output, **problem.truth}


class Masked15(Reconstruction):
    """15% of the genes of each cell are hidden, as in the pretraining of most models; only these count."""

    card = replace(
        Reconstruction.card,
        name="reconstruction_masked_15",
        summary="is expression predicted better than by the mean of each gene, where 15% of the genes of the cell are hidden?",
        verb_options={"hide": 0.15},
    )


class Masked50(Reconstruction):
    """Half of the genes of each cell are hidden; only these count."""

    card = replace(
        Reconstruction.card,
        name="reconstruction_masked_50",
        summary="is expression predicted better than by the mean of each gene, where half of the genes of the cell are hidden?",
        verb_options={"hide": 0.5},
    )
