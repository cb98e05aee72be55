"""How bad mistakes are: told labels weighed by the Cell Ontology, beside labels dealt at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .annotation import Annotated
from .verdict import NOISE_LABELS
from .words import listing, number

METRICS = {
    "accuracy_term": ("right", "share of cells told their very term"),
    "accuracy_subtype": ("right or a subtype", "share told their term or a kind of it"),
    "hierarchical_f1": ("hierarchical F1", "terms and all above them, told against true"),
    "lcad": ("steps of a mistake", "from the true to the told term in the tree; fewer is milder"),
}
"""Metric to its heading and what it is."""


class Row(NamedTuple):
    """One method; values are None where a metric has none."""

    method: str
    values: Mapping[str, float | None]


def rows(found: Annotated) -> list[Row]:
    """The methods that are looked at closely and labels dealt at random; empty where labels are no terms of the ontology."""
    methods = [*found.shown, NOISE_LABELS]
    made = [Row(method, {metric: found.chief.value(method, metric) for metric in METRICS}) for method in methods]
    known = [row for row in made if any(value is not None for value in row.values.values())]
    return known if any(row.method != NOISE_LABELS for row in known) else []


def words(found: list[Row]) -> str:
    """What to see: how far mistakes go, and by how much a subtype that counts as right helps."""
    steps = {row.method: row.values["lcad"] for row in found if row.values["lcad"] is not None}
    if not steps:
        return ""
    told = [f"{method} {number(value, digits=1)}" for method, value in steps.items() if method != NOISE_LABELS]
    floor = f"; of labels dealt at random {number(steps[NOISE_LABELS], digits=1)}" if NOISE_LABELS in steps else ""
    return f"Steps in the tree that a mistake is off: {listing(told)}{floor}." if told else ""
