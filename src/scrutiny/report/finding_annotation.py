"""Findings about told labels: what a split leaks, what a channel may explain, adaptations that do not pay, doubt that cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scrutiny.core.scores import Score

from .annotation import FEW, RANDOM, UNSEEN, Annotated
from .facts import DatasetFacts
from .finding import Finding
from .recommendation import BLIND
from .reliability import is_too_sure
from .unseen_types import taken_for
from .verdict import MARGIN, paired, score_interval
from .words import listing, number, split_words

APART = ("annotation", "annotation_across_donors", "annotation_across_studies")
"""Splits in which the scored cells come from elsewhere than those that were learnt from."""
FEW_CELLS = 10
"""Labelled cells of a type below which it is learnt from next to nothing."""
MISLED = 0.1
"""Calibration error from which probabilities mislead."""
Scores = Mapping[str, Mapping[str, Sequence[Score]]]


@dataclass(frozen=True, eq=False)
class LabelsCase:
    """The annotation of a data set; ``told`` is task to method to its scores by metric."""

    found: Annotated
    facts: DatasetFacts
    told: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return self.found.dataset

    def details(self, method: str, metric: str) -> Mapping[str, Any]:
        """What a metric tells of a method on the chief split; empty where it has no value."""
        own = self.told.get(self.found.chief.key.task, {}).get(method, {})
        return own[metric][0].details if metric in own else {}


def leaking_split(case: LabelsCase) -> Iterator[Finding]:
    """SCR026: cells drawn at random score surely higher than cells of another batch, donor or study."""
    at_random = case.found.splits.get(RANDOM)
    for task in APART:
        apart = case.found.splits.get(task)
        if at_random is None or apart is None or apart.primary != at_random.primary:
            continue
        gaps = {}
        for method in apart.contenders:
            near, far = score_interval(at_random, method), score_interval(apart, method)
            if near and far and near.estimate - far.estimate > max(MARGIN, 2 * float(np.hypot(near.standard_error, far.standard_error))):
                gaps[method] = f"{method} {number(near.estimate)} instead of {number(far.estimate)}"
        if gaps:
            yield Finding(
                "SCR026",
                "caution",
                f"Cells drawn at random promise more than {split_words(task)} keeps",
                f"{apart.primary}: {listing(list(gaps.values()))}.",
                "In a random split cells of one run are on both sides, so what is particular to the run helps. Quote the score across "
                "batches, donors or studies, never this one.",
            )


def told_channels(case: LabelsCase) -> Iterator[Finding]:
    """SCR027: each type is one channel, so telling types may be telling channels."""
    confounding = case.facts.confounding.get(case.found.label_column)
    twins = confounding.technical_twins if confounding else ()
    is_sorted = case.facts.label_origin == "sorted" and len(case.facts.batch_counts) <= 1
    best = next(iter(case.found.chief.contenders), None)
    if best is None or not (twins or is_sorted):
        return
    value = number(case.found.chief.value(best, case.found.chief.primary))
    why = f"each type is one {listing(twins)}" if twins else "the labels come from sorting, and all cells are of one batch"
    yield Finding(
        "SCR027",
        "problem",
        "Told labels may be told channels",
        f"{best} scores {value}, but {why}: what tells types apart may be how they were run.",
        "Do not take this score for how well types are told. Fit here and tell the labels of data where one channel holds several types.",
    )


def adaptation_below_probe(case: LabelsCase) -> Iterator[Finding]:
    """SCR028: an adapted net is surely worse than a probe or a look-up on the same net, frozen."""
    worse = []
    for method in (m for m in case.found.chief.methods("model") if case.found.approaches[m].way == "adapted"):
        frozen = case.found.best_of(case.found.approaches[method].net, "probe", "zero-shot")
        difference = paired(case.found.chief, method, frozen) if frozen else None
        if difference is not None and difference.estimate < -MARGIN and difference.high < 0:
            worse.append(f"{method} {number(difference.estimate)} ({number(difference.low)} to {number(difference.high)}) from {frozen}")
    if worse:
        yield Finding(
            "SCR028",
            "caution",
            "Adapting made it worse than leaving the net as it is",
            f"{case.found.chief.primary}: {listing(worse)}.",
            "The training forgot more than it learnt, or learnt the batches that it saw: fewer weights, a smaller rate or more labels may "
            "help. As it stands, use the frozen net.",
        )


def few_labels(case: LabelsCase) -> Iterator[Finding]:
    """SCR029: types that are learnt from next to nothing, on a split that is not meant to show few."""
    best = next(iter(case.found.chief.contenders), None)
    if best is None or FEW.fullmatch(case.found.chief.key.task):
        return
    labels = case.details(best, case.found.chief.primary).get("labels") or {}
    few = {label: told for label, told in labels.items() if told.get("trained_on", FEW_CELLS) < FEW_CELLS}
    if few:
        told = [f"{label} ({one['trained_on']}; F1 {number(one['f1_low'])} to {number(one['f1_high'])})" for label, one in few.items()]
        yield Finding(
            "SCR029",
            "note",
            f"Types that are learnt from fewer than {FEW_CELLS} cells",
            f"{listing(told)}, by {best}.",
            "Each weighs as much in macro-F1 as a type with thousands of cells. Read the table of types, or merge them with their kin.",
        )


def unseen_accepted(case: LabelsCase) -> Iterator[Finding]:
    """SCR030: cells of types that nobody could learn are told a known type by all methods, or doubt is no guide to them."""
    split = case.found.splits.get(UNSEEN)
    if split is None or not split.contenders:
        return
    rejected = {m: split.value(m, "unseen_rejected") for m in split.contenders}
    known = {m: share for m, share in rejected.items() if share is not None}
    if not known:
        return
    best = max(known, key=lambda m: known[m])
    if known[best] < 0.5:
        own = case.told.get(UNSEEN, {}).get(best, {}).get("unseen_rejected", ())
        said = f" {taken_for(own[0].details.get('types', {}))}." if own else ""
        yield Finding(
            "SCR030",
            "caution",
            "Most cells of unseen types are told a type that they are not",
            f"Even {best} rejects only {known[best]:.0%} of them.{said}",
            "A new type in your data would go unnoticed. Look at the markers of each told type before you count it.",
        )
    blind = {m: a for m in split.contenders if (a := split.value(m, "novelty_auroc")) is not None and a <= BLIND and m != "majority"}
    if blind:
        yield Finding(
            "SCR030",
            "caution",
            f"Doubt does not point at unseen types: {listing(list(blind))}",
            f"novelty_auroc: {listing([f'{m} {number(a)}' for m, a in blind.items()])}; 0.5 is chance.",
            "What these methods reject is rejected for other reasons, so a better harmonic mean of theirs is no skill at noticing types.",
        )


def misleading_probabilities(case: LabelsCase) -> Iterator[Finding]:
    """SCR031: probabilities that are far from how often they are right."""
    chief, told = case.found.chief, []
    for method in case.found.shown:
        error, bins = chief.value(method, "ece"), case.details(method, "ece").get("reliability")
        if error is not None and bins and error > MISLED:
            after = chief.value(method, "ece_calibrated")
            calibrated = f", {number(after)} after calibration" if after is not None else ""
            told.append(f"{method} is {'too sure' if is_too_sure(bins) else 'not sure enough'} (error {number(error)}{calibrated})")
    if told:
        yield Finding(
            "SCR031",
            "caution",
            "Probabilities are not how often they are right",
            f"{listing(told)}.",
            "Do not filter cells by such probabilities. The task reference_mapping calibrates them on cells of the reference.",
        )


LABEL_CHECKS = (leaking_split, told_channels, adaptation_below_probe, few_labels, unseen_accepted, misleading_probabilities)
