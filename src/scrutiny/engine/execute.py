"""Doing a job: for each of its Runs pose, ask (once), score, record. What one Run or one metric does ill is its own affair."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import MissingDependency, NotApplicable, StoreError
from scrutiny.core.evidence import Evidence
from scrutiny.core.keys import digest_of_json
from scrutiny.core.outputs import CellEmbedding, Output, output_from
from scrutiny.core.protocols import EmbeddingReader, PredictionReader, Problem, Task
from scrutiny.core.registry import TASKS
from scrutiny.core.scores import Cost, Run, RunSpec, Status

from .cache import Arrays
from .claims import Busy, ProcessDied
from .embedding import EMBED, Chosen, Made, Question, Request, request
from .facts import method_facts, task_facts
from .jobs import Ended, Finished, Holding, Job, Message, Setting
from .meter import Meter
from .provenance import module_versions
from .resample import DONOR
from .scoring import Cells, reason_for, score_all
from .shards import Shards
from .store import Store

Tell = Callable[[Message], None]
TOLD = "told"
"""Where the facts of a cached output have what its method told of it."""


def perform(job: Job, data: Dataset, setting: Setting, tell: Tell, *, alone: bool) -> Ended:
    """Do what is left of a job and put each Run into the store as soon as it is there.

    Parameters
    ----------
    alone
        Whether this process does nothing else, so that its peak memory is that of the job.
    """
    performance = _Performance(job, data, setting, tell, Meter(alone=alone))
    try:
        performance.run()
    except Busy as busy:
        return Ended(busy=busy.key)
    except StoreError as error:
        return Ended(broken=str(error))
    return Ended()


class _Answer(NamedTuple):
    output: Output
    cost: Cost
    key: str
    told: Mapping[str, Any]


class _Performance:
    """One job under way: what it has made so far is shared by its Runs."""

    def __init__(self, job: Job, data: Dataset, setting: Setting, tell: Tell, meter: Meter) -> None:
        self.job, self.data, self.setting, self.tell, self.meter = job, data, setting, tell, meter
        self.store = Store(setting.store)
        self.method: Any = Chosen(job.method, job.options).make()
        self.answers: dict[str, _Answer | Exception] = {}
        self.evidence: list[Evidence] = []
        self.held: list[Path] = []
        self.died: list[str] = []

    def run(self) -> None:
        for spec in self.job.specs:
            if not self.store.done(spec.key):
                self._do(spec)
        for key in self.died:
            self.store.claims.finish(key)

    def _do(self, spec: RunSpec) -> None:
        try:
            with self._claimed(spec.key):
                if self.store.done(spec.key):  # by another process, between our question and our claim
                    return
                run = self._record(spec)
        except ProcessDied as died:
            run = self._failed(spec, died)
            self.store.put(run)
            self.store.claims.finish(spec.key)
        self.tell(Finished(spec.key, run.status, run.reason))

    @contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        """Hold the marker of a piece of work; should the process die within, it stays."""
        marker = self.store.claims.take(key, self.setting.owner)
        self._hold([*self.held, marker])
        try:
            yield
        except Busy:
            self.store.claims.withdraw(marker)
            raise
        except Exception:
            self.store.claims.finish(key)
            raise
        else:
            self.store.claims.finish(key)
        finally:
            self._hold(self.held[:-1])

    def _hold(self, markers: list[Path]) -> None:
        self.held = markers
        self.tell(Holding(tuple(markers)))

    def _record(self, spec: RunSpec) -> Run:
        """Try a Run and keep what came of it."""
        keep = self.store.put
        try:
            run = self._scored(spec)
        except (StoreError, Busy):
            raise
        except MissingDependency as error:
            run, keep = self._run(spec, Status.NOT_APPLICABLE, reason=reason_for(error)), self.store.skip
        except NotApplicable as error:
            run = self._run(spec, Status.NOT_APPLICABLE, reason=reason_for(error))
        except Exception as error:  # noqa: BLE001 - one run must not end the study
            run = self._failed(spec, error)
        keep(run)
        return run

    def _scored(self, spec: RunSpec) -> Run:
        view, task = self._view(spec), TASKS.get(spec.task)()
        draw = [spec.seed] if task.card.drawn and spec.seed else []
        problem = task.pose(view, np.random.default_rng([int(view.fingerprint, 16), *draw]))  # alike for every method
        chosen = Chosen(self.job.method, self.job.options)
        answer = self._answer(chosen, Question(task.card.asks, {**task.card.verb_options, **problem.asks}), problem, view)
        context = self._context(task, view)
        started = time.perf_counter()
        evidence = self._evidence({**context, **task.evidence(answer.output, problem)})
        card = self._card()
        is_compared = card.kind != "control" or bool(card.twin_of)  # what pretraining adds is a difference with an interval
        scores = score_all(task.card, evidence, _cells(problem.scored_cells, view), with_replicates=is_compared)
        cost = replace(answer.cost, seconds_score=time.perf_counter() - started)
        n_dims = getattr(answer.output, "n_dims", None)
        run = self._run(spec, Status.OK, scores=scores, cost=cost, output_key=answer.key, n_dims=n_dims)
        notes = [note for note in problem.query.notes if note not in view.notes]
        return replace(run, facts={**run.facts, "n_scored": problem.scored_cells.n_cells, **answer.told, "notes": notes})

    def _answer(self, chosen: Chosen, question: Question, problem: Problem, view: Dataset) -> _Answer:
        """The output for a problem: from an earlier Run of this job, from the cache, or made now. A failure is remembered too."""
        asked = request(chosen, self.job.seed, problem, view, question)
        is_shared = question == EMBED and asked.card.independent  # all tasks have one embedding then
        if is_shared:
            blind = view.hide("label")
            asked = request(chosen, self.job.seed, Problem(blind, blind, {}), view, question)
        key = asked.key
        if key not in self.answers:
            self.answers[key] = self._find_or_make(asked, key, view)
        found = self.answers[key]
        if isinstance(found, Exception):
            raise found
        return found._replace(output=found.output.of_cells(problem.query.cell_ids))

    def _find_or_make(self, asked: Request, key: str, view: Dataset) -> _Answer | Exception:
        try:
            return self._cached(asked, key) or self._made(asked, key, view)
        except (StoreError, Busy):
            raise
        except ProcessDied as died:
            self.died.append(key)
            return died
        except Exception as error:  # noqa: BLE001 - it is the failure of every Run that needs this output
            return error

    def _cached(self, asked: Request, key: str) -> _Answer | None:
        arrays = self.store.cache.get(key)
        if arrays is None:
            return None
        output = output_from(arrays.by_name).aligned_to(asked.query.cell_ids)
        facts = dict(arrays.facts)
        told = facts.pop(TOLD, {})
        return _Answer(output, Cost(**facts, cached=True), key, told)

    def _made(self, asked: Request, key: str, view: Dataset) -> _Answer:
        with self._claimed(key):
            if found := self._cached(asked, key):  # another process made it, between our question and our claim
                return found
            shards = Shards(self.store.cache, key, asked.query.n_cells) if asked.is_sharded else None
            if isinstance(asked.method, EmbeddingReader):
                made = self._read(asked, view)
            elif isinstance(asked.method, PredictionReader):
                made = self._combined(asked, view)
            else:
                made = asked.make(self.meter, shards)
            self.store.put_output(key, made.output, {**made.cost, TOLD: made.told})
            if shards is not None:
                shards.remove()
        return _Answer(made.output, Cost(**made.cost), key, made.told)

    def _read(self, asked: Request, view: Dataset) -> Made:
        """What a method tells from the embedding of another one; what that took counts too."""
        embedder = Chosen(asked.method.embedder, asked.method.embedder_options)
        rows = np.union1d(*(view.obs.index.get_indexer(part.obs.index) for part in (asked.train, asked.query)))
        everyone = view.hide("label")
        both = everyone if len(rows) == view.n_cells else everyone.take(rows)
        found = self._answer(embedder, EMBED, Problem(asked.train, both, {}), view)
        made = asked.read(cast(CellEmbedding, found.output), self.meter)
        return made.after(found.cost, asked.query.n_cells)

    def _combined(self, asked: Request, view: Dataset) -> Made:
        """What a method tells from what others told, each of them asked as if it stood alone; what they took counts."""
        problem = Problem(asked.train, asked.query, {})
        answers = [self._answer(Chosen(name, options), asked.question, problem, view) for name, options in asked.method.members]
        made = asked.combine([(answer.output, answer.cost) for answer in answers])
        return made._replace(told={"told_by_members": [answer.told for answer in answers]})

    def _context(self, task: Task, view: Dataset) -> Mapping[str, NDArray[Any]]:
        """Evidence that no method changes, made once per data set and task."""
        card = task.card
        columns = view.column_key(card.roles | card.optional)
        key = digest_of_json(["context", card.name, card.version, view.fingerprint, view.gene_names_key, columns])
        found = self.store.cache.get(key)
        if found is None:
            found = Arrays(dict(task.context(view)))
            self.store.cache.put(key, found)
        return found.by_name

    def _evidence(self, given: Mapping[str, Any]) -> Evidence:
        """Evidence that takes over what earlier Runs of this job derived from the same arrays."""
        evidence = Evidence(given)
        for earlier in self.evidence:
            evidence.adopt(earlier)
        self.evidence.append(evidence)
        return evidence

    def _view(self, spec: RunSpec) -> Dataset:
        return self.data.with_roles(**spec.task_options) if spec.task_options else self.data

    def _card(self) -> MethodCard:
        card: MethodCard = self.method.card
        return card

    def _failed(self, spec: RunSpec, error: Exception) -> Run:
        run = self._run(spec, Status.FAILED, reason=reason_for(error))
        return replace(run, facts={**run.facts, "traceback": "".join(traceback.format_exception(error))})

    def _run(self, spec: RunSpec, status: Status, **found: Any) -> Run:
        view = self._view(spec)
        facts = {**task_facts(TASKS.get(spec.task).card, view), **method_facts(self.method, view), "commit": self.setting.commit}
        versions = {**self.setting.versions, **module_versions(self._card().requires)}
        return Run(spec, status, facts=facts, versions=versions, finished=datetime.now(UTC).isoformat(timespec="seconds"), **found)


def _cells(scored: Dataset, view: Dataset) -> Cells:
    """The scored cells with their donors, which methods are not shown."""
    donors = view.role(DONOR)[view.obs.index.get_indexer(scored.obs.index)] if view.has(DONOR) else None
    return Cells(scored.cell_ids, donors)
