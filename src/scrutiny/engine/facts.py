"""What a reader of the results must know beside the numbers: of the data sets, and of each Run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd

from scrutiny.core.cards import MethodCard, TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.keys import digest_of_json, digest_of_strings
from scrutiny.core.ontology import LabelTerms
from scrutiny.core.registry import METRICS
from scrutiny.data.confounding import confounding, technical_twins

from .resample import DONOR

IN_TABLE = ("family", "better", "low", "high", "floor", "roof", "label_tuned")
"""Fields of a metric's card that every Run carries, so that its table can be read where the metric is not installed."""
COUNTS = {"label": "n_labels", "batch": "n_batches"}


def task_facts(task: TaskCard, data: Dataset) -> dict[str, Any]:
    """Facts of all Runs of a task on a data set that has the label column in its role."""
    cards = {name: METRICS.get(name).card for name in task.metrics}
    counted = {count: role for role, count in COUNTS.items() if role in task.roles | task.optional and data.has(role)}
    return {
        "n_cells": data.n_cells,
        "n_genes": data.n_genes,
        "organism": data.organism,
        "label_column": label_column(task, data),
        "content": content(data, task.roles | task.optional | {DONOR}),
        **{count: len(pd.unique(data.role(role))) for count, role in counted.items()},
        "primary": task.primary,
        "metrics": {name: {field: getattr(card, field) for field in IN_TABLE} for name, card in cards.items()},
    }


def method_facts(method: Any, data: Dataset) -> dict[str, Any]:
    """Facts of all Runs of a method on a data set.

    One that has more to tell (its weights, how many genes) offers ``facts(data)``; one that a reader knows by another name than its own
    has that name as ``called``, which is part of no key.
    """
    card: MethodCard = method.card
    try:
        more = method.facts(data) if hasattr(method, "facts") else {}
    except NotApplicable:  # which the Run itself says
        more = {}
    return {"kind": card.kind, "trained_on": card.trained_on, "called": getattr(method, "called", ""), **more}


def label_column(task: TaskCard, data: Dataset) -> str:
    """Column that the task scores against; '' where it uses no labels."""
    return data.roles.get("label", "") if "label" in task.roles | task.optional else ""


def content(data: Dataset, roles: Iterable[str]) -> dict[str, str]:
    """Keys of the values and of the columns in these roles ('' where there is none): a Run is on the data set that has the same ones."""
    return {"values": data.fingerprint, **{role: data.column_key([role]) if data.has(role) else "" for role in sorted(set(roles))}}


def dataset_facts(data: Dataset, labels: tuple[str, ...]) -> dict[str, Any]:
    """Facts of a data set whose columns ``labels`` are scored against."""
    views = {column: data.with_roles(label=column) for column in labels}
    return {
        "key": cells_key(data, labels),
        "content": content(data, {*data.roles} - {"label"}),
        "labels": {column: view.column_key(["label"]) for column, view in views.items()},
        "n_cells": data.n_cells,
        "n_genes": data.n_genes,
        "organism": data.organism,
        "scale": str(data.scale),
        "roles": dict(data.roles),
        "label_columns": list(labels),
        "facts": dict(data.facts),
        "notes": list(data.notes),
        "confounding": {column: found for column, view in views.items() if (found := _confounding(view))},
        "technical_twins": {column: list(technical_twins(view)) for column, view in views.items()},
        **({"ontology": _ontology(data, labels)} if data.terms is not None else {}),
    }


def _ontology(data: Dataset, columns: Iterable[str]) -> dict[str, Any]:
    """Which term each label is, and how the terms hang together."""
    terms = cast(LabelTerms, data.terms)
    known = {str(label) for column in columns for label in pd.unique(data.obs[column].astype(str))}
    return {
        "version": terms.ontology.version,
        "key": terms.key,
        "n_mapped": len(known & terms.by_label.keys()),
        "unmapped": sorted(known - terms.by_label.keys()),
        "labels": {
            label: {"id": term, "name": terms.ontology.name(term), "found_by": terms.found_by.get(label, "")}
            for label, term in terms.by_label.items()
        },
        "tree": [branch._asdict() for branch in terms.tree],
    }


def cells(data: Dataset, labels: tuple[str, ...]) -> dict[str, Any]:
    """``cell_id`` and the columns that are used, each (n_cells,) str."""
    columns = sorted({*data.roles.values(), *labels})
    return {"cell_id": data.cell_ids, **{column: data.obs[column].astype(str).to_numpy(str) for column in columns}}


def cells_key(data: Dataset, labels: tuple[str, ...]) -> str:
    return digest_of_json({name: digest_of_strings(values) for name, values in cells(data, labels).items()})


def _confounding(view: Dataset) -> Mapping[str, Any] | None:
    if not view.has("batch"):
        return None
    try:
        found = confounding(view.role("label"), view.role("batch"))
    except NotApplicable:
        return None
    return {name: getattr(found, name) for name in found.__dataclass_fields__}
