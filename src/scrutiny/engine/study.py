"""The Study: a declared grid of data sets x methods x tasks x seeds that plans itself, runs, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from os import cpu_count
from pathlib import Path
from typing import Any, Literal

from scrutiny.core.cards import TWIN
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.options import parameters_of
from scrutiny.core.registry import METHODS, METRICS, TASKS, require
from scrutiny.data.sample import N_CELLS

from .applies import has_verb
from .claims import Owner
from .conduct import Conductor, Event
from .embedding import Chosen, recorded_options
from .execute import perform
from .facts import cells, cells_key, dataset_facts
from .jobs import Ended, Pool, Setting, registered_here
from .plan import Grid, Plan, Scored, State, make_plan
from .provenance import commit, library_versions
from .sources import Source
from .store import Store
from .studyfile import read_study_file

OUT = "scrutiny-results"
BUDGET = 600.0
"""Seconds of a default plan: minutes, not hours."""
MINIS = ("scrutiny/mini-rank", "scrutiny/mini-bins", "scrutiny/mini-joint")
"""The small trained models that come with the package."""
BASELINES = (
    *("depth", "hvg", "hvg_pca", "pca", "harmony", "scanorama", "combat", "mnn", "scvi", "scanvi"),
    *("gene_mean", "pca_smoothing", "knn_smoothing"),
    *("majority", "hvg_pca+centroid", "hvg_pca+knn", "hvg_pca+logreg", "hvg+logreg", "hvg_pca+forest", "hvg_pca+boosting"),
    "celltypist",
)
CONTROLS = (
    "control/shuffle",
    "control/shuffle_within_label",
    "control/random_projection",
    "control/label_oracle",
    "control/batch_only",
    "control/no_integration",
    "control/overall_mean",
    "control/another_cell",
    "control/thinned",
    "control/shuffled_labels",
)
WITH_LABELS = ("cell_types", "integration", "label_transfer")
WITHOUT_LABELS = ("batch_mixing",)


@dataclass(frozen=True)
class Workers:
    """Where and how jobs are run. None of it changes what comes out.

    Attributes
    ----------
    jobs
        Child processes at once; for ``engine="dask"`` without a scheduler the workers of a cluster on this machine.
    threads
        Threads of each job; None: the cores shared among the jobs, or one where a scheduler is given, whose workers share cores that
        cannot be counted from here.
    scheduler
        Address of a Dask scheduler.
    resources
        What each job takes of the resources that Dask workers offer.
    timeout
        Seconds without a sign of life after which a job is ended; None: no limit. For the local engine.
    """

    jobs: int = 1
    threads: int | None = None
    engine: Literal["local", "dask"] = "local"
    scheduler: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InputError(f"the number of jobs is {self.jobs}; expected at least 1")
        if self.engine not in ("local", "dask"):
            raise InputError(f"there is no engine '{self.engine}'; it is 'local' or 'dask'")

    def setting(self, store: Store) -> Setting:
        threads = self.threads or (1 if self.scheduler else max(1, (cpu_count() or 1) // self.jobs))
        return Setting(store.folder, Owner.this_process(), threads, library_versions(), commit(), registered_here())

    def pool(self, datasets: Mapping[str, Dataset], setting: Setting, work: Callable[..., Ended] = perform) -> Pool:
        """``work`` is what a worker does with a job."""
        if self.engine == "local":
            from .local import LocalPool

            return LocalPool(self.jobs, datasets, setting, work=work, timeout=self.timeout)
        require(("distributed",), "dask", needed_by="the engine 'dask'")
        from .dask import DaskPool

        return DaskPool(self.jobs, datasets, setting, scheduler=self.scheduler, resources=self.resources, work=work)


def ignore(event: Event) -> None:
    """Take no notice of how far a study is."""


@dataclass(frozen=True)
class Study:
    """Data sets x methods x tasks x seeds.

    Attributes
    ----------
    datasets
        Files to read (`Source`), or data in memory, which are taken as they are.
    methods
        Names, or `Chosen` with options; by default `usual_methods`.
    tasks
        By default those that labels allow, and for data without labels the mixing of batches.
    seeds
        For methods that are seeded.
    budget
        Seconds that the plan may take by the estimate, trainings included; None: no limit. See `Grid`.
    notes
        What a reader must know before anything else; the report begins with it.
    """

    datasets: tuple[Source | Dataset | Scored, ...]
    methods: tuple[Chosen | str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    budget: float | None = None
    name: str = "study"
    notes: str = ""

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        label: str | tuple[str, ...] = (),
        batch: str | None = None,
        cells: int | None = N_CELLS,
        budget: float | None = BUDGET,
        methods: Sequence[Chosen | str] = (),
        **more: Any,
    ) -> Study:
        """The default plan for a file. Columns that are not named are proposed, and the notes of the data say so.

        Parameters
        ----------
        label, batch
            Columns; several labels are scored one by one.
        cells
            Size of the sample that larger data are cut to; None: all cells.
        methods
            Names, or `Chosen` with options; by default `usual_methods`. Keep the controls: scores are scaled between them.
        more
            Further fields of `Source` (``layer``, ``scale``, ``organism``, ``name``, ``facts``).
        """
        labels = (label,) if isinstance(label, str) else tuple(label)
        roles = {**more.pop("roles", {}), **({"batch": batch} if batch is not None else {})}
        source = Source(Path(path), labels=labels, roles=roles, propose=True, cells=cells, **more)
        return cls((source,), tuple(methods), budget=budget)

    @classmethod
    def from_toml(cls, path: str | Path) -> Study:
        """The study that a TOML file declares; see `studyfile` for its keys. Raises InputError naming file and key."""
        fields = read_study_file(path)
        methods = (*fields.pop("nets", ()), *(fields.pop("methods", ()) or usual_methods(fields.get("tasks", ()))))
        trials = fields.pop("search", {})
        return cls(methods=with_search(methods, trials) if trials else methods, **{"name": Path(path).stem, **fields})

    @cached_property
    def grid(self) -> Grid:
        """The study with its data loaded. Raises InputError if a file or a column is not what it should be."""
        datasets = tuple(_scored(entry) for entry in self.datasets)
        methods = tuple(Chosen(entry) if isinstance(entry, str) else entry for entry in self.methods or usual_methods(self.tasks))
        return Grid(datasets, methods, self.tasks or _default_tasks(datasets), self.seeds, self.budget)

    def chosen(self, name: str, recorded: Mapping[str, Any]) -> Chosen:
        """The method of the study that has this name and these options in its records. Raises InputError if there is none."""
        for chosen in self.grid.methods:
            if chosen.name == name and recorded_options(chosen, chosen.make()) == recorded:
                return chosen
        raise InputError(f"this study has no method '{name}' with the options {dict(recorded)}")

    def plan(self, out: str | Path = OUT, *, retry: bool = False) -> Plan:
        """What would run, what is done, what cannot and why; nothing is run or written. ``retry``: do again what failed before."""
        return make_plan(self.grid, Store(out), retry=retry)

    def run(self, out: str | Path = OUT, *, retry: bool = False, on_event: Callable[[Event], None] = ignore, **workers: Any) -> Store:
        """Do what is to do and keep it in the folder ``out``; called again it goes on where it was stopped.

        Parameters
        ----------
        retry
            Whether Runs that failed before are tried again.
        on_event
            Called with every `Event`, for a progress bar.
        workers
            Fields of `Workers`: ``jobs``, ``threads``, ``engine``, ``scheduler``, ``resources``, ``timeout``.

        Raises
        ------
        InputError
            If the study names something that does not exist.
        StoreError
            If ``out`` cannot be written; what was recorded before is kept.
        """
        store, place = Store(out), Workers(**workers)
        plan = self.plan(out, retry=retry)
        self._keep_facts(store, plan)
        if plan.of(State.TO_DO):
            setting = place.setting(store)
            conductor = Conductor(plan, store, setting.owner, on_event)
            conductor.carry_out(place.pool({scored.name: scored.data for scored in self.grid.datasets}, setting))
        return store

    def _keep_facts(self, store: Store, plan: Plan) -> None:
        store.check_writable()
        grid = self.grid
        for scored in grid.datasets:
            columns = scored.label_columns
            store.put_cells(cells_key(scored.data, columns), cells(scored.data, columns))
        for run in plan.of(State.NOT_APPLICABLE):
            store.skip(run.as_run())
        tasks = {name: TASKS.get(name).card for name in grid.tasks}
        metrics = {name: METRICS.get(name).card for card in tasks.values() for name in card.metrics}
        store.add_study(
            {
                "datasets": {scored.name: dataset_facts(scored.data, scored.label_columns) for scored in grid.datasets},
                "methods": {chosen.name: asdict(METHODS.get(chosen.name).card) for chosen in grid.methods},
                "tasks": {name: asdict(card) for name, card in tasks.items()},
                "metrics": {name: asdict(card) for name, card in metrics.items()},
                "notes": {self.name: self.notes} if self.notes else {},
            }
        )


def usual_methods(tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """The baselines and controls that have a verb that one of the tasks asks for; the default tasks ask for embeddings."""
    verbs = {TASKS.get(task).card.asks for task in tasks} or {"embed"}
    return tuple(name for name in BASELINES + CONTROLS if any(has_verb(METHODS.get(name), verb) for verb in verbs))


def with_search(methods: Sequence[Chosen | str], budget: Mapping[str, int]) -> tuple[Chosen, ...]:
    """The methods, those that can search for their options with the same budget (``{"trials": 20}``), unless they have one of their own."""
    chosen = [Chosen(entry) if isinstance(entry, str) else entry for entry in methods]
    can_search = [budget.keys() <= parameters_of(METHODS.get(entry.name)).keys() for entry in chosen]
    return tuple(replace(entry, options={**budget, **entry.options}) if can else entry for entry, can in zip(chosen, can_search))


def with_twins(methods: Sequence[Chosen]) -> tuple[Chosen, ...]:
    """The methods, each published model followed by its untrained twin with the same options."""
    listed: list[Chosen] = []
    for chosen in methods:
        twin = Chosen(f"{TWIN}{chosen.name}", chosen.options)
        listed += [chosen, *([twin] if twin.name in METHODS and twin not in methods else [])]
    return tuple(listed)


def _scored(entry: Source | Dataset | Scored) -> Scored:
    if isinstance(entry, Source):
        return entry.load()
    return Scored(entry) if isinstance(entry, Dataset) else entry


def _default_tasks(datasets: tuple[Scored, ...]) -> tuple[str, ...]:
    """All that labels allow; where a data set has none these are recorded as not applicable, so that the report says what is lacking."""
    return WITH_LABELS if all(scored.label_columns for scored in datasets) else WITH_LABELS + WITHOUT_LABELS
