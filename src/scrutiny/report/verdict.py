"""The verdict: which method, by how much, how surely; and whether any model beats the cheap methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scrutiny.core.errors import NotApplicable

from .comparisons import Comparison, Key, comparisons
from .facts import DatasetFacts
from .intervals import AgainstBest, Interval, against_best, holm, interval
from .sentences import caveat, sentence

MARGIN = 0.02
"""Better means better by more than this."""
SIGNIFICANCE = 0.05
NOISE = "control/shuffle"
NOISE_LABELS = "control/shuffled_labels"
"""Where labels are told, and no embedding is scored."""
REFERENCES = ("hvg_pca", "pca", "gene_mean", "hvg_pca+logreg", "hvg_pca+knn", "majority")
"""Plain methods that everything is held against: the first of them that was run. For integration that means not to integrate; labels are
told by plain classifiers on plain PCA."""


@dataclass(frozen=True)
class ModelVerdict:
    """One model against the best cheap baseline, which is chosen on other cells than those it is compared on.

    ``p_holm`` is corrected over all models of the comparison; it is None, like ``difference``, where no test could be made.
    """

    model: str
    baseline: str
    value: float
    difference: Interval | None
    p_holm: float | None
    beats: bool


@dataclass(frozen=True)
class Verdict:
    """What can be said of one data set, task and label column.

    Attributes
    ----------
    winner, value, interval
        The method with the best primary value (controls left out), that value and its interval.
    reference, over_reference, better_than_reference
        The plain method; the paired difference of the winner from it (positive: the winner is better; None if the winner is the plain
        method itself or there are no replicates); whether that is sure and above `MARGIN`.
    ties
        Methods that cannot be told from the best one, best first; without the winner.
    alone
        Whether no other method was scored.
    by_donor
        Whether the intervals are over whole donors rather than over cells.
    tested
        Whether there were replicates to tell methods apart with.
    models
        Each model against the best cheap baseline.
    noise
        Primary value of the shuffled control (cells, or labels where these are told), None if it was not run.
    mixing_only
        The primary metric looks at batches alone, so noise scores best and no method is called better for it.
    sentence, caveat
        All of that for a reader, and what it does not say.
    """

    key: Key
    metric: str
    winner: str | None
    value: float | None
    interval: Interval | None
    reference: str | None
    over_reference: Interval | None
    better_than_reference: bool
    ties: tuple[str, ...]
    tested: bool
    alone: bool
    by_donor: bool
    models: tuple[ModelVerdict, ...]
    noise: float | None
    mixing_only: bool
    sentence: str = ""
    caveat: str = ""


def verdicts(table: pd.DataFrame, facts: Mapping[str, DatasetFacts]) -> list[Verdict]:
    """One verdict per data set, task and label column of a tidy table (``Store.scores()``)."""
    return [verdict(c, facts.get(c.key.dataset, DatasetFacts(c.key.dataset))) for c in comparisons(table)]


def verdict(comparison: Comparison, facts: DatasetFacts) -> Verdict:
    """The verdict on one comparison."""
    contenders = comparison.contenders
    winner = contenders[0] if contenders else None
    reference = next((m for m in REFERENCES if m in contenders), None)
    mixing_only = comparison.metrics.at[comparison.primary, "family"] == "batches"
    better = _better_than(comparison, reference, contenders) if reference and not mixing_only else set()
    worse = _clearly_worse(comparison, contenders)
    if worse is not None and winner in better and reference:
        worse |= {reference}
    gain = paired(comparison, winner, reference) if winner and reference and winner != reference else None
    found = Verdict(
        key=comparison.key,
        metric=comparison.primary,
        winner=winner,
        value=comparison.value(winner, comparison.primary) if winner else None,
        interval=score_interval(comparison, winner) if winner else None,
        reference=reference,
        over_reference=gain,
        better_than_reference=winner in better,
        ties=tuple(m for m in contenders if m != winner and m not in (worse or ())),
        tested=worse is not None or (len(contenders) == 1 and score_interval(comparison, contenders[0]) is not None),
        alone=len(contenders) == 1,
        by_donor=comparison.by_donor,
        models=() if mixing_only else _model_verdicts(comparison),
        noise=next((v for name in (NOISE, NOISE_LABELS) if (v := comparison.value(name, comparison.primary)) is not None), None),
        mixing_only=mixing_only,
    )
    return replace(found, sentence=sentence(found), caveat=caveat(found, facts.planted))


def score_interval(comparison: Comparison, method: str) -> Interval | None:
    """Interval of a primary value, drawn around the value on all cells, within the metric's bounds; None without replicates."""
    kept = comparison.replicates.kept
    value = comparison.value(method, comparison.primary)
    if method not in kept or value is None:
        return None
    try:
        found = interval(comparison.sign * kept[method].to_numpy(float), centre=value)
    except NotApplicable:
        return None
    low, high = comparison.metrics.loc[comparison.primary, ["low", "high"]].astype(float)  # NaN where there is no bound
    return replace(found, low=float(np.fmax(found.low, low)), high=float(np.fmin(found.high, high)))


def paired(comparison: Comparison, method: str, other: str) -> Interval | None:
    """Paired difference of two named methods (positive: the first is better); None without replicates."""
    kept = comparison.replicates.kept
    if method not in kept or other not in kept:
        return None
    try:
        return interval((kept[method] - kept[other]).to_numpy(float))
    except NotApplicable:
        return None


def _clearly_worse(comparison: Comparison, methods: Sequence[str]) -> set[str] | None:
    """Methods that lose against the best of the others, Holm over all of them; None where nothing could be tested."""
    found = {m: _against_best(comparison, m, [rival for rival in methods if rival != m]) for m in methods}
    tests = {m: test.difference for m, test in found.items() if test is not None}
    adjusted = holm({m: difference.p for m, difference in tests.items()})
    return {m for m, difference in tests.items() if difference.estimate < 0 and adjusted[m] <= SIGNIFICANCE} if tests else None


def _better_than(comparison: Comparison, reference: str, methods: Sequence[str]) -> set[str]:
    """Methods that are better than the reference, surely (Holm over all of them) and by more than the margin."""
    found = {m: paired(comparison, m, reference) for m in methods if m != reference}
    tests = {m: difference for m, difference in found.items() if difference is not None}
    adjusted = holm({m: difference.p for m, difference in tests.items()})
    return {m for m, difference in tests.items() if difference.estimate > MARGIN and adjusted[m] <= SIGNIFICANCE}


def _model_verdicts(comparison: Comparison) -> tuple[ModelVerdict, ...]:
    """The family of tests of a comparison: every model against the best cheap baseline."""
    baselines, models = comparison.methods("baseline"), comparison.methods("model")
    if not baselines:
        return ()
    tests = {m: _against_best(comparison, m, baselines) for m in models}
    adjusted = holm({m: test.difference.p for m, test in tests.items() if test is not None})
    return tuple(_model_verdict(comparison, m, tests[m], adjusted.get(m), baselines[0]) for m in models)


def _model_verdict(comparison: Comparison, model: str, test: AgainstBest | None, p_holm: float | None, best: str) -> ModelVerdict:
    value = float(comparison.values.at[model, comparison.primary])
    if test is None or p_holm is None:
        return ModelVerdict(model, best, value, None, None, beats=False)
    difference = test.difference
    beats = difference.estimate > MARGIN and difference.low > 0 and p_holm <= SIGNIFICANCE
    return ModelVerdict(model, test.rival, value, difference, p_holm, beats)


def _against_best(comparison: Comparison, method: str, rivals: Sequence[str]) -> AgainstBest | None:
    try:
        return against_best(method, rivals, *comparison.replicates)
    except NotApplicable:
        return None
