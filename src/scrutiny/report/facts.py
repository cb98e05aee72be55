"""What is known of the data sets of a study, read from its records; what is not recorded is unknown, never assumed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from .privacy import without_traces

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Confounding:
    """How far batch and label go together.

    Attributes
    ----------
    cramers_v
        Association of the two columns, 0 independent to 1 the same; None: not recorded.
    labels_in_one_batch
        Labels that occur in a single batch, of ``n_labels``.
    technical_twins
        Technical columns (channel, plate ...) each value of which goes with one label, so that the two cannot be told apart.
    """

    cramers_v: float | None = None
    labels_in_one_batch: tuple[str, ...] = ()
    n_labels: int | None = None
    technical_twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetFacts:
    """Facts of one data set; None, '' and empty mean that nobody recorded them."""

    name: str
    n_cells: int | None = None
    n_genes: int | None = None
    organism: str = UNKNOWN
    roles: Mapping[str, str] = field(default_factory=dict)
    label_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    label_origin: str = UNKNOWN
    labels: str = ""
    """How the labels were made, in a sentence."""
    planted: str = ""
    catalog: str = ""
    layer: str = ""
    """Where the values were taken from, if somebody asked for it."""
    chosen_cells: Mapping[str, Any] = field(default_factory=dict)
    """``without`` and ``hold_out``: column to values of the cells that the user left or held out."""
    source: str = ""
    citation: str = ""
    cells_before_sampling: int | None = None
    label_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Label column to label to number of cells."""
    batch_counts: Mapping[str, int] = field(default_factory=dict)
    confounding: Mapping[str, Confounding] = field(default_factory=dict)
    """Label column to how it goes together with the batch."""
    ontology: Mapping[str, Any] = field(default_factory=dict)
    """Terms of the labels as the study recorded them: ``version``, ``unmapped``, ``labels`` and ``tree``; empty without an ontology."""


def dataset_facts(name: str, record: Mapping[str, Any], cells: pd.DataFrame | None) -> DatasetFacts:
    """Facts of a data set.

    Parameters
    ----------
    record
        What the study kept of it (``Store.study()["datasets"][name]``); anything may be missing.
    cells
        Columns that were used, index cell id (``Store.cells``); None if they are gone.
    """
    told = record.get("facts") or {}
    roles = {str(role): str(column) for role, column in (record.get("roles") or {}).items()}
    notes = tuple(without_traces(str(note)) for note in record.get("notes") or ())
    labels = [c for c in record.get("label_columns") or [roles.get("label")] if c]
    batch = roles.get("batch", "")
    return DatasetFacts(
        name=name,
        n_cells=record.get("n_cells"),
        n_genes=record.get("n_genes"),
        organism=str(record.get("organism") or UNKNOWN),
        roles=roles,
        label_columns=tuple(labels),
        notes=notes,
        label_origin=str(told.get("label_origin") or UNKNOWN),
        labels=str(told.get("labels") or ""),
        planted=str(told.get("planted") or ""),
        catalog=str(told.get("catalog") or ""),
        layer=str(told.get("layer") or ""),
        chosen_cells={name: json.loads(told[name]) for name in ("without", "hold_out") if name in told},
        source=without_traces(str(told.get("source") or "")),
        citation=str(told.get("citation") or ""),
        cells_before_sampling=_cells_before_sampling(notes),
        label_counts={column: _counts(cells, column) for column in labels if cells is not None and column in cells},
        batch_counts=_counts(cells, batch) if cells is not None and batch in cells else {},
        confounding={column: _confounding(record, column) for column in labels},
        ontology=record.get("ontology") or {},
    )


def _cells_before_sampling(notes: Sequence[str]) -> int | None:
    """Number of cells that a sample was drawn from, as the note of the sampling says it."""
    found = [match for note in notes if (match := re.search(r"sample of [\d,]+ of ([\d,]+) cells", note))]
    return int(found[0].group(1).replace(",", "")) if found else None


def _counts(cells: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(value): int(n) for value, n in cells[column].astype(str).value_counts().items()}


def _confounding(record: Mapping[str, Any], column: str) -> Confounding:
    found = (record.get("confounding") or {}).get(column) or {}
    return Confounding(
        cramers_v=found.get("cramers_v"),
        labels_in_one_batch=tuple(map(str, found.get("labels_in_one_batch") or ())),
        n_labels=found.get("n_labels"),
        technical_twins=tuple(map(str, (record.get("technical_twins") or {}).get(column) or ())),
    )
