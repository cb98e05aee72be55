"""Whether an embedding knows which cell types are kin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.protocols import Problem

from .cells import AllCells, reference


class TypeRelations(AllCells):
    """Do types lie as near each other as the Cell Ontology, and the data themselves, have them?"""

    card = TaskCard(
        "type_relations",
        "do types that are kin in the Cell Ontology lie near each other?",
        asks="embed",
        metrics=("scgraph_ontorwr", "scgraph", "ari_ontology", "nmi_ontology", "rogi"),
        primary="scgraph_ontorwr",
        roles=frozenset({"label"}),
        optional=frozenset({"batch"}),
        query_visible=True,
        reads_terms=True,
    )
    evidence_of_role = {"label": "labels", "batch": "batch"}

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        problem = super().pose(data, rng)
        return replace(problem, truth={**problem.truth, "terms": data.terms}) if data.terms is not None else problem

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {"reference": reference(data)}
