"""The tidy table: one row per Run and metric, with all that is needed to read the value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from scrutiny.core.scores import Run, Score

from .records import plain

COLUMNS = (
    "dataset method called kind task label_column seed metric family primary status value better low high floor roof label_tuned reason "
    "seconds seconds_fit seconds_embed seconds_score peak_memory_mb trainable n_answered n_scored n_cells n_dims "
    "replicates_kept replicates_held replicates_scheme "
    "metric_version method_version method_options run_key output_key"
).split()


def tidy(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per Run and metric of its task, columns `COLUMNS`.

    A Run without scores (not applicable, failed) still gives all its rows, each with the status and the reason of the Run, so a missing
    number can always be told from one that nobody asked for. ``replicates_*`` hold lists or None.
    """
    return pd.DataFrame([row for run in runs for row in _rows(run)], columns=COLUMNS)


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    spec, cost, facts = run.spec, run.cost, run.facts
    cards = facts.get("metrics", {})
    shared = {
        "dataset": spec.dataset,
        "method": spec.method,
        "called": facts.get("called", ""),
        "kind": facts.get("kind", ""),
        "task": spec.task,
        "label_column": facts.get("label_column", ""),
        "seed": spec.seed,
        "seconds_fit": cost.seconds_fit,
        "seconds_embed": cost.seconds_embed,
        "seconds_score": cost.seconds_score,
        "peak_memory_mb": cost.peak_memory_mb,
        "trainable": cost.trainable,
        "n_answered": cost.n_answered,
        "n_scored": facts.get("n_scored"),
        "n_cells": facts.get("n_cells"),
        "n_dims": run.n_dims,
        "method_version": spec.method_version,
        "method_options": json.dumps(plain(spec.method_options), sort_keys=True),
        "run_key": spec.key,
        "output_key": run.output_key,
    }
    scored = {score.metric: score for score in run.scores}
    for name in {**cards, **scored}:
        score = scored.get(name, Score(name, run.status, reason=run.reason))
        yield {**shared, **_metric(score, cards.get(name, {})), "primary": name == facts.get("primary")}


def _metric(score: Score, card: dict[str, Any]) -> dict[str, Any]:
    replicates = score.replicates
    return {
        "metric": score.metric,
        **{name: card.get(name) for name in ("family", "better", "low", "high", "floor", "roof", "label_tuned")},
        "status": str(score.status),
        "value": score.value,
        "reason": score.reason,
        "seconds": score.seconds,
        "metric_version": score.version,
        "replicates_kept": list(replicates.kept) if replicates else None,
        "replicates_held": list(replicates.held) if replicates else None,
        "replicates_scheme": replicates.scheme if replicates else "",
    }
