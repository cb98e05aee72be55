"""The command that embeds all cells of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrutiny.cli.options import Batch, Engine, Layer, Organism, Scheduler
from scrutiny.cli.pairs import once_each, pair
from scrutiny.core.errors import NotApplicable

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.core.cards import ModelCard
    from scrutiny.core.dataset import Dataset
    from scrutiny.engine.embedding import Chosen, Request
    from scrutiny.engine.spread import Progress, Tell
    from scrutiny.engine.study import Workers

ENOUGH_GENES = 0.5
"""Share of the genes below which what a model knows of the data deserves a warning."""


def embed(
    method: Annotated[str, typer.Argument(help="A published model or another method; see 'scrutiny list methods'.")],
    file: Annotated[Path, typer.Argument(help="The cells.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".h5ad (a copy with obsm set), .parquet, .csv or .npz.")],
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="Folder with the official files of a model, or the name of a fetched one.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE for the method, e.g. layer=-2; may be given several times.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps; several separated by commas get a process each.")
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="float32, or bfloat16, faster where the hardware has it.")] = None,
    batch: Batch = None,
    layer: Layer = None,
    organism: Organism = None,
    key: Annotated[str | None, typer.Option("--key", help="Name in obsm; X_METHOD by default.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes that share the cells.")] = 1,
    engine: Engine = "local",
    scheduler: Scheduler = "",
) -> None:
    """Embed all cells of a file with one method, published models and baselines alike, and write them beside the vectors.

    `scrutiny embed geneformer cells.h5ad --checkpoint weights/geneformer -o with_geneformer.h5ad`

    `scrutiny embed harmony cells.h5ad --batch donor -o with_harmony.h5ad`

    What a model has embedded is kept next to the output until that is written: stopped or killed, the same command goes on from there.
    """
    from rich.console import Console

    from scrutiny.data.checkpoints import whole_path
    from scrutiny.data.write import check_target
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.study import Workers

    given = {"checkpoint": checkpoint and whole_path(checkpoint), "device": device, "precision": precision}
    named = [(name, value) for name, value in given.items() if value is not None]
    options = once_each([*(pair(text, "--option") for text in option or ()), *named])
    chosen, workers, console = Chosen(method, options), Workers(jobs=jobs, engine=engine, scheduler=scheduler), Console()  # type: ignore[arg-type]
    check_target(output, file)
    data = _read(file, chosen.make(), batch, layer, organism, console)
    try:
        embed_into(output, data, chosen, source=file, console=console, key=key, seed=seed, workers=workers)
    except NotApplicable as error:
        print(f"scrutiny: {error}", file=sys.stderr)
        raise typer.Exit(3) from None


def embed_into(
    output: Path,
    data: Dataset,
    chosen: Chosen,
    *,
    source: Path,
    console: Console,
    key: str | None = None,
    seed: int = 0,
    workers: Workers | None = None,
) -> None:
    """Embed the cells of a file and write them to ``output``; finished shards are kept in ``.OUTPUT.shards`` until it stands."""
    from scrutiny.cli.progress import cells_bar
    from scrutiny.core.atomic import refused
    from scrutiny.data.write import write_embedding
    from scrutiny.engine.once import embedded
    from scrutiny.engine.study import Workers

    folder, ready = output.with_name(f".{output.name}.shards"), partial(_say_of_model, console=console)
    with (
        cells_bar(console) as show,
        _stoppable(show, folder, console) as tell,
        embedded(data, chosen, seed=seed, folder=folder, tell=tell, ready=ready, workers=workers or Workers()) as made,
    ):
        name, n_dims = key or f"X_{chosen.name.replace('/', '_')}", made.vectors.n_dims
        try:
            write_embedding(made.vectors, output, key=name, source=source, about=made.about())
        except OSError as error:
            raise refused(output, error) from error
    _say(f"Wrote {data.n_cells:,} cells with {name} ({n_dims} dimensions): {output}", console)


def _read(file: Path, method: Any, batch: str | None, layer: str | None, organism: str | None, console: Console) -> Dataset:
    """The cells, with the batch column that the user named or, if the method reads one, that looks like it."""
    from scrutiny.data.propose import propose_roles
    from scrutiny.data.read import read

    arrays = (method.obsm_key,) if hasattr(method, "obsm_key") else ()
    data = read(file, roles={"batch": batch} if batch is not None else {}, layer=layer, organism=organism, obsm=arrays)
    _say(f"{data.name}: {data.n_cells:,} cells x {data.n_genes:,} genes", console)
    for note in data.notes:
        _say(f"  {note}", console)
    if "batch" in method.card.reads and batch is None and (found := propose_roles(data.obs)["batch"]):
        _say(f"  The batch is taken from {found[0]}.", console)
        data = data.with_roles(batch=found[0].column)
    return data


@contextmanager
def _stoppable(show: Tell, folder: Path, console: Console) -> Iterator[Tell]:
    """Show progress; stopped by Ctrl-C, say how far it came and leave with 130. Before the first cell there is nothing to add."""
    last: list[Progress] = []

    def tell(progress: Progress) -> None:
        last[:] = [progress]
        show(progress)

    try:
        yield tell
    except KeyboardInterrupt:
        if not last:
            raise
        how_far = f"Stopped at {last[0].done:,} of {last[0].total:,} cells"
        _say(f"{how_far}; the same command goes on from there (finished cells are in {folder})", console)
        raise typer.Exit(130) from None


def _say_of_model(asked: Request, console: Console) -> None:
    """Of a published model: what binds its weights, and how many genes it knows."""
    if (model := asked.card.model) is None:
        return
    if not model.commercial:
        _say(_terms(model), console)
    facts = asked.method.facts(asked.query) if hasattr(asked.method, "facts") else {}
    if "genes" in facts:
        _say(_known_genes(model.title, facts["genes"]), console)


def _known_genes(title: str, facts: Mapping[str, Any]) -> str:
    of, share = facts["n_genes"], facts["share"]
    how = facts["looked_up_by"].replace("ensembl_id", "Ensembl id") + (f" and {facts['translated']}" if facts["translated"] else "")
    known = f"{round(share * of):,} of your {of:,} genes ({100 * share:.0f} %), looked up by {how}."
    return f"{title} knows {known}" if share >= ENOUGH_GENES else f"Warning: {title} knows only {known}"


def _terms(model: ModelCard) -> str:
    if model.commercial is None:
        return f"Nobody says whether the weights of {model.title} may be used commercially (licence: {model.weights_licence})."
    return f"The weights of {model.title} are for non-commercial use only (licence: {model.weights_licence})."


def _say(text: str, console: Console) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
