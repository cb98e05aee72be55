"""Commands that compute: run, demo, plan, score."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.store import Store
    from scrutiny.engine.study import Study

File = Annotated[str, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or a 10x folder; a data set of the catalogue; or a study (.toml).")]
Label = Annotated[list[str] | None, typer.Option("--label", help="Column of the cell types; may be given several times (coarse, fine).")]
Batch = Annotated[str | None, typer.Option("--batch", help="Column of the batches (donor, sample, study ...).")]
Donor = Annotated[str | None, typer.Option("--donor", help="Column of the people or animals; from 6 of them on intervals are over donors.")]
Layer = Annotated[str | None, typer.Option("--layer", help="Where the counts are: X, raw or a layer; found otherwise.")]
Cells = Annotated[str, typer.Option("--cells", help="Cells to score: a number (stratified sample) or 'all'.")]
Budget = Annotated[str | None, typer.Option("--budget", help="Time the plan may take, e.g. 20m or 2h; 'none' for no limit.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Task to run, e.g. reconstruction; several are fine. By default those of embeddings that labels allow."),
]
Methods = Annotated[str | None, typer.Option("--methods", help="Methods to run, separated by commas; controls are always added.")]
Embeddings = Annotated[list[str] | None, typer.Option("--embedding", help="Array in obsm to score beside the methods; several are fine.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Published model to compare: a family, a checkpoint, a folder of official files, or FAMILY=FOLDER."),
]
Device = Annotated[str, typer.Option("--device", help="For the models: auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option("--precision", help="For the models: float32, or bfloat16, faster where the hardware has it.")]
Organism = Annotated[str | None, typer.Option("--organism", help="human, mouse ...; told from the gene ids otherwise.")]
LabelOrigin = Annotated[
    str | None, typer.Option("--label-origin", help="How the labels were made: genotype, sorted, clustered, transferred or expert.")
]
DataFolder = Annotated[Path | None, typer.Option("--data-folder", help="Folder of files downloaded by hand, for catalogue data sets.")]
OntologyFile = Annotated[
    Path | None, typer.Option("--ontology", help="Cell Ontology: an OBO file or a folder of tables; what `ontology fetch` got otherwise.")
]
Terms = Annotated[Path | None, typer.Option("--terms", help="Table (.tsv) of label and cl_id, for labels not named as their terms.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results. The same folder goes on where it stopped.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", help="Processes at once; one a core by default.")]
Engine = Annotated[str, typer.Option("--engine", help="local or dask.")]
Scheduler = Annotated[str, typer.Option("--scheduler", help="Address of a Dask scheduler, e.g. tcp://host:8786.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try again what failed before.")]
WriteWinner = Annotated[Path | None, typer.Option("--write-winner", help="Write the recommended embedding, of all cells, here.")]
ORIGINS = ("genotype", "sorted", "clustered", "transferred", "expert")
RESULTS = Path("scrutiny-results")


def run(
    file: File,
    label: Label = None,
    batch: Batch = None,
    donor: Donor = None,
    layer: Layer = None,
    cells: Cells = "5000",
    budget: Budget = None,
    task: Tasks = None,
    methods: Methods = None,
    embedding: Embeddings = None,
    model: Models = None,
    device: Device = "auto",
    precision: Precision = "float32",
    organism: Organism = None,
    label_origin: LabelOrigin = None,
    data_folder: DataFolder = None,
    ontology: OntologyFile = None,
    terms: Terms = None,
    out: Out = RESULTS,
    jobs: Jobs = None,
    engine: Engine = "local",
    scheduler: Scheduler = "",
    retry: Retry = False,
    write_winner: WriteWinner = None,
) -> None:
    """Find out which way of embedding is best on your cells: verdict in the terminal, one HTML report.

    `scrutiny run cells.h5ad --label cell_type --batch donor`

    `scrutiny run cells.h5ad --label cell_type --model geneformer --model scgpt=weights/scGPT_human --budget 2h`

    `scrutiny run cells.h5ad --label cell_type --embedding X_scGPT --cells all --budget 2h`

    `scrutiny run cells.h5ad --task reconstruction --task reconstruction_masked_15 --model scgpt`

    `scrutiny run study.toml`
    """
    tasks = tuple(task or ())
    chosen = _methods(methods, embedding, _models(model, device, precision), tasks)
    study = _study(file, label, batch, donor, layer, cells, budget, chosen, organism, label_origin, data_folder, tasks)
    study = _with_terms(study, ontology, terms)
    _carry_out(study, out, retry=retry, jobs=jobs, engine=engine, scheduler=scheduler, write_winner=write_winner)


def plan(
    file: File,
    label: Label = None,
    batch: Batch = None,
    donor: Donor = None,
    layer: Layer = None,
    cells: Cells = "5000",
    budget: Budget = None,
    task: Tasks = None,
    methods: Methods = None,
    embedding: Embeddings = None,
    model: Models = None,
    device: Device = "auto",
    precision: Precision = "float32",
    organism: Organism = None,
    label_origin: LabelOrigin = None,
    data_folder: DataFolder = None,
    ontology: OntologyFile = None,
    terms: Terms = None,
    out: Out = RESULTS,
    retry: Retry = False,
) -> None:
    """Say what `scrutiny run` with the same options would do, what cannot run and why, and what it would cost.

    `scrutiny plan cells.h5ad --label cell_type --batch donor`
    """
    from rich.console import Console

    from scrutiny.cli.plans import show_plan

    tasks = tuple(task or ())
    chosen = _methods(methods, embedding, _models(model, device, precision), tasks)
    study = _study(file, label, batch, donor, layer, cells, budget, chosen, organism, label_origin, data_folder, tasks)
    study = _with_terms(study, ontology, terms)
    console = Console()
    _say_notes(study, console)
    show_plan(study.plan(out, retry=retry), console)


def demo(
    out: Out = Path("demo-results"),
    jobs: Jobs = None,
) -> None:
    """Score 700 blood cells that come with scanpy, as they are and with a planted technical batch. No network, under 3 minutes.

    Three small trained models, their untrained twins, cheap methods and controls.

    `scrutiny demo`
    """
    from rich.console import Console

    from scrutiny.core.registry import missing
    from scrutiny.data.demo import demo as demo_data
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.study import MINIS, Study, usual_methods, with_twins

    quick = tuple(name for name in usual_methods() if name not in ("scvi", "scanvi"))
    models = () if missing(("torch", "safetensors")) else with_twins([Chosen(name) for name in MINIS])
    if not models:
        Console().print("Without torch there are no trained models to compare: pip install 'scrutiny[models]' adds them.", highlight=False)
    _carry_out(Study(demo_data(), (*models, *quick), name="demo"), out, jobs=jobs)


def score(
    file: Annotated[Path, typer.Argument(help="A file with the embedding in obsm.")],
    embedding: Annotated[str, typer.Option("--embedding", help="Name of the array in obsm.")],
    label: Annotated[str | None, typer.Option("--label", help="Column of the cell types.")] = None,
    batch: Annotated[str | None, typer.Option("--batch", help="Column of the batches.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the table, as .csv or .parquet.")] = None,
    jobs: Jobs = None,
) -> None:
    """Score an embedding that you already have: one row a metric, beside what the controls score.

    `scrutiny score cells.h5ad --embedding X_mine --label cell_type --batch donor -o scores.csv`
    """
    from rich.console import Console

    from scrutiny.cli.plans import show_scores
    from scrutiny.cli.results import write_table
    from scrutiny.report.ready_made import score_embedding

    table = score_embedding(file, embedding, label=label, batch=batch, jobs=jobs)
    show_scores(table, embedding, Console())
    if output is not None:
        write_table(table, output)


def _study(
    file: str,
    label: list[str] | None,
    batch: str | None,
    donor: str | None,
    layer: str | None,
    cells: str,
    budget: str | None,
    methods: tuple[Any, ...],
    organism: str | None,
    label_origin: str | None,
    data_folder: Path | None,
    tasks: tuple[str, ...],
) -> Study:
    """The study that the options of `run` and `plan` declare."""
    from scrutiny.data.catalog import catalog
    from scrutiny.engine.sources import Source
    from scrutiny.engine.study import Study

    if file.endswith(".toml"):
        study = Study.from_toml(file)
        return replace(study, tasks=tasks) if tasks else study
    if label_origin is not None and label_origin not in ORIGINS:
        raise InputError(f"labels of the origin '{label_origin}' are not known; expected one of {', '.join(ORIGINS)}")
    of_catalog = not Path(file).exists() and file in catalog()
    source = Source(
        path=data_folder if of_catalog else Path(file),
        catalog=file if of_catalog else "",
        labels=tuple(label or ()),
        roles={role: column for role, column in (("batch", batch), ("donor", donor)) if column is not None},
        layer=layer,
        organism=organism,
        propose=True,
        cells=_cells(cells),
        facts={"label_origin": label_origin} if label_origin else {},
    )
    return Study((source,), methods, tasks, budget=_budget(budget))


def _with_terms(study: Study, ontology: Path | None, terms: Path | None) -> Study:
    """The study with an ontology and a table of terms for all of its files; what a study file names stays where the options do not."""
    from scrutiny.engine.sources import Source

    def told(source: Source) -> Source:
        return replace(source, ontology=ontology or source.ontology, terms=terms or source.terms)

    return replace(study, datasets=tuple(told(one) if isinstance(one, Source) else one for one in study.datasets))


def _budget(text: str | None) -> float | None:
    from scrutiny.engine.study import BUDGET
    from scrutiny.engine.studyfile import seconds_of

    return None if text == "none" else BUDGET if text is None else seconds_of(text)


def _cells(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 100:
        raise InputError(f"--cells is '{text}'; expected 'all' or a number of at least 100")
    return int(text)


def _methods(names: str | None, embeddings: list[str] | None, models: list[Chosen], tasks: tuple[str, ...]) -> tuple[Any, ...]:
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.study import CONTROLS, usual_methods, with_twins

    usual = usual_methods(tasks)
    controls = [name for name in usual if name in CONTROLS]
    chosen = [name.strip() for name in names.split(",") if name.strip()] if names else [name for name in usual if name not in controls]
    ready_made = [Chosen("precomputed", {"key": key}) for key in embeddings or ()]
    by_name = [Chosen(name) for name in chosen if name not in {model.name for model in models}]
    return (*ready_made, *with_twins([*models, *by_name]), *(control for control in controls if control not in chosen))


def _models(entries: list[str] | None, device: str, precision: str) -> list[Chosen]:
    """Models as `_model_of` reads them, with options for all of them."""
    from scrutiny.data.checkpoints import whole_path
    from scrutiny.engine.embedding import Chosen

    models = []
    for entry in entries or ():
        name, checkpoint = _model_of(entry)
        given = {"checkpoint": whole_path(checkpoint), "device": device, "precision": precision}
        usual = {"checkpoint": "", "device": "auto", "precision": "float32"}
        models.append(Chosen(name, {option: value for option, value in given.items() if value != usual[option]}))
    return models


def _model_of(entry: str) -> tuple[str, str]:
    """Name and checkpoint of ``FAMILY``, ``CHECKPOINT``, ``FOLDER`` (its files tell the family) or ``FAMILY=FOLDER``."""
    from scrutiny.core.registry import METHODS, require
    from scrutiny.data.checkpoints import family_and_checkpoint, near

    if found := family_and_checkpoint(entry):
        return found
    if (folder := Path(entry).expanduser()).exists():
        require(("torch", "safetensors"), "models", needed_by="recognising the files of a model")
        from scrutiny.methods.foundation.recognise import family_of

        return family_of(folder), entry
    name, _, checkpoint = entry.partition("=")
    family, other = family_and_checkpoint(name) or ("", "")
    if family and not other:
        return family, checkpoint
    if name in METHODS:
        if METHODS.get(name).card.model is None:
            raise InputError(f"{name} is not a published model; use --methods {name}")
        return name, checkpoint
    expected = "expected a family, the name of a checkpoint, a folder of official files, or FAMILY=FOLDER"
    raise InputError(f"no published model is called '{name}'; {near(name)}; {expected}")


def _carry_out(study: Study, out: Path, *, write_winner: Path | None = None, jobs: int | None = None, **options: Any) -> None:
    """Plan, run with a progress bar, say the verdict, write the report; leave with the exit code that tells how it went."""
    from rich.console import Console

    from scrutiny.cli.progress import progress_bar, training_bar
    from scrutiny.report.page import write_report
    from scrutiny.report.terminal import show

    console = Console()
    _say_notes(study, console)
    plan = study.plan(out, retry=options.get("retry", False))
    if all(run.state == "not applicable" for run in plan.runs):
        raise_nothing_applies(plan)
    if n_done := sum(run.state == "done" for run in plan.runs):
        console.print(f"{n_done} of {len(plan.runs)} runs are in {out} from before and are not done again.", highlight=False)
    try:
        for i, training in enumerate(trainings := plan.preparations()):
            with training_bar(console, f"training {i + 1} of {len(trainings)}: {training.called}, seed {training.seed}") as tell:
                training.carry_out(tell)
        with progress_bar(console) as on_event:
            store = study.run(out, on_event=on_event, jobs=jobs or usual_jobs(study), threads=1, **options)
    except KeyboardInterrupt:
        console.print(f"Stopped. What had finished is in {out}; the same command goes on from there.", style="yellow")
        raise typer.Exit(130) from None
    show([store], console)
    console.print(f"Report: {write_report([store], out / 'report.html')}", soft_wrap=True, highlight=False)
    keys = {run.spec.key for run in plan.runs}
    failed = [run for run in store.runs() if run.status == "failed" and run.spec.key in keys]
    if write_winner is not None:
        _take_home(study, store, write_winner, console)
    if failed:
        console.print(f"{len(failed)} of {len(keys)} runs failed; the report says why. '--retry' tries them again.", style="red")
        raise typer.Exit(1)


def usual_jobs(study: Study) -> int:
    """Processes at once: one a core; a single one where published models run on an accelerator, whose memory they would share."""
    from scrutiny.core.registry import METHODS

    devices = {str(chosen.options.get("device", "auto")) for chosen in study.grid.methods if METHODS.get(chosen.name).card.gpu}
    if devices:
        from scrutiny.nets.inference import device_of

        if any(device_of(device).type != "cpu" for device in devices):
            return 1
    return os.cpu_count() or 1


def raise_nothing_applies(plan: Any) -> None:
    """Leave with exit code 3 and the reasons."""
    import sys

    reasons = sorted({run.reason for run in plan.runs})
    print("scrutiny: nothing can be run on these data:", *(f"  - {reason}" for reason in reasons[:10]), sep="\n", file=sys.stderr)
    raise typer.Exit(3)


def _say_notes(study: Study, console: Console) -> None:
    for scored in study.grid.datasets:
        data = scored.data
        console.print(f"[bold]{data.name}[/]: {data.n_cells:,} cells x {data.n_genes:,} genes", highlight=False)
        for note in data.notes:
            console.print(f"  {note}", markup=False, highlight=False)


def _take_home(study: Study, store: Store, output: Path, console: Console) -> None:
    """Embed all cells of the file with the recommended method and write them into a copy of it."""
    from scrutiny.cli.embedding import embed_into
    from scrutiny.engine.sources import Source

    source = study.datasets[0]
    if len(study.datasets) != 1 or not isinstance(source, Source) or source.path is None or source.catalog:
        raise InputError("--write-winner needs a study of one file")
    best, task = _winner(study, store)
    if best.name == "precomputed":
        console.print(f"The winner for {task}, {best.options['key']}, is in obsm of the file already.", highlight=False)
        return
    console.print(f"The winner for {task} is {best.name}; embedding all cells with it.", highlight=False, soft_wrap=True)
    embed_into(output, source.whole(), best, source=source.path, console=console)


def _winner(study: Study, store: Store) -> tuple[Chosen, str]:
    """The first recommended embedding for the data set of a study, in the order of the report, and the task that it is for."""
    import json

    from scrutiny.core.registry import TASKS
    from scrutiny.report.gather import gather

    dataset = study.grid.datasets[0].name
    found = gather([store])
    for comparison, recommendation in zip(found.comparisons, found.recommendations):
        is_of_embeddings = TASKS.get(comparison.key.task).card.asks == "embed"
        if comparison.key.dataset == dataset and is_of_embeddings and recommendation.method:
            row = comparison.rows[comparison.rows["method"] == recommendation.method].iloc[0]
            return study.chosen(row["registered"], json.loads(row["method_options"])), comparison.key.task
    raise InputError(f"no embedding is recommended for {dataset}, so there is no winner to write")
