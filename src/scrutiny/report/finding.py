"""A coded finding, and the cases that checks look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from scrutiny.data.catalog import Exposure

from .comparisons import Comparison
from .facts import DatasetFacts
from .scaling import scaled
from .verdict import Verdict
from .words import title

Severity = Literal["problem", "caution", "note"]
SEVERITIES: tuple[Severity, ...] = ("problem", "caution", "note")


@dataclass(frozen=True)
class Finding:
    """One finding; ``where`` names the comparisons or data sets that it is about."""

    code: str
    severity: Severity
    title: str
    evidence: str
    advice: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """One comparison with its verdict, for checks that look at scores."""

    comparison: Comparison
    verdict: Verdict
    facts: DatasetFacts

    @property
    def where(self) -> str:
        return title(self.comparison.key)

    @cached_property
    def scaled(self) -> pd.DataFrame:
        return scaled(self.comparison)


@dataclass(frozen=True, eq=False)
class DataCase:
    """One data set with all its comparisons, for checks that look at the data and at who saw them."""

    facts: DatasetFacts
    comparisons: Sequence[Comparison]
    exposures: Mapping[str, Exposure]
    """Model to whether it saw these data in pretraining."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model to its card."""
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model to the facts of one of its Runs: ``weights``, ``genes`` ..."""

    @property
    def where(self) -> str:
        return self.facts.name
