"""Everything a report needs, taken once from one or several stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from scrutiny.core.errors import StoreError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.scores import Run
from scrutiny.engine.records import plain
from scrutiny.engine.store import Store
from scrutiny.engine.table import tidy

from .advice import Advice, advise
from .annotation import Annotated, annotated
from .comparisons import Comparison, comparisons
from .details import scores
from .facts import DatasetFacts, dataset_facts
from .finding import DataCase, Finding, ScoredCase
from .finding_annotation import LabelsCase
from .findings import find
from .privacy import without_traces
from .provenance import Cards, Published, cards, exposures, published
from .recommendation import Recommendation, recommend
from .verdict import Verdict, verdict
from .words import AIMS, title


@dataclass(frozen=True, eq=False)
class Gathered:
    """The stores of a report put together.

    Attributes
    ----------
    runs
        Each Run once, under the name that the report gives its data set.
    table
        Their tidy rows; texts are free of folders and cell ids.
    stores
        Data set to the store that holds its outputs.
    cells
        Data set to the columns that were used, index cell id; a data set whose columns are gone is not in it.
    notes
        What the authors of the studies say before anything else.
    """

    runs: tuple[Run, ...]
    table: pd.DataFrame
    stores: Mapping[str, Store]
    cells: Mapping[str, pd.DataFrame]
    facts: Mapping[str, DatasetFacts]
    cards: Cards
    notes: tuple[str, ...] = ()

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Those in which anything was scored."""
        return [c for c in self._asked if len(c.scored)]

    @cached_property
    def _asked(self) -> list[Comparison]:
        return comparisons(self.table)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return [verdict(c, self.facts[c.key.dataset]) for c in self.comparisons]

    @cached_property
    def recommendations(self) -> list[Recommendation]:
        return [recommend(c, v) for c, v in zip(self.comparisons, self.verdicts)]

    @cached_property
    def advice(self) -> list[Advice]:
        """What to use, whoever asks."""
        return advise(self)

    def problems(self, comparison: Comparison) -> list[Finding]:
        """The gravest findings on a comparison and its data set, which belong beside its verdict."""
        about = {comparison.key.dataset, title(comparison.key)}
        return [finding for finding in self.findings if finding.severity == "problem" and about & set(finding.where)]

    @cached_property
    def findings(self) -> list[Finding]:
        scored = [ScoredCase(c, verdict(c, facts), facts) for c in self._asked for facts in [self.facts[c.key.dataset]]]
        data = [self._data_case(facts) for facts in self.facts.values()]
        return find(scored, data, [self._labels_case(found) for found in self.annotated])

    @cached_property
    def annotated(self) -> list[Annotated]:
        """What was told of labels, data set by data set."""
        return annotated(self)

    @cached_property
    def published(self) -> list[Published]:
        """The published models as they ran, data set by data set."""
        cases = [self._data_case(facts) for facts in self.facts.values()]
        return [published(m, card, c.facts, c.told[m]) for c in cases for m, card in c.models.items() if card.get("model")]

    def _labels_case(self, found: Annotated) -> LabelsCase:
        told = {task: scores(split, self.runs) for task, split in found.splits.items()}
        return LabelsCase(found, self.facts[found.dataset], told)

    def _data_case(self, facts: DatasetFacts) -> DataCase:
        own = [c for c in self._asked if c.key.dataset == facts.name]
        rows = [c.rows[c.rows["kind"] == "model"].drop_duplicates("method") for c in own]
        models = {row.method: self.cards.methods.get(row.registered, {}) for r in rows for row in r.itertuples()}
        told = {row.method: self._facts_of_run.get(row.run_key, {}) for r in rows for row in r.itertuples()}
        return DataCase(facts, own, exposures(models, facts, told), models, told)

    @cached_property
    def _facts_of_run(self) -> Mapping[str, Mapping[str, Any]]:
        return {run.spec.key: run.facts for run in self.runs}


def gather(stores: Sequence[Store]) -> Gathered:
    """Put stores together.

    A data set of the same name but other cells gets a number: ``pbmc``, ``pbmc (2)``. Of several Runs of one method, options, task and
    seed the last one counts; Runs on an earlier state of a data set (other values, another batch column) are left out.
    """
    runs: dict[str, Run] = {}
    keys: dict[str, str] = {}
    found: dict[str, _Held] = {}
    for store in stores:
        recorded = store.study()["datasets"]
        for run in sorted(store.runs(), key=lambda run: run.finished):
            record = recorded.get(run.spec.dataset, {})
            if _is_of(run, record):
                name = _free_name(run.spec.dataset, str(record.get("key", "")), keys)
                found.setdefault(name, _Held(store, run.spec.dataset, record))
                runs[_slot(run, name)] = replace(run, spec=replace(run.spec, dataset=name))
    ordered = sorted(runs.values(), key=_place)
    cells = {name: columns for name, held in found.items() if (columns := held.cells()) is not None}
    facts = {name: dataset_facts(name, found[name].record, cells.get(name)) for name in sorted(found)}
    by_name = {name: held.store for name, held in found.items()}
    studies = [store.study() for store in stores]
    notes = dict.fromkeys(without_traces(" ".join(str(text).split())) for study in studies for text in study.get("notes", {}).values())
    return Gathered(tuple(ordered), _cleaned(tidy(ordered)), by_name, cells, facts, cards(studies), tuple(notes))


@dataclass(frozen=True, eq=False)
class _Held:
    """A data set in the store that was first to hold it."""

    store: Store
    name: str
    record: Mapping[str, Any]

    def cells(self) -> pd.DataFrame | None:
        try:
            return self.store.cells(self.name)
        except StoreError:
            return None


def _place(run: Run) -> tuple[str, int, str, str, str]:
    """Order of the report: by data set, by task as `AIMS` lists them, by label column and method."""
    task = list(AIMS).index(run.spec.task) if run.spec.task in AIMS else len(AIMS)
    return run.spec.dataset, task, run.spec.task, str(run.facts.get("label_column", "")), run.spec.method


def _is_of(run: Run, record: Mapping[str, Any]) -> bool:
    """Whether a Run is on the values and columns of the data set as the study last described it."""
    now, column = record.get("content"), run.facts.get("label_column", "")
    if now is None:
        return True
    now = {**now, "label": record.get("labels", {}).get(column, "")}
    return all(now.get(name, "") == key for name, key in run.facts.get("content", {}).items())


def _slot(run: Run, dataset: str) -> str:
    spec = run.spec
    label = run.facts.get("label_column", "")
    return digest_of_json(plain([dataset, spec.task, spec.task_options, label, spec.method, spec.method_options, spec.seed]))


def _free_name(recorded: str, key: str, keys: dict[str, str]) -> str:
    """The recorded name, numbered if another data set has taken it; ``keys`` remembers which data set has which name."""
    name, number = recorded, 1
    while keys.setdefault(name, key) != key:
        number += 1
        name = f"{recorded} ({number})"
    return name


def _cleaned(table: pd.DataFrame) -> pd.DataFrame:
    texts = {column: {text: without_traces(text) for text in table[column].dropna().unique()} for column in ("reason", "method_options")}
    return table.assign(**{column: table[column].map(cleaned) for column, cleaned in texts.items()})
