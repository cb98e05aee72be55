"""Claims of the literature held against what was measured: confirmed, contradicted, undecided or not testable here, with the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable

from .annotation import approaches, is_annotation
from .approaches import Approach
from .comparisons import Comparison
from .details import labelled_cells
from .gather import Gathered
from .intervals import Interval, against_best
from .literature import Claim, Side, Test, literature
from .verdict import MARGIN
from .words import listing, number, title

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
            return f"{told} in {self.metric}, no interval"
        return f"{told} in {self.metric}; difference {number(d.estimate, signed=True)} ({number(d.low)} to {number(d.high)})"


@dataclass(frozen=True)
class Judged:
    """A claim and what this study says of it."""

    claim: Claim
    answer: Answer
    because: str
    rows: tuple[Row, ...] = ()


def judge(gathered: Gathered, claims: Sequence[Claim] | None = None) -> list[Judged]:
    """Every claim of the literature (or those given), in their order.

    Of two claims that contradict each other not both are confirmed: where the rows of each speak for it, neither is decided.
    """
    bench = _Bench(gathered)
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


class _Lacking(Exception):
    """Why a claim cannot be tested on a comparison."""


@dataclass(frozen=True, eq=False)
class _Bench:
    """What claims are tested on."""

    gathered: Gathered

    @cached_property
    def told(self) -> dict[str, Any]:
        return {run.spec.key: run.facts for run in self.gathered.runs}

    def judged(self, claim: Claim) -> Judged:
        if claim.test is None:
            return Judged(claim, "not testable", claim.because)
        of_task = [c for c in self.gathered.comparisons if any(fnmatchcase(c.key.task, pattern) for pattern in claim.test.tasks)]
        if not of_task:
            return Judged(claim, "not testable", f"none of these tasks was scored: {listing(claim.test.tasks)}")
        rows: list[Row] = []
        lacking: list[str] = []
        for comparison in of_task:
            try:
                rows += self._rows(comparison, claim.test)
            except _Lacking as reason:
                lacking.append(str(reason))
        if not rows:
            return Judged(claim, "not testable", "; ".join(dict.fromkeys(lacking)))
        return Judged(claim, *_together(rows), tuple(rows))

    def _rows(self, comparison: Comparison, test: Test) -> list[Row]:
        self._check_conditions(comparison, test)
        known = approaches([comparison], self.told)
        first, second = (self._side(comparison, side, known) for side in (test.first, test.second))
        if not test.same_net:
            return [_row(comparison, first, second, test)]
        of_net = [(net, [m for m in second if known[m].net == net]) for net in dict.fromkeys(known[m].net for m in first)]
        rows = [_row(comparison, [m for m in first if known[m].net == net], others, test) for net, others in of_net if others]
        if not rows:
            raise _Lacking(f"no net was scored both as {test.first.words} and as {test.second.words}")
        return rows

    def _check_conditions(self, comparison: Comparison, test: Test) -> None:
        facts = self.gathered.facts[comparison.key.dataset]
        if len(facts.batch_counts) < test.least_batches:
            raise _Lacking(f"{facts.name} has {len(facts.batch_counts)} batches; at least {test.least_batches} are needed")
        if test.least_cells is None and test.most_cells is None:
            return
        n_cells = self._n_cells(comparison)
        if n_cells is None:
            raise _Lacking(f"how many cells of {facts.name} were learnt from is not recorded")
        least, most = test.least_cells or 0, test.most_cells or n_cells
        if not least <= n_cells <= most:
            wanted = f"{least:,} or more" if n_cells < least else f"{most:,} or fewer"
            raise _Lacking(f"{n_cells:,} cells were learnt from in {title(comparison.key)}; the claim is about {wanted}")

    def _n_cells(self, comparison: Comparison) -> int | None:
        if not is_annotation(comparison.key.task, self.gathered.cards.tasks):
            return self.gathered.facts[comparison.key.dataset].n_cells
        return labelled_cells(comparison, self.gathered.runs)

    def _side(self, comparison: Comparison, side: Side, known: dict[str, Approach]) -> list[str]:
        """Methods of a side that have a score, best first; of models only those whose weights are the published ones."""
        ranked = comparison.primary_values.sort_values(ascending=False, kind="stable").index
        mine = [m for m in ranked if self._is_of(comparison, m, side, known[m])]
        if not mine:
            raise _Lacking(f"nothing that is {side.words} was scored in {title(comparison.key)}")
        if side.kind == "cheap":
            return mine
        published = [m for m in mine if self._is_published(comparison, m)]
        if not published:
            raise _Lacking(f"the weights of {listing(mine)} are not known to be published ones, so they decide nothing on published models")
        return published

    def _is_of(self, comparison: Comparison, method: str, side: Side, own: Approach) -> bool:
        kind = comparison.kinds[method]
        named = ((side.methods, method), (side.nets, own.net), (side.heads, own.head))
        if any(wanted and name not in wanted for wanted, name in named):
            return False
        if side.kind == "cheap":
            return kind == "baseline"
        if side.kind == "untrained":
            return own.twin
        if kind != "model":
            return False
        is_frozen = own.way == "whole" and not is_annotation(comparison.key.task, self.gathered.cards.tasks)
        ways = {"zero-shot": ("zero-shot",), "probe": ("probe",), "frozen": ("zero-shot", "probe"), "adapted": ("adapted",)}
        return side.kind == "model" or own.way in ways[side.kind] or (is_frozen and side.kind in ("zero-shot", "frozen"))

    def _is_published(self, comparison: Comparison, method: str) -> bool:
        keys = comparison.rows.loc[comparison.rows["method"] == method, "run_key"]
        return all((self.told[key].get("weights") or {}).get("published") or comparison.kinds[method] == "control" for key in keys)


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
    places_of = {answer: [row.where for row in rows if row.answer == answer] for answer in ("confirmed", "contradicted")}
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
