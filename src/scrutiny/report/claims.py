"""Claims of the literature held against what was measured: confirmed, contradicted, undecided or not testable here, with the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable

from .claim_ground import Ground, Lacking
from .comparisons import Comparison
from .gather import Gathered
from .intervals import Interval, against_best
from .literature import Claim, Test, literature
from .verdict import MARGIN
from .words import listing, metric_words, number, title

Answer = Literal["confirmed", "contradicted", "undecided", "not testable"]
ANSWERS: tuple[Answer, ...] = ("contradicted", "confirmed", "undecided", "not testable")
"""In the order of display."""


class Row(NamedTuple):
    """What a claim rests on: the two methods of one comparison, their primary values and the paired difference (positive: the first)."""

    where: str
    metric: str
    first: str
    first_value: float
    second: str
    second_value: float
    difference: Interval | None
    answer: Answer

    def __str__(self) -> str:
        told = f"{self.where}: {self.first} {number(self.first_value, digits=3)}, {self.second} {number(self.second_value, digits=3)}"
        if (d := self.difference) is None:
            return f"{told} in {metric_words(self.metric)}, no interval"
        return f"{told} in {metric_words(self.metric)}; difference {number(d.estimate, signed=True)} ({number(d.low)} to {number(d.high)})"


@dataclass(frozen=True)
class Judged:
    """A claim and what this study says of it."""

    claim: Claim
    answer: Answer
    because: str
    rows: tuple[Row, ...] = ()


def judge(gathered: Gathered, claims: Sequence[Claim] | None = None, *, any_weights: bool = False) -> list[Judged]:
    """Every claim of the literature (or those given), in their order.

    Of two claims that contradict each other not both are confirmed: where the rows of each speak for it, neither is decided.

    Parameters
    ----------
    any_weights
        Whether models may answer whose weights nobody published, such as small nets of one's own. The answers are then of these nets, and
        say nothing on the models that a claim is about.
    """
    bench = _Bench(gathered, any_weights)
    found = {claim.id: bench.judged(claim) for claim in (literature() if claims is None else claims)}
    return [_unless_both(own, found) for own in found.values()]


def _unless_both(own: Judged, found: Mapping[str, Judged]) -> Judged:
    others = [other for other in own.claim.contradicts if other in found and found[other].answer == "confirmed"]
    if own.answer != "confirmed" or not others:
        return own
    return replace(own, answer="undecided", because=f"its rows speak for it, and those of {listing(others)} for the opposite")


def answered(difference: Interval | None, says: str) -> Answer:
    """What a paired difference of the first from the second side says of a claim.

    ``better`` is confirmed above `MARGIN` with an interval above 0, and contradicted where the opposite is so sure; ``no better`` is
    confirmed where the whole interval lies below the margin, and contradicted where the first is surely better.
    """
    if difference is None:
        return "undecided"
    is_better = difference.estimate > MARGIN and difference.low > 0
    if says == "no better":
        return "contradicted" if is_better else "confirmed" if difference.high < MARGIN else "undecided"
    if is_better:
        return "confirmed"
    return "contradicted" if difference.estimate < -MARGIN and difference.high < 0 else "undecided"


@dataclass(frozen=True, eq=False)
class _Bench:
    """What claims are tested on."""

    gathered: Gathered
    any_weights: bool

    @cached_property
    def grounds(self) -> list[Ground]:
        told = {run.spec.key: run.facts for run in self.gathered.runs}
        return [Ground(comparison, self.gathered, told, self.any_weights) for comparison in self.gathered.comparisons]

    def judged(self, claim: Claim) -> Judged:
        if claim.test is None:
            return Judged(claim, "not testable", claim.because)
        of_task = [g for g in self.grounds if any(fnmatchcase(g.comparison.key.task, pattern) for pattern in claim.test.tasks)]
        if not of_task:
            return Judged(claim, "not testable", f"none of these tasks was scored: {listing(claim.test.tasks)}")
        rows: list[Row] = []
        lacking: list[str] = []
        for ground in of_task:
            try:
                rows += _rows(ground, claim.test)
            except Lacking as reason:
                lacking.append(str(reason))
        if not rows:
            return Judged(claim, "not testable", "; ".join(dict.fromkeys(lacking)))
        return Judged(claim, *_together(rows), tuple(rows))


def _rows(ground: Ground, test: Test) -> list[Row]:
    """What one comparison says. Raises Lacking if it says nothing."""
    ground.check(test)
    first, second = ground.methods(test.first), ground.methods(test.second)
    if not test.same_net:
        return [_row(ground.comparison, first, second, test)]
    net = {method: ground.approaches[method].net for method in (*first, *second)}
    pairs = [([m for m in first if net[m] == one], [m for m in second if net[m] == one]) for one in dict.fromkeys(net[m] for m in first)]
    rows = [_row(ground.comparison, own, others, test) for own, others in pairs if others]
    if not rows:
        raise Lacking(f"no net was scored both as {test.first.words} and as {test.second.words}")
    return rows


def _row(comparison: Comparison, first: Sequence[str], second: Sequence[str], test: Test) -> Row:
    difference = _difference(comparison, first, second)
    values = {m: comparison.value(m, comparison.primary) or 0.0 for m in (first[0], second[0])}
    sides = (first[0], values[first[0]], second[0], values[second[0]])
    return Row(title(comparison.key), comparison.primary, *sides, difference, answered(difference, test.says))


def _difference(comparison: Comparison, first: Sequence[str], second: Sequence[str]) -> Interval | None:
    """The best of one side against the best of the other; each is chosen on other cells than those they are compared on."""
    kept, held = comparison.replicates
    there = [m for m in first if m in kept]
    if not there:
        return None
    own = _chosen(kept[there], held[there])
    try:
        return against_best("", second, kept.assign(**{"": own}), held.assign(**{"": own})).difference
    except NotApplicable:
        return None


def _chosen(kept: pd.DataFrame, held: pd.DataFrame) -> NDArray[np.float64]:
    """Values (n_replicates,) of the method that is best on the cells left out of each."""
    best = held.fillna(-np.inf).to_numpy(float).argmax(axis=1)
    return np.asarray(kept.to_numpy(float)[np.arange(len(kept)), best])


def _together(rows: Sequence[Row]) -> tuple[Answer, str]:
    """One answer of several rows."""
    decided: tuple[Answer, ...] = ("confirmed", "contradicted")
    places_of = {answer: [row.where for row in rows if row.answer == answer] for answer in decided}
    if places_of["confirmed"] and places_of["contradicted"]:
        told = f"confirmed on {listing(places_of['confirmed'])}, contradicted on {listing(places_of['contradicted'])}"
        return "undecided", f"it depends: {told}"
    for answer, places in places_of.items():
        if places:
            n_open = len(rows) - len(places)
            return answer, f"by {len(places)} of {len(rows)} rows; the others are too close to call" if n_open else ""
    return "undecided", "the interval holds 0, or the difference is within the margin"


def disputes(judged: Sequence[Judged]) -> list[tuple[Judged, ...]]:
    """Claims that contradict each other, put together; then those that nobody contradicts, each alone. Decided ones come first."""
    found = {one.claim.id: one for one in judged}
    together: list[tuple[Judged, ...]] = []
    placed: set[str] = set()
    for id_ in found:
        group, new = [], [id_] if id_ not in placed else []
        while new:
            placed |= set(new)
            group += new
            new = [o for i in new for o in found[i].claim.contradicts if o in found and o not in placed]
            new = list(dict.fromkeys(new))
        if group:
            together.append(tuple(found[i] for i in group))
    return sorted(together, key=lambda group: (min(ANSWERS.index(one.answer) for one in group), len(group) == 1))
