"""All that the page shows of the annotation of a data set, put together."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from . import learning_curves
from .adaptations import AdaptationTable, adaptation_table
from .annotation import Annotated, annotated
from .gather import Gathered
from .words import listing, metric_words, number, purpose


@dataclass(frozen=True, eq=False)
class Part:
    """One data set and label column; drawings are None where there is nothing to draw."""

    found: Annotated
    words: str
    table: AdaptationTable
    curves: Markup | None


def parts(gathered: Gathered) -> list[Part]:
    """What is shown, in the order of the report; empty where no labels were told."""
    return [_part(found) for found in annotated(gathered)]


def _part(found: Annotated) -> Part:
    return Part(found, words(found), adaptation_table(found), learning_curves.drawn(found))


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
