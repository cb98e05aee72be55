"""What stands behind the numbers: cards as they were when the study ran, citations, versions, and who saw the data in pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from scrutiny.core.scores import Run
from scrutiny.data.catalog import Exposure, catalog

from .facts import UNKNOWN, DatasetFacts

Card = Mapping[str, Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Cards:
    """Cards by name, as JSON: what the study recorded when it ran. A name without a card has an empty one."""

    methods: Mapping[str, Card] = field(default_factory=dict)
    tasks: Mapping[str, Card] = field(default_factory=dict)
    metrics: Mapping[str, Card] = field(default_factory=dict)


def cards(studies: Iterable[Mapping[str, Mapping[str, Any]]]) -> Cards:
    """Cards of several studies put together (``Store.study()`` of each)."""
    merged: dict[str, dict[str, Card]] = {"methods": {}, "tasks": {}, "metrics": {}}
    for study in studies:
        for section, known in merged.items():
            known.update(study.get(section) or {})
    return Cards(**merged)


def citations(found: Cards, datasets: Iterable[DatasetFacts]) -> list[str]:
    """Everything to cite, once each, sorted."""
    listed = [str(card.get("citation") or "") for card in found.methods.values()]
    listed += [str(card.get("source") or "") for card in found.metrics.values()]
    listed += [facts.citation for facts in datasets]
    return sorted({entry.strip() for whole in listed for entry in whole.split(";") if entry.strip()}, key=str.lower)


def exposures(models: Mapping[str, Card], facts: DatasetFacts, told: Mapping[str, Mapping[str, Any]] = NOTHING) -> dict[str, Exposure]:
    """Whether each model saw the data in pretraining; models that were trained on nothing are left out.

    Where the model has the manifest of its corpus that answers; else the catalogue, then the model's own list of training data.

    Parameters
    ----------
    told
        Model to the facts of one of its Runs, with ``exposure`` where the cells were compared with those of its corpus.
    """
    trained = {name: card for name, card in models.items() if card.get("trained_on", None) != []}
    return {name: _exposure(name, card, facts.catalog, told.get(name, NOTHING).get("exposure")) for name, card in trained.items()}


def _exposure(model: str, card: Card, dataset: str, compared: Mapping[str, Any] | None) -> Exposure:
    if compared is not None:
        return Exposure(**compared)
    if dataset in catalog():
        answered = catalog()[dataset].exposure(model)
        if answered.answer != "unknown":
            return answered
    listed = card.get("trained_on")
    if listed is None:
        return Exposure("unknown", "What the model was trained on is not recorded.")
    if not dataset:
        return Exposure("unknown", "These data are not in the catalogue, so no list can hold them.")
    return Exposure("seen" if dataset in listed else "not listed", "The model's card lists its training data.")


class Published(NamedTuple):
    """A published model as it ran on a data set: texts for a table."""

    model: str
    dataset: str
    weights: str
    licence: str
    genes: str
    corpus: str


def published(model: str, card: Card, facts: DatasetFacts, told: Mapping[str, Any]) -> Published:
    """What a reader must know of a model: whose weights, what binds them, how many genes it knew, what it was trained on.

    Parameters
    ----------
    told
        Facts of one of its Runs: ``weights`` and ``genes``.
    """
    weights, genes, about = told.get("weights") or {}, told.get("genes") or {}, card.get("model") or {}
    bound = {False: " (non-commercial)", True: "", None: " (commercial use: nobody says)"}[about.get("commercial")]
    found, of = genes.get("n_found"), facts.n_genes
    return Published(
        model,
        facts.name,
        f"{weights.get('origin', UNKNOWN)}, key {weights.get('key', UNKNOWN)}",
        f"{about.get('weights_licence') or UNKNOWN}{bound}",
        f"{found:,} of {of:,}" if found is not None and of else UNKNOWN,
        str(about.get("corpus") or UNKNOWN),
    )


def versions(runs: Iterable[Run]) -> dict[str, str]:
    """Package to the version that the runs used; several versions stand side by side."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for package, version in run.versions.items():
            found.setdefault(str(package), set()).add(str(version))
    return {package: ", ".join(sorted(seen)) for package, seen in sorted(found.items(), key=lambda item: item[0].lower())}
