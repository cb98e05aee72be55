"""What to use: the cheapest of the methods that cannot be told from the best, with the rows that this rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .comparisons import Comparison, Key
from .intervals import Interval
from .ranks import fronts
from .verdict import NOISE, Verdict, score_interval
from .words import duration, metric_words, number, plain

SAME_COST_FACTOR = 3.0
SAME_COST_SECONDS = 5.0
"""A method costs the same as the cheapest if it takes at most so many times, or so many seconds, more."""
NO_BETTER_THAN_NOISE = 0.05
"""As a share of the distance from the shuffled control to 1."""
BLIND = 0.55
"""Novelty AUROC up to which doubt is no guide to cells of unseen types."""


@dataclass(frozen=True)
class Row:
    """A measured row that the recommendation rests on."""

    method: str
    value: float
    interval: Interval | None
    seconds: float | None
    front: int | None


@dataclass(frozen=True)
class Recommendation:
    """What to use for one comparison; ``method`` is None where the evidence carries none."""

    key: Key
    metric: str
    method: str | None
    why: str
    rows: tuple[Row, ...]


def recommend(comparison: Comparison, verdict: Verdict) -> Recommendation:
    """The cheapest of the winner and what ties with it; among equally cheap ones, that with the best score."""
    ranks = fronts(comparison)
    method, why = _choice(comparison, verdict)
    wanted = [verdict.winner, *verdict.ties, verdict.reference, *([method] if method else [])]
    names = [m for m in dict.fromkeys(wanted) if m is not None]
    names.sort(key=lambda m: -comparison.primary_values[m])
    rows = tuple(_row(comparison, m, ranks.get(m)) for m in names)
    return Recommendation(comparison.key, comparison.primary, method, why, rows)


def _choice(comparison: Comparison, verdict: Verdict) -> tuple[str | None, str]:
    if verdict.winner is None:
        return None, "No method gave a score."
    if verdict.mixing_only:
        return None, "Mixing alone is no reason to choose a method: nothing here says whether the cell types survive."
    if _is_noise(comparison, verdict):
        best = plain(verdict.winner, verdict.key.task)
        return None, f"Even {best} is no better than shuffled {_shuffled(comparison)}"
    auroc = comparison.value(verdict.winner, "novelty_auroc")
    if auroc is not None and auroc <= BLIND:
        blind = f"its doubt does not point at the unseen types (novelty AUROC {number(auroc)}; chance is 0.5)"
        return None, f"{verdict.winner} scores highest, but {blind}, so this is no skill at noticing them."
    if not verdict.tested:
        return None, "There are no replicates, so nothing says whether the differences are more than chance."
    if verdict.alone:
        return None, "One method was scored, so there is nothing to choose from."
    candidates = [verdict.winner, *verdict.ties]
    seconds = comparison.cost["seconds"].reindex(candidates)
    if seconds.isna().all():
        return verdict.winner, "It scores highest; the cost was not measured."
    limit = max(seconds.min() * SAME_COST_FACTOR, seconds.min() + SAME_COST_SECONDS)
    method = next(m for m in candidates if seconds[m] <= limit)
    return method, _why(comparison, verdict, method)


def _why(comparison: Comparison, verdict: Verdict, method: str) -> str:
    took = duration(_seconds(comparison, method))
    score = f"{metric_words(verdict.metric)} {number(comparison.value(method, verdict.metric))}"
    if method != verdict.winner:
        winner_took = duration(_seconds(comparison, str(verdict.winner)))
        return (
            f"{score} in {took}. {plain(str(verdict.winner), verdict.key.task)} scores {number(verdict.value)} and took {winner_took}; "
            "the two cannot be told apart, so the cheaper one is the better choice."
        )
    others = "all other methods are clearly behind" if not verdict.ties else "no clearly cheaper method does as well"
    return f"{score} in {took}; {others}."


def _shuffled(comparison: Comparison) -> str:
    if comparison.value(NOISE, comparison.primary) is None:
        return "labels here: these methods tell nothing."
    return "cells here: these labels cannot be read from any embedding."


def _is_noise(comparison: Comparison, verdict: Verdict) -> bool:
    if verdict.noise is None or verdict.value is None:
        return False
    gain = comparison.sign * (verdict.value - verdict.noise)
    return gain <= NO_BETTER_THAN_NOISE * abs(1 - verdict.noise)


def _row(comparison: Comparison, method: str, front: int | None) -> Row:
    value = comparison.value(method, comparison.primary)
    return Row(method, np.nan if value is None else value, score_interval(comparison, method), _seconds(comparison, method), front)


def _seconds(comparison: Comparison, method: str) -> float | None:
    seconds = comparison.cost["seconds"].get(method)
    return None if seconds is None or np.isnan(seconds) else float(seconds)
