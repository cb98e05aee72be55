"""Scores behind the rows of a comparison, with what metrics told beside their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scrutiny.core.scores import Run, Score

from .comparisons import Comparison


def scores(comparison: Comparison, runs: Sequence[Run]) -> dict[str, dict[str, list[Score]]]:
    """Method to its scores by metric, those that have a value, one a seed and the first seed first; methods with a primary value."""
    by_key = {run.spec.key: {score.metric: score for score in run.scores} for run in runs}
    found: dict[str, dict[str, list[Score]]] = {}
    for row in comparison.scored.sort_values("seed", kind="stable").itertuples():
        found.setdefault(row.method, {}).setdefault(row.metric, []).append(by_key[row.run_key][row.metric])
    return {method: scores for method, scores in found.items() if comparison.primary in scores}


def labelled_cells(comparison: Comparison, runs: Sequence[Run]) -> int | None:
    """Labelled cells that the methods of a split learnt from, as its metrics tell them; None where they do not."""
    for by_metric in scores(comparison, runs).values():
        for found in by_metric.values():
            if (n_cells := all_labelled(found[0].details)) is not None:
                return n_cells
    return None


def all_labelled(details: Mapping[str, Any]) -> int | None:
    """Labelled cells of all types, by the details of a score; earlier records count those of the scored types alone."""
    labels = details.get("labels")
    counts = [told.get("trained_on") for told in labels.values()] if isinstance(labels, dict) else []
    known = sum(counts) if counts and None not in counts else None
    return details.get("labelled_cells", known)
