"""The plan of a study: every Run with its key, and whether it is to do, done, failed before or not applicable, before anything runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from itertools import count, islice
from typing import Any

from scrutiny.core.cards import MethodCard, TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.protocols import EmbeddingReader, PredictionReader
from scrutiny.core.registry import METHODS, METRICS, TASKS
from scrutiny.core.scores import Run, RunSpec, Status

from .applies import has_verb, obstacle
from .embedding import TRUTH, Chosen, arrays_read, recorded_options
from .facts import label_column, method_facts, task_facts
from .jobs import Job
from .preparations import Preparation, preparations
from .resample import DONOR
from .store import Store

SECONDS_TO_SCORE = 0.3
SECONDS_TO_SCORE_1000_CELLS = 0.7
"""Rough cost of the metrics of one task on 50 dimensions, intervals included, on one core."""

QUICK = 30.0
"""Seconds of a job, by the estimate, up to which it is done before all others."""


class State(StrEnum):
    TO_DO = "to do"
    DONE = "done"
    FAILED = "failed before"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, eq=False)
class Scored:
    """A data set and the columns that its labels are taken from, one Run each; none named: its role ``label``, if it has one."""

    data: Dataset
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def label_columns(self) -> tuple[str, ...]:
        return self.labels or ((self.data.roles["label"],) if self.data.has("label") else ())

    def views(self, task: TaskCard) -> list[Dataset]:
        """The data with each of its label columns in the role, if the task uses labels at all."""
        columns = self.label_columns if "label" in task.roles | task.optional else ()
        return [self.data.with_roles(label=column) for column in columns] or [self.data]


@dataclass(frozen=True)
class Grid:
    """Methods x data sets x tasks x seeds.

    Attributes
    ----------
    seeds
        Methods that are not ``seeded`` run with the first one only, but for tasks that are ``drawn``.
    budget
        Seconds that all Runs together may take by the estimate, done ones included, so that the same command always means the same
        plan; None: no limit. Where it is too small, the method that takes longest to embed is left out first. Controls stay, and so
        does the quickest of the others.
    """

    datasets: tuple[Scored, ...]
    methods: tuple[Chosen, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    budget: float | None = None


@dataclass(frozen=True)
class Planned:
    """One Run of a plan. ``seconds`` is the estimate for its scores; that of its output is part of its `Job`."""

    spec: RunSpec
    state: State
    reason: str
    chosen: Chosen = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)
    card: MethodCard = field(repr=False)
    has_own_output: bool
    """The method is fitted and asked anew for this task; other tasks share one output."""
    seconds_per_1000_cells: float
    """Estimate for the output; that of the card unless the method knows better."""
    seconds_to_prepare: float | None = None
    """Estimate for what the method does before it is fitted, once for a seed; None: nothing."""
    shares: frozenset[str] = frozenset()
    """See `Job`."""

    @property
    def kind(self) -> str:
        return self.card.kind

    @property
    def called(self) -> str:
        """Name of the method to the reader."""
        return str(self.facts.get("called") or self.spec.method)

    @property
    def n_cells(self) -> int:
        return int(self.facts["n_cells"])

    @property
    def seconds(self) -> float:
        return SECONDS_TO_SCORE + SECONDS_TO_SCORE_1000_CELLS * self.n_cells / 1000

    @property
    def seconds_to_embed(self) -> float:
        return self.card.seconds_to_start + self.seconds_per_1000_cells * self.n_cells / 1000

    def as_run(self) -> Run:
        """The record of one that is not applicable."""
        return Run(self.spec, Status.NOT_APPLICABLE, self.reason, facts=self.facts)


@dataclass(frozen=True)
class Plan:
    """All Runs of a study in the order of its data sets, tasks and methods."""

    runs: tuple[Planned, ...]

    def of(self, state: State) -> tuple[Planned, ...]:
        return tuple(run for run in self.runs if run.state is state)

    @property
    def seconds(self) -> float:
        """Estimate for the jobs that are to do, one after the other on 2 cores."""
        return sum(job.seconds for job in self.jobs())

    def preparations(self) -> list[Preparation]:
        """What is to be prepared before the jobs, else each does it for itself: trainings that are not done."""
        return [preparation for preparation in preparations(self.of(State.TO_DO)) if not preparation.is_done()]

    def jobs(self) -> list[Job]:
        """What is to do, by output: quick ones, then the longest first, so that parallel workers end together; twins after models.

        So whoever stops early has the cheap methods and the controls, and models rather than what they are compared with.
        """
        jobs = [_job(group) for group in _by_output(self.of(State.TO_DO))]
        twins = {run.spec.method for run in self.runs if run.card.twin_of}
        return sorted(jobs, key=lambda job: (job.seconds > QUICK, job.method in twins, -job.seconds, job.dataset, job.method, job.seed))


def make_plan(grid: Grid, store: Store, *, retry: bool = False) -> Plan:
    """Plan a grid against what a store holds already. Nothing is run and nothing is written.

    Parameters
    ----------
    retry
        Whether Runs that failed before are to be done again.

    Raises
    ------
    InputError
        If a method, task, option or ready-made array is not known under its name.
    """
    _check_names(grid)
    methods = [(chosen, chosen.make()) for chosen in grid.methods]
    planned = [run for scored in grid.datasets for task in grid.tasks for run in _runs(grid, methods, scored, task)]
    distinct = {run.spec.key: run for run in planned}  # two sizes of one model may have the same untrained twin
    affordable = _within_budget(list(distinct.values()), grid.budget)
    return Plan(tuple(_against(store, run, retry) for run in affordable))


def _check_names(grid: Grid) -> None:
    names = [scored.name for scored in grid.datasets]
    if len(set(names)) < len(names):
        raise InputError(f"the names of data sets must differ; found {sorted(names)}. Give them with 'name'")
    for chosen in grid.methods:
        for key in arrays_read(chosen.make()):
            if not any(key in scored.data.obsm for scored in grid.datasets):
                grid.datasets[0].data.obsm_key(key)


def _runs(grid: Grid, methods: list[tuple[Chosen, Any]], scored: Scored, task_name: str) -> Iterator[Planned]:
    task: TaskCard = TASKS.get(task_name).card
    for data in scored.views(task):
        facts, columns = task_facts(task, data), cache(data.column_key)
        terms = [data.terms.key] if task.reads_terms and data.terms is not None else []
        for chosen, method in methods:
            card: MethodCard = method.card
            if not has_verb(method, task.asks) and _is_not_missed(chosen, method, grid):
                continue
            found = obstacle(method, task, data)
            state = State.TO_DO if found is None else State.NOT_APPLICABLE
            knows_better = found is None and hasattr(method, "seconds_per_1000_cells")
            to_prepare = method.seconds_to_prepare() if found is None and hasattr(method, "prepare") else None
            pace = method.seconds_per_1000_cells(data) if knows_better else card.seconds_per_1000_cells
            read = [data.fingerprint, data.gene_names_key, columns(_roles_read(task, card)), _array_key(method, data)]
            data_key = digest_of_json([*read, *terms])
            for seed in _seeds(grid, card, task):
                spec = _spec(recorded_options(chosen, method), chosen.name, card, task, data, seed, data_key)
                has_own_output = not is_shared(method, task)
                told = {**facts, **method_facts(method, data)}
                shares = shared_outputs(chosen, method, seed) if found is None else frozenset[str]()
                yield Planned(spec, state, found or "", chosen, told, card, has_own_output, pace, to_prepare, shares)


def _is_not_missed(chosen: Chosen, method: Any, grid: Grid) -> bool:
    """Whether nobody waits for the score of a method in a task that it cannot do: it is there for others, or a head on it does the task."""
    is_for_others = any(has_verb(method, TASKS.get(name).card.asks) for name in grid.tasks)
    has_heads = any(other.name.startswith(f"{chosen.name}+") for other in grid.methods)
    return method.card.kind == "control" or is_for_others or has_heads


def shared_outputs(chosen: Chosen, method: Any, seed: int) -> frozenset[str]:
    """Keys of outputs that other methods may need, too: what it answers, the embedding that it reads, what its members answer."""

    def key(name: str, options: Mapping[str, Any], card: MethodCard, what: str) -> str:
        return digest_of_json([name, dict(options), seed if card.seeded else None, what])

    found = {key(chosen.name, chosen.options, method.card, "itself")}
    if isinstance(method, EmbeddingReader):
        embedder = Chosen(method.embedder, method.embedder_options)
        card: MethodCard = embedder.make().card
        found |= {key(embedder.name, embedder.options, card, "read"), *shared_outputs(embedder, embedder.make(), seed)}
    if isinstance(method, PredictionReader):
        found |= {k for member in (Chosen(*m) for m in method.members) for k in shared_outputs(member, member.make(), seed)}
    return frozenset(found)


def is_shared(method: Any, task: TaskCard) -> bool:
    """Whether what takes long, the embedding, is one for this task and others."""
    if isinstance(method, EmbeddingReader):
        return bool(METHODS.get(method.embedder).card.independent)
    return task.asks == "embed" and (task.query_visible or method.card.independent)


def _seeds(grid: Grid, card: MethodCard, task: TaskCard) -> tuple[int, ...]:
    """The seeds of the study, as many more as the method asks for, or the first one where the seed changes nothing."""
    if not card.seeded:
        return grid.seeds if task.drawn else grid.seeds[:1]
    more = (seed for seed in count(max(grid.seeds) + 1))
    return grid.seeds + tuple(islice(more, max(0, card.least_seeds - len(grid.seeds))))


def _roles_read(task: TaskCard, card: MethodCard) -> frozenset[str]:
    return task.roles | task.optional | {DONOR} | card.reads | (frozenset(TRUTH) if card.kind == "control" else frozenset())


def _array_key(method: Any, data: Dataset) -> str:
    return ",".join(data.obsm_key(name) for name in arrays_read(method) if name in data.obsm)


def _spec(options: Mapping[str, Any], name: str, card: MethodCard, task: TaskCard, data: Dataset, seed: int, data_key: str) -> RunSpec:
    column = label_column(task, data)
    return RunSpec(
        method=name,
        dataset=data.name,
        task=task.name,
        seed=seed,
        method_version=card.version,
        task_version=_task_version(task),
        data_key=data_key,
        method_options=options,
        task_options={"label": column} if column else {},
    )


def _task_version(task: TaskCard) -> str:
    """Version of the task and key of its metrics' versions: a metric that is mended is measured again."""
    return f"{task.version}.{digest_of_json({name: METRICS.get(name).card.version for name in task.metrics})[:6]}"


def _within_budget(planned: list[Planned], budget: float | None) -> list[Planned]:
    """Leave out the method that takes longest to embed until the rest fits."""
    if budget is None:
        return planned
    embedding: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    to_do = [run for run in planned if run.state is State.TO_DO]
    for group in _by_output(to_do):
        embedding[group[0].spec.method] += _seconds_to_embed(group)
        total[group[0].spec.method] += _seconds(group)
    for preparation in preparations(to_do):
        embedding[preparation.chosen.name] += preparation.seconds
        total[preparation.chosen.name] += preparation.seconds
    controls = {run.spec.method for run in planned if run.kind == "control"}
    twins = {run.card.twin_of: run.spec.method for run in planned if run.card.twin_of}
    dropped: dict[str, str] = {}
    for method in sorted(embedding.keys() - controls, key=lambda method: (-embedding[method], method))[:-1]:
        if sum(total.values()) - sum(total[m] for m in dropped) <= budget:
            break
        why = f"about {total[method]:.0f} s, and all methods together exceed the budget of {budget:.0f} s; raise --budget"
        for name in (method, twins.get(method)):
            if name in total:
                dropped[name] = f"left out: {why}"
    return [_drop(run, dropped) for run in planned]


def _drop(run: Planned, dropped: Mapping[str, str]) -> Planned:
    if run.state is not State.TO_DO or run.spec.method not in dropped:
        return run
    return replace(run, state=State.NOT_APPLICABLE, reason=dropped[run.spec.method])


def _against(store: Store, run: Planned, retry: bool) -> Planned:
    if store.done(run.spec.key):
        return replace(run, state=State.DONE, reason="")
    if run.state is State.TO_DO and not retry and (n := store.failures(run.spec.key)):
        return replace(run, state=State.FAILED, reason=f"failed {n} time{'s' if n > 1 else ''}; --retry tries again")
    return run


def _by_output(runs: Iterable[Planned]) -> list[list[Planned]]:
    groups: dict[str, list[Planned]] = {}
    for run in runs:
        spec = run.spec
        groups.setdefault(digest_of_json([spec.dataset, spec.method, dict(spec.method_options), spec.seed]), []).append(run)
    return list(groups.values())


def _seconds_to_embed(group: list[Planned]) -> float:
    return group[0].seconds_to_embed * len({run.spec.task if run.has_own_output else "" for run in group})


def _seconds(group: list[Planned]) -> float:
    return _seconds_to_embed(group) + sum(run.seconds for run in group)


def _job(group: list[Planned]) -> Job:
    spec = group[0].spec
    specs = tuple(run.spec for run in group)
    return Job(spec.dataset, spec.method, group[0].chosen.options, spec.seed, specs, _seconds(group), group[0].card.gpu, group[0].shares)
