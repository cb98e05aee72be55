"""Label transfer: learn the labels in some batches, recognise them in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.protocols import Problem
from scrutiny.data.splits import hold_out

from .cells import HIDDEN, PROBES

HELD_SHARE = 0.3
"""Share of the cells to be held out: the batch that comes nearest is taken."""
MIN_SHARED_LABELS = 2
"""Labels that the held-out cells and the others must have in common."""


class LabelTransfer:
    """Methods are fitted on the cells of all batches but one; a classifier learns from those cells' embedding and labels.

    The query is all cells, labels hidden, so that both sides of the classifier lie in one space; only the held-out ones are scored.
    Supervised methods take part here: the training cells carry their labels.
    """

    card = TaskCard(
        "label_transfer",
        "can the labels of a held-out batch be recognised after learning them in the others?",
        asks="embed",
        metrics=PROBES,
        primary="probe_logreg_macro_f1",
        roles=frozenset({"label"}),
        optional=frozenset({"batch"}),
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        labels = data.role("label")
        if len(np.unique(labels)) < MIN_SHARED_LABELS:
            raise NotApplicable(f"'{data.name}' has one label only; there is nothing to recognise")
        held = held_out_batch(labels, data.role("batch")) if data.has("batch") else None
        if held is None:
            train_rows = random_training_rows(labels, data.cell_ids, rng)
            note = (
                "label_transfer: no batch could be held out, so 30% of the cells of each label were drawn at random; cells of one "
                "run are on both sides, and such scores promise more than a new batch will keep"
            )
        else:
            train_rows = data.role("batch") != held
            note = f"label_transfer: the batch '{held}' was held out ({np.count_nonzero(~train_rows)} of {data.n_cells} cells)"
        query = data.hide(*HIDDEN)
        train = data.hide("pseudotime").take(np.flatnonzero(train_rows))
        return Problem(train, replace(query, notes=(*query.notes, note)), {"labels": labels, "train_rows": train_rows})

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {}

    def evidence(self, output: CellEmbedding, problem: Problem) -> Mapping[str, Any]:
        return {"embedding": output.values, **problem.truth}


def held_out_batch(labels: NDArray[np.str_], batches: NDArray[np.str_]) -> str | None:
    """The batch whose share of the cells is nearest to 30% (equal ones by name) and that has 2 labels in common with the others.

    Parameters
    ----------
    labels, batches
        (n_cells,) each.

    Returns
    -------
    str or None
        None if there is no such batch.
    """
    names, sizes = np.unique(batches, return_counts=True)
    for name in names[np.argsort(np.abs(sizes / len(batches) - HELD_SHARE), kind="stable")]:
        held = batches == name
        if len(np.intersect1d(labels[held], labels[~held])) >= MIN_SHARED_LABELS:
            return str(name)
    return None


def random_training_rows(labels: NDArray[np.str_], cell_ids: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """True (n_cells,) for about 70% of the cells of each label; drawn by cell id, so the order of the file plays no part."""
    by_id = np.argsort(cell_ids, kind="stable")
    train_rows = np.empty(len(labels), dtype=bool)
    train_rows[by_id] = ~hold_out(labels[by_id], HELD_SHARE, rng)
    return train_rows
