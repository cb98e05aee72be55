"""Whether sure cells are right: reliability, and the errors that are left when doubtful cells are sent back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .svg import Axis, along, drawing, line, node, spread, text, told
from .words import number

SIZE, LEFT, RIGHT, TOP, BOTTOM = 240.0, 36.0, 12.0, 26.0, 40.0
NAMES = 210.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def reliability(method: str, bins: Sequence[Mapping[str, float]], error: float) -> Markup:
    """Share of right cells against the probability that was told, bin by bin; on the diagonal a method is as sure as it is right."""
    x, y = Axis(0, 1, LEFT, SIZE - RIGHT), Axis(0, 1, SIZE - BOTTOM, TOP)
    parts = [*_frame(x, y, "probability that is told", "share right"), line(x(0), y(0), x(1), y(1), "diagonal")]
    most = max(b["cells"] for b in bins)
    for b in bins:
        words = f"{b['cells']:,.0f} cells told with {number(b['confidence'])}: {number(b['accuracy'])} right"
        parts.append(line(x(b["confidence"]), y(b["low"]), x(b["confidence"]), y(b["high"]), "whisker net0"))
        radius = 2 + 4 * (b["cells"] / most) ** 0.5
        parts.append(told("circle", words, cx=x(b["confidence"]), cy=y(b["accuracy"]), r=radius, class_="point net0"))
    side = "surer than it is right" if _excess(bins) > 0 else "less sure than it is right"
    return drawing(SIZE, SIZE, f"Reliability of {method}: on average {side}, calibration error {number(error)}", parts, "reliability")


def is_too_sure(bins: Sequence[Mapping[str, float]]) -> bool:
    """Whether a method tells higher probabilities than it is right, over all cells."""
    return _excess(bins) > 0


def _excess(bins: Sequence[Mapping[str, float]]) -> float:
    return sum(b["cells"] * (b["confidence"] - b["accuracy"]) for b in bins) / sum(b["cells"] for b in bins)


def risk_coverage(curves: Mapping[str, Mapping[str, float]]) -> Markup:
    """Share of wrong labels among the surest cells, against how many are kept; method to coverage to risk."""
    highest = max(0.05, *(risk for curve in curves.values() for risk in curve.values())) * 1.05
    x, y = Axis(0, 1, LEFT, 2 * SIZE - RIGHT), Axis(0, highest, SIZE - BOTTOM, TOP)
    parts = [*_frame(x, y, "share of cells that keep their label", "share wrong", (0.0, highest / 2, highest))]
    ends = {method: curve[max(curve, key=float)] for method, curve in curves.items()}
    heights = spread([y(risk) for risk in ends.values()], TOP + 6, SIZE - BOTTOM)
    for i, ((method, curve), height) in enumerate(zip(curves.items(), heights, strict=True)):
        points = [(x(float(share)), y(risk)) for share, risk in sorted(curve.items(), key=lambda item: float(item[0]))]
        parts.append(node("polyline", points=along(points), class_=f"curve net{i % 5}"))
        parts.append(text(2 * SIZE - RIGHT + 8, height + 4, method, f"name net{i % 5}"))
    words = f"Share of wrong labels among the surest cells, of {len(curves)} methods"
    return drawing(2 * SIZE + NAMES, SIZE, words, parts, "risk")


def _frame(x: Axis, y: Axis, across: str, up: str, ticks: Sequence[float] = TICKS) -> Iterator[Markup]:
    for tick in ticks:
        yield line(x.start, y(tick), x.end, y(tick), "grid")
        yield text(x.start - 5, y(tick) + 4, number(tick), "tick", "end")
    for tick in (0.0, 0.5, 1.0):
        yield text(x(tick), y.start + 15, number(tick, digits=1), "tick", "middle")
    yield text((x.start + x.end) / 2, y.start + 32, across, "axis", "middle")
    yield text(0.0, 12.0, up, "axis")


def bins_of(details: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """Bins of a reliability plot as the metric tells them; empty where it does not."""
    return list(details.get("reliability") or [])
