"""Annotation from a handful of labelled cells: the split of `annotation`, but few of the training cells show their label."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.labels import UNLABELLED
from scrutiny.core.protocols import Problem

from .annotation import HELD_BY_USER, Annotation, card, posed
from .held_out import chosen_or_batch

ONE_DRAW = "one draw, the same for all methods: intervals do not say how another would score, further seeds of the study do"


class FewShot(Annotation):
    """``shots`` training cells of each type show their label, the others `UNLABELLED`; smaller draws are part of larger ones."""

    shots: ClassVar[int]
    hold = staticmethod(chosen_or_batch)

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        labels, split = data.role("label"), self.split(data, rng)
        of_train = labels[split.train]
        place = draw_order(of_train, data.cell_ids[split.train], rng)
        shown = np.where(place < self.shots, of_train, UNLABELLED)
        names, sizes = np.unique(of_train, return_counts=True)
        fewer = [f"{name} ({n})" for name, n in zip(names, sizes) if n < self.shots]
        n_shown = np.count_nonzero(place < self.shots)
        notes = [f"{n_shown:,} of {len(place):,} training cells show their label, {self.shots} a type: {ONE_DRAW}"]
        notes += [f"types with fewer than {self.shots} training cells show all of them: {', '.join(fewer)}"] if fewer else []
        return posed(data, split._replace(notes=(*split.notes, *notes)), shown)


def draw_order(labels: NDArray[np.str_], cell_ids: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.intp]:
    """Place (n_cells,) of each cell in a random order of the cells of its label, from 0; drawn by cell id."""
    by_id = np.argsort(cell_ids, kind="stable")
    drawn = by_id[rng.permutation(len(by_id))]
    place = np.empty(len(labels), np.intp)
    for name in np.unique(labels):
        rows = drawn[labels[drawn] == name]
        place[rows] = np.arange(len(rows))
    return place


def _card(shots: int) -> TaskCard:
    cells = f"{shots} labelled cell{'s' if shots > 1 else ''}"
    summary = f"can labels be told after learning them from {cells} of each type?"
    return card(f"annotation_few_{shots}", summary, optional=HELD_BY_USER, drawn=True)


class Few1(FewShot):
    """One labelled cell a type."""

    card, shots = _card(1), 1


class Few5(FewShot):
    """Five labelled cells a type."""

    card, shots = _card(5), 5


class Few10(FewShot):
    """Ten labelled cells a type."""

    card, shots = _card(10), 10


class Few50(FewShot):
    """Fifty labelled cells a type."""

    card, shots = _card(50), 50
