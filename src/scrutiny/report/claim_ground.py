"""A comparison as claims see it: which methods are of a side, whose weights are the published ones, how many cells were learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .annotation import approaches, is_annotation
from .approaches import Approach
from .comparisons import Comparison
from .details import labelled_cells
from .literature import Side, Test
from .words import listing, title

if TYPE_CHECKING:
    from .gather import Gathered

WAYS = {"zero-shot": ("zero-shot",), "probe": ("probe",), "frozen": ("zero-shot", "probe"), "adapted": ("adapted",)}
"""Kind of a side to the ways of its methods."""


class Lacking(Exception):
    """Why a claim cannot be tested on a comparison."""


@dataclass(frozen=True, eq=False)
class Ground:
    """One comparison; ``told`` has the facts of Runs by key, ``any_weights`` lets models answer whose weights nobody published."""

    comparison: Comparison
    gathered: Gathered
    told: Mapping[str, Mapping[str, Any]]
    any_weights: bool = False

    @cached_property
    def approaches(self) -> Mapping[str, Approach]:
        return approaches([self.comparison], self.told)

    @cached_property
    def ranked(self) -> list[str]:
        """All methods with a primary value, best first."""
        return list(self.comparison.primary_values.sort_values(ascending=False, kind="stable").index)

    @cached_property
    def published(self) -> frozenset[str]:
        """Methods all of whose runs had the published weights; twins have none, and count as their models do."""
        once = self.comparison.rows[["method", "kind", "run_key"]].drop_duplicates()
        others = [
            row.method
            for row in once.itertuples()
            if row.kind != "control" and not (self.told.get(row.run_key, {}).get("weights") or {}).get("published")
        ]
        return frozenset(once["method"]) - set(others)

    @cached_property
    def is_of_labels(self) -> bool:
        return is_annotation(self.comparison.key.task, self.gathered.cards.tasks)

    @cached_property
    def n_cells(self) -> int | None:
        """Labelled cells that were learnt from; where nothing is learnt the cells of the data set. None: not recorded."""
        if self.is_of_labels:
            return labelled_cells(self.comparison, self.gathered.runs)
        return self.gathered.facts[self.comparison.key.dataset].n_cells

    def check(self, test: Test) -> None:
        """Raise Lacking if the data are not what the claim is about."""
        facts = self.gathered.facts[self.comparison.key.dataset]
        if len(facts.batch_counts) < test.least_batches:
            raise Lacking(f"{facts.name} has {len(facts.batch_counts)} batches; at least {test.least_batches} are needed")
        if test.least_cells is None and test.most_cells is None:
            return
        if self.n_cells is None:
            raise Lacking(f"how many cells of {facts.name} were learnt from is not recorded")
        least, most = test.least_cells or 0, test.most_cells or self.n_cells
        if not least <= self.n_cells <= most:
            wanted = f"{least:,} or more" if self.n_cells < least else f"{most:,} or fewer"
            raise Lacking(f"{self.n_cells:,} cells were learnt from in {title(self.comparison.key)}; the claim is about {wanted}")

    def methods(self, side: Side) -> list[str]:
        """Methods of a side that have a score, best first; of models those with published weights. Raises Lacking if there are none."""
        mine = [method for method in self.ranked if self._is_of(method, side)]
        if not mine:
            raise Lacking(f"nothing that is {side.words} was scored in {title(self.comparison.key)}")
        if side.kind == "cheap" or self.any_weights:
            return mine
        published = [method for method in mine if method in self.published]
        if not published:
            raise Lacking(f"the weights of {listing(mine)} are not known to be published ones, so they decide nothing on published models")
        return published

    def _is_of(self, method: str, side: Side) -> bool:
        own, kind = self.approaches[method], self.comparison.kinds[method]
        named = ((side.methods, method), (side.nets, own.net), (side.heads, own.head))
        if any(wanted and name not in wanted for wanted, name in named):
            return False
        if side.kind == "cheap":
            return kind == "baseline"
        if side.kind == "untrained":
            return own.twin
        if kind != "model":
            return False
        is_as_it_is = own.way == "whole" and not self.is_of_labels and side.kind in ("zero-shot", "frozen")
        return side.kind == "model" or is_as_it_is or own.way in WAYS[side.kind]
