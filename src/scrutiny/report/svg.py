"""Drawings as SVG text: they need no script, take the colours of the page and can be read aloud."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

LEAST_GAP = 13.0
"""Pixels between two labels that stand above each other."""


def node(tag: str, *children: str | Markup, **attributes: object) -> Markup:
    """An element; text and attributes are escaped. ``class_`` is ``class``, ``text_anchor`` is ``text-anchor``; None leaves one out."""
    told = "".join(f' {name.rstrip("_").replace("_", "-")}="{_text(value)}"' for name, value in attributes.items() if value is not None)
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{tag}{told}>{inside}</{tag}>")


def drawing(width: float, height: float, label: str, parts: Iterable[Markup], class_: str) -> Markup:
    """A drawing with what it shows as its name for those who cannot see it."""
    size = {"viewBox": f"0 0 {_text(width)} {_text(height)}", "width": width}
    return node("svg", *parts, **size, role="img", aria_label=label, class_=f"drawing {class_}")


def line(x1: float, y1: float, x2: float, y2: float, class_: str = "") -> Markup:
    return node("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_ or None)


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    return node("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor if anchor != "start" else None)


def told(shape: str, words: str, **attributes: object) -> Markup:
    """A shape that says something when it is pointed at."""
    return node(shape, node("title", words), **attributes)


def along(points: Iterable[tuple[float, float]]) -> str:
    """Points of a polyline."""
    return " ".join(f"{_text(x)},{_text(y)}" for x, y in points)


def spread(wanted: Sequence[float], low: float, high: float, gap: float = LEAST_GAP) -> list[float]:
    """Heights (n,) as near to the wanted ones as labels allow that keep a gap, in the same order and between two ends if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = list(wanted)
    for before, here in zip(order, order[1:], strict=False):
        placed[here] = max(placed[here], placed[before] + gap)
    if order and placed[order[-1]] > high:
        placed[order[-1]] = high
        for here, after in zip(order[-2::-1], order[:0:-1], strict=False):
            placed[here] = min(placed[here], placed[after] - gap)
    shift = max(0.0, low - placed[order[0]]) if order else 0.0
    return [height + shift for height in placed]


@dataclass(frozen=True)
class Axis:
    """Values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(escape(value))
