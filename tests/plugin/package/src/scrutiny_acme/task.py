"""A task: are labels apart in batches that the method was not fitted on?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scrutiny import CellEmbedding, Dataset, NotApplicable, Problem, TaskCard


class UnseenBatches:
    card = TaskCard(
        "acme/unseen_batches",
        "are labels apart in the half of the batches that the method was not fitted on?",
        asks="embed",
        metrics=("knn_purity", "acme/centroid_accuracy"),
        primary="knn_purity",
        roles=frozenset({"label", "batch"}),
    )

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        batches = np.unique(data.role("batch"))
        if len(batches) < 2:
            raise NotApplicable(f"'{data.name}' has one batch; one to fit on and one to ask about are needed")
        unseen = np.isin(data.role("batch"), rng.permutation(batches)[: len(batches) // 2])
        train, query = data.take(np.flatnonzero(~unseen)), data.take(np.flatnonzero(unseen))
        return Problem(train, query.hide("label"), {"labels": query.role("label")})

    def context(self, data: Dataset) -> Mapping[str, np.ndarray]:
        return {}  # evidence that no method changes, if there is any

    def evidence(self, output: CellEmbedding, problem: Problem) -> Mapping[str, Any]:
        return {"embedding": output.values, "labels": problem.truth["labels"]}
