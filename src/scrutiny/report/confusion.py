"""Which label is taken for which, drawn beside the tree of the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .label_order import Outline, outline
from .svg import drawing, node, text, told

CELL, LINE, STEP, MOST_LETTERS = 20.0, 20.0, 12.0, 30
SAID = 0.1
"""Shares from this on are written into their square."""


def matrix(confusion: Mapping[str, Any]) -> tuple[list[str], NDArray[np.int64]]:
    """All labels that are true or told, and cells (n, n) by true and told label, from the details of a score."""
    labels = sorted({*confusion["true"], *confusion["told"]})
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    rows, columns = [place[t] for t in confusion["true"]], [place[t] for t in confusion["told"]]
    counts[np.ix_(rows, columns)] = confusion["counts"]
    return labels, counts


def common_order(confusions: Sequence[Mapping[str, Any]], tree: Sequence[Mapping[str, Any]]) -> Outline:
    """One order for several methods, by the sum of their confusions where there is no ontology."""
    labels = sorted({label for one in confusions for label in (*one["true"], *one["told"])})
    place = {label: i for i, label in enumerate(labels)}
    total = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one in confusions:
        own, counts = matrix(one)
        where = [place[label] for label in own]
        total[np.ix_(where, where)] += counts
    return outline(labels, tree, total)


def drawn(method: str, confusion: Mapping[str, Any], order: Outline) -> Markup:
    """Rows are true labels, down the tree; columns told ones, in the same order. Each row adds up to all cells of its label."""
    labels, counts = matrix(confusion)
    place = {label: i for i, label in enumerate(labels)}
    widest = max(STEP * line.depth + 6.6 * min(len(line.words), MOST_LETTERS) for line in order.lines)
    left, top = widest + 14, 6.4 * min(max(len(label) for label in order.labels), 22) * 0.75 + 16
    n = len(order.labels)
    parts = [_heading(label, left + (j + 0.5) * CELL, top - 6) for j, label in enumerate(order.labels)]
    for i, line in enumerate(order.lines):
        y = top + i * LINE
        parts.append(text(STEP * line.depth, y + 14, _short(line.words), "label" if line.label else "term"))
        if line.label in place:
            row = counts[place[line.label]]
            parts += _squares(line.label, row, [place.get(label) for label in order.labels], order.labels, left, y)
    words = f"Confusion of {method}: rows are true labels, columns told ones"
    return drawing(left + n * CELL + 40, top + len(order.lines) * LINE + 4, words, parts, "confusion")


def _squares(
    true: str, row: NDArray[np.int64], places: Sequence[int | None], names: Sequence[str], left: float, y: float
) -> Iterator[Markup]:
    of = int(row.sum())
    if of:
        yield node("rect", x=left, y=y, width=len(names) * CELL - 1, height=LINE - 1, class_="none")
    for j, (place, name) in enumerate(zip(places, names, strict=True)):
        n = int(row[place]) if place is not None else 0
        if not n:
            continue
        x, share = left + j * CELL, n / of
        square = {"x": x, "y": y, "width": CELL - 1, "height": LINE - 1, "class_": "right" if name == true else "wrong"}
        yield told("rect", f"{n:,} of {of:,} cells of {true} are told {name}", **square, fill_opacity=f"{0.12 + 0.88 * share:.2f}")
        if share >= SAID:
            yield text(x + (CELL - 1) / 2, y + 14, f"{100 * share:.0f}", "share strong" if share > 0.55 else "share", "middle")


def _heading(label: str, x: float, y: float) -> Markup:
    return node("text", _short(label, 22), x=x - 2, y=y, transform=f"rotate(-48 {x:.1f} {y:.1f})", class_="label")


def _short(words: str, most: int = MOST_LETTERS) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"
