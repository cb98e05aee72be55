"""Tasks on all cells of a data set at once: do cell types stay apart, and do batches mix?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.protocols import Problem
from scrutiny.data.prepare import pca

from .cell_cycle import phase_scores

HIDDEN = ("label", "pseudotime")
"""Roles that no method sees; batches are known to every laboratory, so methods may read those."""

PROBES = ("probe_logreg_macro_f1", "probe_logreg_accuracy", "probe_knn_macro_f1", "probe_knn_accuracy")
CLUSTERS = ("nmi_louvain", "ari_louvain", "nmi_leiden", "ari_leiden", "nmi_kmeans", "ari_kmeans")
SEPARATION = ("asw_label", "knn_purity", "clisi", "clisi_graph", "graph_connectivity", "graph_connectivity_directed")
ISOLATED = ("isolated_f1", "isolated_asw")
CONSERVATION = ("trajectory", "cell_cycle", "hvg_overlap")
MIXING = ("ilisi", "ilisi_graph", "batch_entropy", "kbet", "asw_batch_global", "pcr_batch", "pcr_comparison")
MIXING_IN_LABELS = ("asw_batch", "bras", "kbet_label")


class AllCells:
    """Train and query are the same unlabelled cells, so methods that embed all cells at once can take part."""

    card: ClassVar[TaskCard]
    evidence_of_role: ClassVar[Mapping[str, str]]
    """Role -> the name that metrics know its values by."""

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        for role in sorted(self.card.roles):
            _check_varied(data, role)
        blind = data.hide(*HIDDEN)
        truth = {name: data.role(role) for role, name in self.evidence_of_role.items() if data.has(role)}
        return Problem(blind, blind, truth)

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        return {name: made for name, make in CONTEXT.items() if (made := _if_applicable(make, data)) is not None}

    def evidence(self, output: CellEmbedding, problem: Problem) -> Mapping[str, Any]:
        return {"embedding": output.values, **problem.truth}


class CellTypes(AllCells):
    """Can the known cell types be read off the embedding?"""

    card = TaskCard(
        "cell_types",
        "do cells of a type lie together and apart from others, and can the type be read off in batches not seen?",
        asks="embed",
        metrics=(*PROBES, "avg_bio", *CLUSTERS, *SEPARATION, *ISOLATED, *CONSERVATION),
        primary="probe_logreg_macro_f1",
        roles=frozenset({"label"}),
        optional=frozenset({"batch", "pseudotime"}),
        query_visible=True,
    )
    evidence_of_role = {"label": "labels", "batch": "batch"}


class Integration(AllCells):
    """Do batches mix while cell types stay apart?"""

    card = TaskCard(
        "integration",
        "do batches mix while cell types stay apart?",
        asks="embed",
        metrics=("scib_total", "scib_batch", "scib_bio", *MIXING, *MIXING_IN_LABELS, *CLUSTERS, *SEPARATION, *ISOLATED, *CONSERVATION),
        primary="scib_total",
        roles=frozenset({"label", "batch"}),
        optional=frozenset({"pseudotime"}),
        query_visible=True,
    )
    evidence_of_role = {"label": "labels", "batch": "batch"}


class BatchMixing(AllCells):
    """Do batches mix? Without labels nothing tells whether biology got lost on the way: noise mixes best."""

    card = TaskCard(
        "batch_mixing",
        "do batches mix? without labels nothing tells whether biology was lost on the way",
        asks="embed",
        metrics=(*MIXING, *CONSERVATION),
        primary="ilisi",
        roles=frozenset({"batch"}),
        optional=frozenset({"pseudotime"}),
        query_visible=True,
    )
    evidence_of_role = {"batch": "batch"}


def reference(data: Dataset) -> NDArray[np.float32]:
    """What the cells look like before anybody integrates: (n_cells, <=50) principal components of log-normalised variable genes."""
    return pca(data).transform(data)


def pseudotime(data: Dataset) -> NDArray[np.float64]:
    """Position (n_cells,) of each cell along a known trajectory; NaN off it. Raises NotApplicable without such numbers."""
    column = data.roles.get("pseudotime")
    values = pd.to_numeric(data.obs[column], errors="coerce").to_numpy(np.float64) if column is not None else np.array([])
    if not np.isfinite(values).any():
        raise NotApplicable(f"'{data.name}' has no numbers in the role 'pseudotime'")
    return values


CONTEXT: Mapping[str, Callable[[Dataset], NDArray[Any]]] = {
    "reference": reference,
    "phase_scores": phase_scores,
    "pseudotime": pseudotime,
}
"""Evidence that no method changes, and what makes it."""


def _if_applicable(make: Callable[[Dataset], NDArray[Any]], data: Dataset) -> NDArray[Any] | None:
    """What is made of the data, or None where it cannot be: metrics that ask for it then say that the task does not give it."""
    try:
        return make(data)
    except NotApplicable:
        return None


def _check_varied(data: Dataset, role: str) -> None:
    values = np.unique(data.role(role))
    if len(values) < 2:
        raise NotApplicable(f"'{data.name}' has one value in the role '{role}' ('{values[0]}'); at least two are needed")
