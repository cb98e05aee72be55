"""The report as an object: tables for code, the whole page for a notebook."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from scrutiny.engine.store import Store

from .advice import Wishes, advise, quoted
from .claims import judge
from .gather import Gathered, gather
from .page import write_report
from .sentences import overall

HEIGHT = 900
"""Pixels of the page in a notebook; it scrolls."""


class Report:
    """What one or several stores say. Shows itself as the page in a notebook.

    Parameters
    ----------
    stores
        A Store or the folder of one.
    """

    def __init__(self, *stores: Store | str | Path) -> None:
        self.stores = tuple(store if isinstance(store, Store) else Store(store) for store in stores)

    @cached_property
    def _gathered(self) -> Gathered:
        return gather(self.stores)

    @property
    def sentence(self) -> str:
        """The verdict on all of it."""
        return overall(self._gathered.verdicts)

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row per data set, task and label column: the winner, what it is compared with, what ties, and all that as a sentence."""
        rows = [{**v.key._asdict(), **{k: x for k, x in asdict(v).items() if k not in ("key", "models")}} for v in self._gathered.verdicts]
        return pd.DataFrame(rows)

    @property
    def findings(self) -> pd.DataFrame:
        """A row per finding: code, severity, title, evidence, what to do."""
        return pd.DataFrame([asdict(finding) for finding in self._gathered.findings])

    @property
    def claims(self) -> pd.DataFrame:
        """A row per claim of the literature: what these results say of it, why, and the rows that this rests on."""
        rows = [
            (one.claim.id, one.answer, one.claim.statement, one.because, [str(row) for row in one.rows]) for one in judge(self._gathered)
        ]
        return pd.DataFrame(rows, columns=["id", "answer", "statement", "because", "rows"])

    def advise(
        self, task: str | None = None, *, labelled: int | None = None, seconds: float | None = None, gpu: bool | None = None
    ) -> pd.DataFrame:
        """What to use: a row per data set and kind of task; the rest as `scrutiny advise` has it."""
        rows = [
            {"about": a.about, "use": a.recommendation.method, "why": a.recommendation.why, "rests_on": quoted(a), "mind": list(a.thin)}
            for a in advise(self._gathered, Wishes(task, labelled, seconds, gpu))
        ]
        return pd.DataFrame(rows, columns=["about", "use", "why", "rests_on", "mind"])

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy table: a row per Run and metric."""
        return self._gathered.table

    def write(self, path: str | Path) -> Path:
        """Write the page. Raises InputError if nothing was scored."""
        return write_report(self.stores, path)

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        with TemporaryDirectory() as folder:
            page = self.write(Path(folder) / "report.html").read_text("utf-8")
        return f'<iframe srcdoc="{escape(page)}" width="100%" height="{HEIGHT}" style="border: 0"></iframe>'
