"""Named evidence of one output: given by the task, or derived from it once and shared by all metrics.

A name is resolved in this order: given by the task, derived (``neighbors`` from ``embedding``), another metric's value
(``avg_bio`` names ``nmi_louvain``). So one kNN search and one Leiden sweep serve every metric that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MissingDependency, NotApplicable
from .registry import DERIVED, METRICS, Derived, Metric
from .scores import Measured


class Evidence:
    """Evidence by name. What failed once fails again with the same error, without being computed again."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self._known: dict[str, Any] = dict(given)
        self._late: dict[str, Callable[[], Any]] = {}
        """Given evidence of a part of the cells that is too large to be cut before somebody asks for it."""
        self._errors: dict[str, Exception] = {}

    @property
    def given(self) -> Mapping[str, Any]:
        return self._given

    def has(self, name: str) -> bool:
        """Whether the name can be resolved at all (computing it may still turn out to be not applicable)."""
        if name in self._known or name in self._late:
            return True
        if name in DERIVED:
            return all(self.has(n) for n in _firm(DERIVED.get(name)))
        return name in METRICS and all(self.has(n) for n in _firm(METRICS.get(name)))

    def __getitem__(self, name: str) -> Any:
        """The evidence of that name; for the name of a metric, its value as a float.

        Raises
        ------
        NotApplicable
            If the task does not give it and it cannot be derived.
        """
        if name in self._errors:
            raise self._errors[name]
        if name not in self._known:
            try:
                self._known[name] = self._make(name)
            except Exception as error:
                self._errors[name] = error
                raise
        value = self._known[name]
        return value.value if isinstance(value, Measured) else value

    def measure(self, metric: str) -> Measured:
        """Value of a metric with its details."""
        self[metric]
        value = self._known[metric]
        return value if isinstance(value, Measured) else Measured(float(value))

    def call(self, source: Metric | Derived) -> Any:
        """What a metric, registered or not, makes of the evidence that it names; its value is not kept."""
        return source(**{n: self[n] for n in source.needs if n not in source.optional or self._applies(n)})

    def part(self, rows: NDArray[np.integer]) -> Evidence:
        """Evidence of some of the cells.

        What the task gave is cut to these rows; derived evidence marked ``rowwise`` (a prediction per cell) is cut too instead of
        being made again; all else is derived afresh from the part, also where the task gave it (neighbours of all cells are not
        those of a part).
        """
        given = {**self._given, **{name: self[name] for name in self._late}}
        n_cells = _n_cells(given)
        whole = {name: value for name, value in given.items() if name not in DERIVED or DERIVED.get(name).rowwise}
        whole |= {name: value for name, value in self._known.items() if name in DERIVED and DERIVED.get(name).rowwise}
        late = {name: value for name, value in whole.items() if name in given and hasattr(value, "part")}
        part = Evidence({name: _rows_of(value, rows, n_cells) for name, value in whole.items() if name not in late})
        part._late = {name: partial(value.part, rows) for name, value in late.items()}
        return part

    def adopt(self, other: Evidence) -> None:
        """Take over what ``other`` made from nothing but arrays that are the same here: tasks on the same cells share one kNN search."""
        same = {name for name in self._given.keys() & other._given.keys() if _is_same(self._given[name], other._given[name])}
        for name in (other._known.keys() | other._errors.keys()) - self._known.keys():
            if self._roots(name) == other._roots(name) <= same:
                if name in other._known:
                    self._known[name] = other._known[name]
                else:
                    self._errors[name] = other._errors[name]

    def _roots(self, name: str) -> set[str]:
        """What the name rests on in the end: names that the task gave, and names that nobody gives."""
        source = None if name in self._given else _source(name)
        if source is None:
            return {name}
        return {root for n in source.needs if n not in source.optional or self.has(n) for root in self._roots(n)}

    def _make(self, name: str) -> Any:
        if name in self._late:
            return self._late[name]()
        source = _source(name)
        if source is None:
            raise NotApplicable(f"needs '{name}', which these data do not give (they give {', '.join(sorted(self._given))})")
        return self.call(source)

    def _applies(self, name: str) -> bool:
        """Whether optional evidence is there. A package that is not installed is no reason to do without: numbers would depend on it."""
        try:
            self[name]
        except MissingDependency:
            raise
        except NotApplicable:
            return False
        return True


def _n_cells(given: Mapping[str, Any]) -> int:
    """Cells that evidence is about: those of its embedding, else of the first thing that tells how many it has."""
    if "embedding" in given:
        return len(given["embedding"])
    return next(int(value.n_cells) for value in given.values() if hasattr(value, "n_cells"))


def _rows_of(value: Any, rows: NDArray[np.integer], n_cells: int) -> Any:
    if hasattr(value, "part"):
        return value.part(rows)
    is_per_cell = isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == n_cells
    return value[rows] if is_per_cell else value


def _source(name: str) -> Any:
    return DERIVED.get(name) if name in DERIVED else METRICS.get(name) if name in METRICS else None


def _is_same(left: Any, right: Any) -> bool:
    return left is right or (isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and np.array_equal(left, right))


def _firm(source: Any) -> list[str]:
    return [n for n in source.needs if n not in source.optional]
