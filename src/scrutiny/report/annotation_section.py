"""All that the page shows of the annotation of a data set, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from scrutiny.core.scores import Score

from . import confusion, kinship, learning_curves, reliability, unseen_types
from .adaptations import AdaptationTable, adaptation_table
from .annotation import UNSEEN, Annotated
from .answers import answers
from .contrast import Contrast, contrast
from .details import scores
from .gather import Gathered
from .label_order import Outline
from .label_table import LabelRow, label_rows
from .privacy import without_traces
from .words import listing, metric_words, number, purpose

CALIBRATED = ("reference_mapping", UNSEEN)
"""Tasks in which cells of the reference are asked too, which are not scored."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels one by one: a row each, methods that have a column, the confusions of the first two, and what they are ordered by."""

    rows: tuple[LabelRow, ...]
    methods: tuple[str, ...]
    confusions: tuple[tuple[str, Markup], ...]
    by_ontology: bool
    version: str


@dataclass(frozen=True, eq=False)
class Doubt:
    """Reliability of some methods, each with its words, and how errors fall as doubtful cells are sent back."""

    panels: tuple[tuple[str, str, Markup], ...]
    risk: Markup | None


@dataclass(frozen=True, eq=False)
class Part:
    """One data set and label column; what is None or empty could not be drawn."""

    found: Annotated
    words: str
    table: AdaptationTable
    curves: Markup | None
    held_out: str
    """What was held out, as the task noted it."""
    labels: Labels | None
    kinship: tuple[kinship.Row, ...]
    kinship_words: str
    doubt: Doubt | None
    unseen: tuple[unseen_types.Row, ...]
    contrast: Contrast | None


def parts(gathered: Gathered) -> list[Part]:
    """What is shown, in the order of the report; empty where no labels were told."""
    return [_part(found, gathered) for found in gathered.annotated]


def _part(found: Annotated, gathered: Gathered) -> Part:
    told = scores(found.chief, gathered.runs)
    unseen = found.splits.get(UNSEEN)
    kin = kinship.rows(found)
    return Part(
        found=found,
        words=words(found),
        table=adaptation_table(found),
        curves=learning_curves.drawn(found),
        held_out=_held_out(found, gathered),
        kinship=tuple(kin),
        kinship_words=kinship.words(kin),
        labels=_labels(found, told, gathered.facts[found.dataset].ontology),
        doubt=_doubt(found, told),
        unseen=tuple(unseen_types.rows(unseen, gathered.runs)) if unseen is not None else (),
        contrast=_contrast(found, gathered),
    )


def _held_out(found: Annotated, gathered: Gathered) -> str:
    """The notes of the chief split, without the name of the task before them."""
    keys = set(found.chief.scored["run_key"])
    run = next(run for run in gathered.runs if run.spec.key in keys)
    begin = f"{run.spec.task}: "
    notes = [str(note) for note in run.facts.get("notes", ()) if str(note).startswith(begin)]
    return without_traces("; ".join(note.removeprefix(begin) for note in notes))


def words(found: Annotated) -> str:
    """What to see, in a few sentences: the best zero-shot, probe and adaptation beside the best cheap method."""
    chief = found.chief
    said = []
    if found.cheap:
        said.append(f"the best cheap method is {found.cheap} ({number(chief.value(found.cheap, chief.primary))})")
    for way, word in (("zero-shot", "zero-shot"), ("probe", "probe"), ("adapted", "adaptation")):
        if method := found.best(way):
            said.append(f"the best {word} is {method} ({number(chief.value(method, chief.primary))})")
    told = f"For {purpose(chief.key.task)}, {listing(said)} in {metric_words(chief.primary)}." if said else ""
    missing = [word for way, word in (("zero-shot", "zero-shot"), ("adapted", "adaptation")) if not found.best(way)]
    return f"{told} No {' and no '.join(missing)} of a net was scored.".strip() if missing else told


def _labels(found: Annotated, told: Mapping[str, Mapping[str, Sequence[Score]]], ontology: Mapping[str, Any]) -> Labels | None:
    details = {method: told[method][found.chief.primary][0].details for method in found.shown if method in told}
    confusions = {method: one["confusion"] for method, one in details.items() if one.get("confusion")}
    if not confusions:
        return None
    order: Outline = confusion.common_order(list(confusions.values()), ontology.get("tree") or ())
    drawn = tuple((method, confusion.drawn(method, one, order)) for method, one in list(confusions.items())[:2])
    rows = label_rows({method: details[method] for method in confusions}, order.labels)
    return Labels(tuple(rows), tuple(confusions), drawn, order.by_ontology, str(ontology.get("version") or ""))


def _doubt(found: Annotated, told: Mapping[str, Mapping[str, Sequence[Score]]]) -> Doubt | None:
    panels, risks = [], {}
    for method in (m for m in found.shown if m in told):
        own = told[method]
        bins = reliability.bins_of(own["ece"][0].details) if "ece" in own else []
        if bins:
            error = found.chief.value(method, "ece") or 0.0
            side = "surer than right" if reliability.is_too_sure(bins) else "less sure than right"
            panels.append((method, f"{side}, error {number(error)}", reliability.reliability(method, bins, error)))
        if curve := (own["aurc"][0].details.get("risk_at_coverage") if "aurc" in own else None):
            risks[method] = curve
    return Doubt(tuple(panels), reliability.risk_coverage(risks) if risks else None) if panels or risks else None


def _contrast(found: Annotated, gathered: Gathered) -> Contrast | None:
    """The best model against the best cheap method; without a model the two best cheap ones."""
    pair = [*found.chief.methods("model")[:1], *found.chief.methods("baseline")[:2]][:2]
    if len(pair) < 2 or found.chief.key.task in CALIBRATED:
        return None
    told = answers(found.chief, gathered.stores[found.dataset], gathered.cells.get(found.dataset), pair)
    return contrast(told, *pair) if told is not None and len(told.by_method) == 2 else None
