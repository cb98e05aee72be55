"""Coded findings: what a reader must know before believing the scores, with the evidence and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from .finding import SEVERITIES, DataCase, Finding, ScoredCase
from .finding_annotation import LABEL_CHECKS, LabelsCase
from .finding_data import DATA_CHECKS
from .finding_models import MODEL_CHECKS
from .finding_nets import nets_within_seeds, trained_here
from .finding_scores import SCORE_CHECKS

Case = TypeVar("Case", ScoredCase, DataCase, LabelsCase)


def find(scored: Sequence[ScoredCase], data: Sequence[DataCase], labels: Sequence[LabelsCase] = ()) -> list[Finding]:
    """All findings, the gravest first; the same finding in several places is told once and names them all."""
    found = [*_checked(scored, (*SCORE_CHECKS, nets_within_seeds)), *_checked(data, (*DATA_CHECKS, *MODEL_CHECKS, trained_here))]
    found += _checked(labels, LABEL_CHECKS)
    merged: dict[Finding, list[str]] = {}
    for finding in found:
        merged.setdefault(replace(finding, where=()), []).extend(finding.where)
    told = [replace(finding, where=tuple(dict.fromkeys(where))) for finding, where in merged.items()]
    return sorted(told, key=lambda f: (SEVERITIES.index(f.severity), f.code))


def _checked(cases: Sequence[Case], checks: Sequence[Callable[[Case], Iterator[Finding]]]) -> Iterator[Finding]:
    for case in cases:
        for check in checks:
            yield from (replace(finding, where=(case.where,)) for finding in check(case))
