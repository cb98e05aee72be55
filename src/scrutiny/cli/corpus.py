"""Commands on the cells that models are trained on: corpus build, show, audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.cli.progress import SECONDS_BETWEEN_LINES, time_left
from scrutiny.cli.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rich.console import Console

    from scrutiny.data.corpus import Corpus
    from scrutiny.data.corpus_build import Progress

corpus_app = typer.Typer(help="Cells to train on: build a corpus, show one, and tell whether cells are in it.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="TOML file with a table [corpus]; `docs/CORPUS.md` says what it may hold.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder where the paths of [corpus] begin; by default that of the config.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a corpus.")]
Trained = Annotated[Path, typer.Argument(help="Folder of a corpus, or of a model that was trained on one.")]
Cells = Annotated[Path, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or a 10x matrix folder.")]
Layer = Annotated[str | None, typer.Option(help="Where the counts are: X, raw or the name of a layer.")]


@corpus_app.command("build")
def build(config: Config, out: Out, data: Data = None) -> None:
    """Make a corpus: poor cells and duplicates left out, studies held out by rule, the rest in random order in shards.

    `scrutiny corpus build corpus.toml -o corpus`

    A finished corpus of the same config and files is left as it is; a build that was stopped goes on.
    """
    from rich.console import Console

    from scrutiny.data.corpus_build import build_corpus
    from scrutiny.data.corpus_config import read_corpus_config

    console = Console()
    wanted = read_corpus_config(config, data)
    with building_bar(console) as tell:
        corpus = build_corpus(wanted, out, tell=tell)
    _show(corpus, console)


@corpus_app.command("show")
def show(folder: Folder) -> None:
    """Show where the cells of a corpus come from, what was left out and why, and its genes.

    `scrutiny corpus show corpus`
    """
    from rich.console import Console

    from scrutiny.data.corpus import Corpus

    _show(Corpus(folder), Console())


@corpus_app.command("audit")
def audit(folder: Trained, cells: Cells, layer: Layer = None) -> None:
    """Say whether cells are in a corpus, or in that of a model: seen, not listed or unknown, by the counts of each cell.

    `scrutiny corpus audit corpus cells.h5ad`, `scrutiny corpus audit rank/model cells.h5ad`
    """
    from rich.console import Console

    from scrutiny.data.corpus_audit import audit as audited
    from scrutiny.data.read import read

    found = audited(read(cells, layer=layer), folder)
    _say(f"{found.answer}: {found.source}", Console())


def _show(corpus: Corpus, console: Console) -> None:
    """Tables of files, of studies where a file has several, and of reasons; then totals."""
    files, cells, genes = corpus.manifest["files"], corpus.manifest["cells"], corpus.manifest["genes"]
    _show_counts(f"Cells of {corpus.folder}", "file", files, console)
    several = {name: file["studies"] for name, file in files.items() if len(file["studies"]) > 1}
    if studies := {f"{name}: {study}": counts for name, of_file in several.items() for study, counts in of_file.items()}:
        _show_counts("By study", "study", studies, console)
    if cells["left_out"]:
        reasons = plain_table("Left out", "cells", "because they", right=("cells",))
        for reason, n in cells["left_out"].items():
            reasons.add_row(f"{n:,}", reason)
        console.print(reasons)
    shards = f"{len(corpus.train)} + {len(corpus.validation)} shards"
    _say(f"{cells['train']:,} cells to train on, {cells['validation']:,} for validation, in {shards}", console)
    _say(f"{genes['kept']:,} genes of {genes['of']:,}; {genes['listed_by_all']:,} are listed by all files", console)
    if held := corpus.manifest["held_out_files"]:
        _say(f"No cell equals one of {', '.join(held)}, as far as they could be compared", console)


def _show_counts(title: str, what: str, counted: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    table = plain_table(title, what, "cells", "kept", "left out", right=("cells", "kept", "left out"))
    for name, counts in counted.items():
        table.add_row(name, *(f"{n:,}" for n in (counts["cells"], counts["kept"], counts["cells"] - counts["kept"])))
    console.print(table)


@contextmanager
def building_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar for each step, with the time left; where nobody watches, a line now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    told = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} cells"))
    with Bars(*told, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bars:
        steps: dict[str, Any] = {}

        def tell(progress: Progress) -> None:
            if progress.step not in steps:
                steps[progress.step] = bars.add_task(progress.step, total=progress.total)
            bars.update(steps[progress.step], completed=progress.done)

        yield tell


class _Lines:
    """How far a build is, in words, every half minute."""

    def __init__(self, console: Console) -> None:
        self.console, self.step, self.last = console, "", monotonic()
        self.begun, self.before = self.last, 0

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if progress.step != self.step:
            self.step, self.begun, self.before = progress.step, now, progress.done
        elif now - self.last > SECONDS_BETWEEN_LINES and progress.done > self.before:
            left = (progress.total - progress.done) * (now - self.begun) / (progress.done - self.before)
            self.last = now
            _say(f"{progress.step}: {progress.done:,} of {progress.total:,}, {time_left(left)}", self.console)


def _say(text: str, console: Console) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
