"""The order in which labels stand beside each other: down the tree of the ontology, or by what is mistaken for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_TERM = "no term of the ontology"


class Line(NamedTuple):
    """A line of the outline: a label, or a term above labels (``label`` is ''), ``depth`` steps in."""

    words: str
    label: str
    depth: int


class Outline(NamedTuple):
    """Lines from top to bottom, and what they are ordered by."""

    lines: tuple[Line, ...]
    by_ontology: bool

    @property
    def labels(self) -> list[str]:
        return [line.label for line in self.lines if line.label]


def outline(labels: Sequence[str], tree: Sequence[Mapping[str, Any]], confusion: NDArray[np.integer]) -> Outline:
    """The order of labels (n,).

    Parameters
    ----------
    tree
        Branches as a study records them: ``id``, ``name``, ``parents`` and ``labels``; empty where there is no ontology.
    confusion
        (n, n) cells by true and told label.
    """
    known = {str(label) for branch in tree for label in branch["labels"]}
    if not known & set(labels):
        return Outline(tuple(Line(labels[i], labels[i], 0) for i in _by_confusion(confusion)), by_ontology=False)
    lines = list(_down(labels, tree))
    if without := sorted(set(labels) - known):
        lines += [Line(NO_TERM, "", 0), *(Line(label, label, 1) for label in without)]
    return Outline(tuple(lines), by_ontology=True)


def _by_confusion(confusion: NDArray[np.integer]) -> list[int]:
    """Labels that are often taken for each other side by side: average linkage, leaves in the order of least distance."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    distances = squareform(1 - np.clip((shares + shares.T) / 2, 0, 1), checks=False)
    return [int(i) for i in leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))]


def _down(labels: Sequence[str], tree: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Depth first; a term with several parents stands under the one that has fewest labels below."""
    own = {branch["id"]: sorted(set(branch["labels"]) & set(labels)) for branch in tree}
    names = {branch["id"]: branch["name"] for branch in tree}
    below = _below(own, tree)
    kept = [branch for branch in tree if below[branch["id"]]]
    children: dict[str, list[str]] = {}
    for branch in kept:
        parents = sorted((p for p in branch["parents"] if p in below), key=lambda p: (len(below[p]), p))
        children.setdefault(parents[0] if parents else "", []).append(branch["id"])
    for listed in children.values():
        listed.sort(key=lambda term: (-len(below[term]), names[term]))

    def lines(term: str, depth: int) -> Iterator[Line]:
        under = children.get(term, [])
        is_needed = len(own[term]) + len(under) > 1
        if is_needed:
            yield Line(names[term], "", depth)
        for label in own[term]:
            yield Line(label, label, depth + is_needed)
        for child in under:
            yield from lines(child, depth + is_needed)

    roots = children.get("", [])
    for top in children.get(roots[0], []) if len(roots) == 1 and not own[roots[0]] else roots:  # what all are kinds of says nothing
        yield from lines(top, 0)


def _below(own: Mapping[str, Sequence[str]], tree: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Term to the labels that it or anything under it has."""
    found = {term: set(labels) for term, labels in own.items()}
    for _ in tree:  # as many steps as a chain can have
        for branch in tree:
            for parent in branch["parents"]:
                if parent in found:
                    found[parent] |= found[branch["id"]]
    return found
