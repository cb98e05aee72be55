"""Commands that compute: run, demo, plan, score."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrutiny.cli.declaring import Cells, Question, study_of
from scrutiny.cli.options import (
    RESULTS,
    Adapt,
    Batch,
    Budget,
    DataFolder,
    Device,
    Donor,
    Embeddings,
    Engine,
    File,
    HoldOut,
    Jobs,
    Label,
    LabelOrigin,
    Layer,
    Methods,
    Models,
    OntologyFile,
    Organism,
    Out,
    Precision,
    Retry,
    Roles,
    Scheduler,
    Seeds,
    Size,
    Tasks,
    Terms,
    WriteWinner,
)
from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.store import Store
    from scrutiny.engine.study import Study


def run(
    file: File,
    label: Label = None,
    batch: Batch = None,
    donor: Donor = None,
    role: Roles = None,
    hold_out: HoldOut = None,
    layer: Layer = None,
    cells: Size = "5000",
    budget: Budget = None,
    task: Tasks = None,
    methods: Methods = None,
    embedding: Embeddings = None,
    model: Models = None,
    adapt: Adapt = None,
    seeds: Seeds = None,
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

    `scrutiny run cells.h5ad --label cell_type --task annotation --task annotation_few --model scgpt --adapt lora,full`

    `scrutiny run cells.h5ad --label cell_type --hold-out condition=stim`

    `scrutiny run study.toml`
    """
    about = Cells(file, label, batch, donor, role, hold_out, layer, cells, organism, label_origin, data_folder, ontology, terms)
    study = study_of(about, Question(task, methods, embedding, model, adapt, device, precision, seeds), budget)
    _carry_out(study, out, retry=retry, jobs=jobs, engine=engine, scheduler=scheduler, write_winner=write_winner)


def plan(
    file: File,
    label: Label = None,
    batch: Batch = None,
    donor: Donor = None,
    role: Roles = None,
    hold_out: HoldOut = None,
    layer: Layer = None,
    cells: Size = "5000",
    budget: Budget = None,
    task: Tasks = None,
    methods: Methods = None,
    embedding: Embeddings = None,
    model: Models = None,
    adapt: Adapt = None,
    seeds: Seeds = None,
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

    about = Cells(file, label, batch, donor, role, hold_out, layer, cells, organism, label_origin, data_folder, ontology, terms)
    study = study_of(about, Question(task, methods, embedding, model, adapt, device, precision, seeds), budget)
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
