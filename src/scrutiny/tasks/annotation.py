"""Annotation: learn labels on some cells, tell those of others; what lies between the two is the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.protocols import Problem

from .cells import HIDDEN
from .transfer import held_out_batch, random_training_rows

METRICS = ("macro_f1", "accuracy")


class Annotation:
    """Labels are learnt in all batches but one and told in that one; at random where no batch can be held out."""

    card = TaskCard(
        "annotation",
        "can the labels of a held-out batch be told after learning them in the others?",
        asks="predict_labels",
        metrics=METRICS,
        primary="macro_f1",
        roles=frozenset({"label"}),
        optional=frozenset({"batch"}),
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        labels = data.role("label")
        held = held_out_batch(labels, data.role("batch")) if data.has("batch") else None
        if held is None:
            train_rows = random_training_rows(labels, data.cell_ids, rng)
        else:
            train_rows = data.role("batch") != held
        learnable = np.isin(labels, labels[train_rows])
        query_rows = np.flatnonzero(~train_rows & learnable)
        if len(np.unique(labels[query_rows])) < 2:
            raise NotApplicable(f"'{data.name}': fewer than two labels could be both learnt and told")
        train, query = data.hide("pseudotime").take(np.flatnonzero(train_rows)), data.hide(*HIDDEN).take(query_rows)
        note = f"annotation: {'30% of the cells, drawn at random' if held is None else f'the batch {held}'} held out"
        return Problem(train, replace(query, notes=(*query.notes, note)), {"labels": labels[query_rows]})

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {}

    def evidence(self, output: LabelPrediction, problem: Problem) -> Mapping[str, Any]:
        return {"prediction": output, **problem.truth}
