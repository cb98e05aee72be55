"""The command `scrutiny pretrain`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from scrutiny.tuning.loop import Report

Config = Annotated[Path, typer.Argument(help="Config of the training (.toml); `docs/PRETRAINING.md` says what it may hold.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for model and log; the same one goes on. By default beside the config.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder where the paths of [corpus] begin; by default that of the config.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Processes = Annotated[int, typer.Option("--processes", help="That train together here: one a GPU, or a part of the cores each.", min=1)]


def pretrain(config: Config, out: Out = None, data: Data = None, device: Device = "auto", processes: Processes = 1) -> None:
    """Train a model of any family on your own cells; stopped or killed, the same command goes on.

    `scrutiny pretrain rank.toml -o rank`

    The model is then scored like any other: `scrutiny run cells.h5ad --label cell_type --model geneformer=rank/model`
    """
    from rich.console import Console

    from scrutiny.cli.corpus import building_bar
    from scrutiny.core.registry import require

    require(("torch", "safetensors"), "models", needed_by="pretraining")
    from scrutiny.methods.foundation.pretraining import corpus_of
    from scrutiny.methods.foundation.pretraining import pretrain as train
    from scrutiny.report.training import write_curves
    from scrutiny.tuning.config import read_pretraining
    from scrutiny.tuning.curves import read_log

    console = Console()
    read = read_pretraining(config)
    read = replace(read, folder=data) if data is not None else read
    out = out if out is not None else config.with_suffix("")
    _say(f"The corpus of {read.name} is read, or built if it is not there yet.", console)
    try:
        with building_bar(console) as building:
            corpus = corpus_of(read, out, building)
        files = ", ".join(corpus.manifest["files"])
        _say(f"{read.name}: {read.family} for {read.objective} on {corpus.n_cells:,} cells of {files}", console)
        with progress_of_training(console) as tell:
            folder = train(read, out, corpus=corpus, device=device, processes=processes, tell=tell)
    except KeyboardInterrupt:
        _say(f"Stopped. The same command goes on with what is in {out}: the corpus, and the last snapshot.", console)
        raise typer.Exit(130) from None
    _say(f"Curves: {write_curves(read_log(folder / 'log.csv'), out / 'curves.svg', title=read.name)}", console)
    _say(f"Model: {folder}; try it: scrutiny run CELLS --label COLUMN --model {read.family}={folder}", console)


@contextmanager
def progress_of_training(console: Console) -> Iterator[Callable[[Report], None]]:
    """A bar with the loss and the time left; a line for each validation, with the curve so far."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from scrutiny.report.training import sparkline

    validation: list[float] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=1.0)

        def tell(report: Report) -> None:
            bar.update(task, completed=min(report.progress, 1.0), description=f"step {report.step:,} loss {report.loss:.4g}")
            if (row := report.row) is not None:
                validation.append(row["validation"])
                how_far = f"{100 * row['progress']:3.0f} % epoch {row['epoch']:.2f}"
                _say(f"{how_far}  train {row['train']:.4g}  validation {row['validation']:.4g}  {sparkline(validation)}", console)

        yield tell


def _say(text: str, console: Console) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
