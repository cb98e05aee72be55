"""What a data set says of annotation: every split of one label column, and which of them stands first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .approaches import Approach, approach
from .comparisons import Comparison
from .verdict import Verdict

if TYPE_CHECKING:
    from .gather import Gathered

ASKS = "predict_labels"
FEW = re.compile(r"annotation_few_(\d+)")
"""Tasks that show so many labelled cells of each type."""
RANDOM = "annotation_random"
UNSEEN = "annotation_unseen_types"
FIRST = ("annotation", "annotation_across_studies", "annotation_across_donors", RANDOM)
"""Which split stands for the data set: the first of these that was scored, unseen types last of all: their score is another."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """All splits on which the labels of one column of a data set were told.

    Attributes
    ----------
    splits
        Task to its comparison, the chief one first.
    verdicts
        Task to what can be said of it.
    approaches
        Method, as readers know it, to how it comes to its labels.
    """

    dataset: str
    label_column: str
    splits: Mapping[str, Comparison]
    verdicts: Mapping[str, Verdict]
    approaches: Mapping[str, Approach]

    @property
    def chief(self) -> Comparison:
        """The split that all other pictures are drawn of."""
        return next(iter(self.splits.values()))

    @property
    def verdict(self) -> Verdict:
        return self.verdicts[self.chief.key.task]

    @cached_property
    def shots(self) -> dict[int, Comparison]:
        """Labelled cells of each type to the comparison, ascending."""
        found = {int(match[1]): split for task, split in self.splits.items() if (match := FEW.fullmatch(task))}
        return dict(sorted(found.items()))

    @cached_property
    def cheap(self) -> str | None:
        """The best cheap baseline of the chief split."""
        return next(iter(self.chief.methods("baseline")), None)

    def best(self, *ways: str) -> str | None:
        """The best model of the chief split that goes one of these ways."""
        return next((m for m in self.chief.methods("model") if self.approaches[m].way in ways), None)

    def best_of(self, net: str, *ways: str) -> str | None:
        """The best of a net that goes one of these ways on the chief split."""
        return next((m for m in self.chief.methods("model") if self.approaches[m].net == net and self.approaches[m].way in ways), None)

    @cached_property
    def shown(self) -> list[str]:
        """Methods that are looked at closely: the best model and cheap baseline, then the best zero-shot, probe and adaptation."""
        first = sorted(filter(None, [next(iter(self.chief.methods("model")), None), self.cheap]), key=self.chief.contenders.index)
        wanted = [*first, self.best("zero-shot"), self.best("probe"), self.best("adapted")]
        return [method for method in dict.fromkeys(wanted) if method is not None][:4]


def annotated(gathered: Gathered) -> list[Annotated]:
    """One entry a data set and label column that labels were told of, in the order of the report."""
    told = {run.spec.key: run.facts for run in gathered.runs}
    verdicts = {verdict.key: verdict for verdict in gathered.verdicts}
    grouped: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in gathered.comparisons:
        if is_annotation(comparison.key.task, gathered.cards.tasks):
            grouped.setdefault((comparison.key.dataset, comparison.key.label_column), []).append(comparison)
    return [
        Annotated(
            dataset,
            column,
            {split.key.task: split for split in sorted(splits, key=_place)},
            {split.key.task: verdicts[split.key] for split in splits},
            approaches(splits, told),
        )
        for (dataset, column), splits in grouped.items()
    ]


def is_annotation(task: str, cards: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a task asks for labels, by its card as the study recorded it."""
    return bool(cards.get(task, {}).get("asks") == ASKS)


def approaches(splits: Sequence[Comparison], told: Mapping[str, Mapping[str, Any]]) -> dict[str, Approach]:
    """Method, as readers know it, to its approach; ``told`` has the facts of Runs by key. A twin goes the way of its model."""
    found = {
        row.method: approach(row.method, row.kind, told.get(row.run_key, {}), row.registered)
        for split in splits
        for row in split.rows.drop_duplicates("method").itertuples()
    }
    ways = {(known.net, known.head): known.way for known in found.values() if not known.twin}
    return {method: known._replace(way=ways.get((known.net, known.head), known.way)) for method, known in found.items()}


def _place(split: Comparison) -> tuple[bool, int, bool, int, str]:
    """Among splits: unseen types last, few labels before them, those with the most labels first."""
    task = split.key.task
    few = FEW.fullmatch(task)
    return task == UNSEEN, FIRST.index(task) if task in FIRST else len(FIRST), bool(few), -int(few[1]) if few else 0, task
