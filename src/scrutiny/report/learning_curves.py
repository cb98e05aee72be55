"""Learning curves: the score against how many labelled cells of each type a method was shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .adaptations import Value, value
from .annotation import Annotated
from .svg import Axis, along, drawing, line, node, spread, text, told
from .words import metric_words, number

MOST = 10
"""Lines of a drawing: the best of each net and way first, and the best cheap method in any case."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860.0, 390.0, 46.0, 250.0, 28.0, 46.0
COLOURS = 5
"""Nets that have a colour of their own in the style sheet."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One method: labelled cells of each type to its score; ``everything`` is with all training cells labelled.

    ``draws`` has what each draw of the labelled cells scored, where there were several.
    """

    method: str
    net: str
    way: str
    few: Mapping[int, Value]
    everything: Value
    draws: Mapping[int, tuple[float, ...]]

    @property
    def last(self) -> float:
        known = [v.value for v in [*self.few.values(), self.everything] if v.value is not None]
        return known[-1]


def curves(found: Annotated) -> list[Curve]:
    """Curves of models and cheap methods with at least two points, best last point first; empty where no split showed few cells."""
    made = []
    labels_few = found.chief in found.shots.values()
    for method in dict.fromkeys(m for split in [*found.shots.values(), found.chief] for m in split.contenders):
        few = {n: value(split, method) for n, split in found.shots.items()}
        known = {n: v for n, v in few.items() if v.value is not None}
        approach = found.approaches[method]
        draws = {n: found.shots[n].seed_values(method) for n in known}
        everything = Value(None) if labels_few else value(found.chief, method)
        curve = Curve(method, approach.net, approach.way, known, everything, draws)
        if len(known) + (curve.everything.value is not None) >= 2 and known:
            made.append(curve)
    return sorted(made, key=lambda curve: -curve.last)


def drawn(found: Annotated) -> Markup | None:
    """The drawing; None where there is nothing to draw."""
    listed = curves(found)
    if not listed:
        return None
    kept = _kept(listed)
    values = [v for c in kept for v in [*c.few.values(), c.everything] if v.value is not None]
    low = min(0.0, *(v.interval.low if v.interval else v.value or 0.0 for v in values))
    shots = sorted({n for c in kept for n in c.few})
    has_all = any(c.everything.value is not None for c in kept)
    x = Axis(math.log10(shots[0]), math.log10(shots[-1]) + (0.6 if has_all else 0.0), LEFT + 10, WIDTH - RIGHT)
    y = Axis(low, 1.0, HEIGHT - BOTTOM, TOP)
    nets = {net: i % COLOURS for i, net in enumerate(dict.fromkeys(c.net for c in kept if c.net))}
    parts = [*_frame(found, x, y, shots, has_all)]
    for i, curve in enumerate(kept):
        parts += _curve(curve, x, y, f"net{nets[curve.net]}" if curve.net else "plain", (i - (len(kept) - 1) / 2) * 1.6)
    parts += _labels(kept, y, nets)
    if len(kept) < len(listed):
        words = f"{len(kept)} of {len(listed)} methods: the best of each net and way"
        parts.append(text(WIDTH, HEIGHT - 6, words, "axis", "end"))
    return drawing(WIDTH, HEIGHT, _said(found, kept, shots), parts, "curves")


def _kept(listed: Sequence[Curve]) -> list[Curve]:
    firsts = list({(curve.net, curve.way): curve for curve in reversed(listed)}.values())
    firsts.sort(key=listed.index)
    cheap = [curve for curve in listed if not curve.net][:1]
    chosen = [*cheap, *(curve for curve in [*firsts, *listed] if curve not in cheap)]
    return sorted(list({id(curve): curve for curve in chosen}.values())[:MOST], key=listed.index)


def _frame(found: Annotated, x: Axis, y: Axis, shots: Sequence[int], has_all: bool) -> Iterator[Markup]:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid")
        yield text(LEFT - 8, y(tick) + 4, number(tick), "tick", "end")
    for n in shots:
        yield text(x(math.log10(n)), HEIGHT - BOTTOM + 18, str(n), "tick", "middle")
    if has_all:
        yield text(x(x.high), HEIGHT - BOTTOM + 18, "all", "tick", "middle")
        yield line(x(x.high - 0.3), y(y.low), x(x.high - 0.3), y(1.0), "break")
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "labelled cells of each type (logarithmic)", "axis", "middle")
    yield text(0.0, 12.0, metric_words(found.chief.primary), "axis")


def _curve(curve: Curve, x: Axis, y: Axis, colour: str, aside: float) -> Iterator[Markup]:
    """The line, and an interval on each point, a little to one side so that those of several methods do not cover each other."""
    points = [(x(math.log10(n)) + aside, v, str(n)) for n, v in curve.few.items()]
    points += [(x(x.high) + aside, curve.everything, "all")] if curve.everything.value is not None else []
    way = curve.way.replace(" ", "-")
    yield node("polyline", points=along((px, y(v.value or 0.0)) for px, v, _ in points), class_=f"curve {colour} {way}")
    for n, draws in curve.draws.items():
        if len(draws) > 1:
            yield from (node("circle", cx=x(math.log10(n)) + aside, cy=y(one), r=1.6, class_=f"draw {colour}") for one in draws)
    for px, v, shown in points:
        if v.interval is not None:
            yield line(px, y(v.interval.low), px, y(v.interval.high), f"whisker {colour}")
        within = f" ({number(v.interval.low)} to {number(v.interval.high)})" if v.interval else ""
        words = f"{curve.method}, {shown} labelled cells of each type: {number(v.value, digits=3)}{within}"
        yield told("circle", words, cx=px, cy=y(v.value or 0.0), r=3, class_=f"point {colour}")


def _labels(kept: Sequence[Curve], y: Axis, nets: Mapping[str, int]) -> Iterator[Markup]:
    heights = spread([y(c.last) for c in kept], TOP, HEIGHT - BOTTOM)
    for curve, height in zip(kept, heights, strict=True):
        start = WIDTH - RIGHT + 12
        yield line(start - 4, y(curve.last), start + 10, height, "leader")
        yield text(start + 13, height + 4, curve.method, f"name net{nets[curve.net]}" if curve.net else "name plain")


def _said(found: Annotated, kept: Sequence[Curve], shots: Sequence[int]) -> str:
    best = kept[0]
    return (
        f"Learning curves of {len(kept)} methods on {found.dataset}, {metric_words(found.chief.primary)} for {shots[0]} to {shots[-1]} "
        f"labelled cells of each type; the best at the end is {best.method} with {number(best.last)}"
    )
