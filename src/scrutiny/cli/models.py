"""Commands on the weights of published models and of the small ones of the package: models list, show, fetch, check, convert, draft."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrutiny.cli.pairs import once_each, pair
from scrutiny.cli.tables import plain_table
from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.core.cards import MethodCard, ModelCard
    from scrutiny.data.checkpoints import Checkpoint
    from scrutiny.methods.foundation.examine import Examined

models_app = typer.Typer(help="Weights of the published models: list, show, fetch, check, convert and draft them.", no_args_is_help=True)
HOW = """* what the name of the family alone means, e.g. `scrutiny models fetch scgpt`
fetch: `scrutiny models fetch NAME`
by hand: the same command says what to download from where, and where to put it
packaged: comes with scrutiny, e.g. `scrutiny run FILE --model scrutiny/mini-rank`
licence: of the weights, in short; `scrutiny models show NAME` has it in full"""

Name = Annotated[str, typer.Argument(help="Name of a checkpoint, or of a family for its default; see `scrutiny models list`.")]
Folder = Annotated[Path, typer.Argument(help="Folder with the official files of one checkpoint.")]
Target = Annotated[Path, typer.Argument(help="Folder to write; changed files are written again, others in it stay.")]


@models_app.command("list")
def list_models() -> None:
    """List published checkpoints and the small models of the package: size, licence of the weights, whether they are here, how to get them.

    `scrutiny models list`
    """
    from rich.console import Console

    from scrutiny.core.registry import METHODS
    from scrutiny.data.checkpoints import checkpoints, default_checkpoints, fetched_folder
    from scrutiny.engine.study import MINIS

    numbers = ("parameters", "size")
    table = plain_table("Published models", "name", *numbers, "licence", "here", "get it", right=numbers)
    table.padding = (0, 0)  # fits into 80 columns
    cards = {family: METHODS.get(family).card.model for family in default_checkpoints()}
    for name, known in checkpoints().items():
        mark = "*" if name in default_checkpoints().values() else ""
        here, how = "yes" if fetched_folder(name) else "no", "by hand" if known.by_hand else "fetch"
        table.add_row(name + mark, known.parameters, megabytes(known.size), licence_code(cards[known.family]), here, how)
    for name in MINIS:
        card = METHODS.get(name).card.model
        table.add_row(name, card.parameters, megabytes(_size_of_weights(name)), licence_code(card), "yes", "packaged")
    console = Console()
    console.print(table)
    console.print(HOW, markup=False, highlight=False)


@models_app.command("show")
def show_model(name: Name) -> None:
    """Show the card of a model: what it is, what it was trained on, what its use is bound to, and which data sets it may have seen.

    `scrutiny models show geneformer`, `scrutiny models show scgpt-blood`, `scrutiny models show scrutiny/mini-rank`
    """
    from rich.console import Console

    from scrutiny.core.registry import METHODS
    from scrutiny.data.checkpoints import checkpoint, checkpoints, default_checkpoints
    from scrutiny.engine.study import MINIS

    console = Console()
    if name.lower() in MINIS:
        _print_packaged(console, name.lower())
        return
    known = checkpoint(name)
    method = METHODS.get(known.family)
    _print_card(console, method.card)
    _print_options(console, method)
    _print_exposure(console, known.family)
    for one in [known] if name.lower() not in default_checkpoints() else [c for c in checkpoints().values() if c.family == known.family]:
        _print_checkpoint(console, one)


@models_app.command("fetch")
def fetch_model(
    name: Name,
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to put it; the user's cache otherwise.")] = None,
) -> None:
    """Fetch the official files of a checkpoint, or say what a person has to download and where to put it. Goes on where it was cut.

    `scrutiny models fetch geneformer-v2-104m`

    `scrutiny models fetch scgpt --folder weights/scGPT_human`

    HF_ENDPOINT names another Hugging Face hub, XDG_CACHE_HOME another cache.
    """
    from scrutiny.core.registry import METHODS
    from scrutiny.data.checkpoints import checkpoint, folder_of
    from scrutiny.data.fetching import fetch
    from scrutiny.engine.study import MINIS

    if name.lower() in MINIS:
        print(f"{name.lower()} comes with scrutiny; nothing is to be fetched. Use it with `scrutiny run FILE --model {name.lower()}`")
        return
    known = checkpoint(name)
    print(f"{known.name}: {known.about}; weights: {licence_of(METHODS.get(known.family).card.model)}")
    for file in known.files:
        place = (folder or folder_of(known.name)) / file.name
        print(f"  {'here   ' if place.is_file() else 'missing'} {place}\n          {origin_of(file)}", flush=True)
    there = fetch(name, folder, progress=True)
    use = f"--model {known.family}={there}" if folder else f"--model {known.name}"
    print(f"{known.name} is whole in {there}. Look at it with `scrutiny models check {there}`, use it with `scrutiny run FILE {use}`")


@models_app.command("check")
def check_model(
    folder: Folder,
    family: Annotated[str, typer.Option("--family", help="Of which family the files are; told from their names otherwise.")] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "cpu",
) -> None:
    """Read a folder of official files strictly, embed made-up cells, and say what is in it. Exit code 2 if anything does not fit.

    `scrutiny models check weights/scGPT_human`

    `scrutiny models check weights/mine --family geneformer`
    """
    from rich.console import Console

    from scrutiny.core.registry import require

    require(("torch", "safetensors"), "models", needed_by="checking a checkpoint")
    from scrutiny.methods.foundation.examine import examine

    found = examine(folder, family, device=device)
    console = Console()
    table = plain_table(f"{folder}", "", "")
    for row in _rows_of(found):
        table.add_row(*row)
    console.print(table)
    print("OK: every tensor is used or dropped on purpose, and made-up cells get finite vectors")


@models_app.command("convert")
def convert_model(folder: Folder, out: Target) -> None:
    """Write a checkpoint anew without pickles: weights as safetensors, dictionaries as JSON. Every model reads it to the same numbers.

    Sample data (.npz, and .h5ad that no model reads) are left out.

    `scrutiny models convert weights/scGPT_human weights/scGPT_human_safe`
    """
    from scrutiny.core.registry import require

    require(("torch", "safetensors"), "models", needed_by="converting a checkpoint")
    from scrutiny.nets.convert import convert

    done = convert(folder, out, tell=print)
    for name, reason in done.left_out.items():
        print(f"left out: {name} ({reason})")
    print(f"{out} has {len(done.converted)} files converted and {len(done.copied)} copied. Look at it with `scrutiny models check {out}`")


@models_app.command("draft")
def draft_model(
    family: Annotated[str, typer.Argument(help="Whose layout: scgpt, geneformer ...; see `scrutiny models list`.")],
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    genes: Annotated[
        Path, typer.Option("--genes", help="Table (.tsv) of genes: symbol, ensembl_id, median; genes.tsv of a corpus is one.")
    ],
    size: Annotated[list[str] | None, typer.Option("--size", help="NAME=VALUE, e.g. width=64; may be given several times.")] = None,
) -> None:
    """Write config and vocabulary of a model of any size over any genes, without trained weights: its untrained twin runs on it.

    `scrutiny models draft scgpt drafts/small --genes corpus/genes.tsv --size width=64 --size layers=2`
    """
    import pandas as pd

    from scrutiny.core.registry import require

    require(("torch", "safetensors"), "models", needed_by="drafting a model")
    from scrutiny.data.checkpoints import record
    from scrutiny.methods.foundation.drafts import draft

    try:
        table = pd.read_csv(genes, sep="\t", index_col=0, keep_default_na=False, na_values={"median": ""})
    except (OSError, ValueError) as error:
        raise InputError(f"{genes} is no table of genes: {error}") from error
    draft(family, folder, genes=table, sizes=once_each(pair(text, "--size") for text in size or ()))
    made = record(folder)
    sizes = ", ".join(f"{name} {value}" for name, value in made["sizes"].items() if value != "")
    print(f"{folder} is a draft of {made['family']}: {sizes}")
    for note in made["notes"]:
        print(f"  {note}")


# What the tables say -----------------------------------------------------------------------------------------------------------


def licence_of(card: ModelCard) -> str:
    """The licence of the weights, with what is most easily overlooked put first."""
    return f"NON-COMMERCIAL: {card.weights_licence}" if card.commercial is False else card.weights_licence


def licence_code(card: ModelCard) -> str:
    """The licence of the weights in a word or two, for a table."""
    if card.commercial is False:
        return "[bold]non-commercial[/bold]"
    stated = not card.weights_licence.startswith(("none", "not stated"))
    return card.weights_licence.partition(" (")[0] if stated else "none stated"


def megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def _print_card(console: Console, card: MethodCard) -> None:
    from dataclasses import asdict

    table = plain_table(card.name, "", "")
    model = asdict(card.model) if card.model else {}
    commercial = {True: "allowed", False: "NOT allowed", None: "nobody says"}[model.pop("commercial", None)]
    organisms = ", ".join(sorted(card.organisms)) if card.organisms else "any"
    needs = {"input scale": card.scale or "any", "organisms": organisms, "other cells matter": "yes" if card.transductive else "no"}
    rows = {"summary": card.summary, **model, "commercial use of the weights": commercial, **needs, "citation": card.citation}
    for name, value in rows.items():
        if value:
            table.add_row(name.replace("_", " "), str(value))
    console.print(table)


def _print_options(console: Console, method: Any) -> None:
    """The options of a model's class with their defaults and what its docstring says of them."""
    from scrutiny.methods.foundation.options import options_of

    table = plain_table("Options", "name", "default", "what it is")
    for option in options_of(method):
        table.add_row(option.name, repr(option.default), option.about)
    console.print(table)


def _print_exposure(console: Console, family: str) -> None:
    from scrutiny.data.catalog import catalog

    table = plain_table("Known data sets in its pretraining", "data set", "model", "answer", "who says so")
    for name, entry in sorted(catalog().items()):
        told = {model: exposure for model, exposure in entry.pretraining.items() if model == family or model.startswith(f"{family}_")}
        for model, exposure in told.items():
            table.add_row(name, model, exposure.answer, exposure.source)
    if table.row_count:
        console.print(table)
    else:
        console.print(f"Of no data set of the catalogue it is known whether {family} saw it in pretraining.\n", highlight=False)


def _print_packaged(console: Console, name: str) -> None:
    """A small model of the package: card, options, what it was trained on by its own manifest, and where it lies."""
    from scrutiny.core.registry import METHODS
    from scrutiny.data.corpus import read_manifest

    method = METHODS.get(name)
    _print_card(console, method.card)
    _print_options(console, method)
    folder = _packaged_folder(name)
    manifest = read_manifest(folder)
    table = plain_table("Known data sets in its pretraining", "data set", "answer", "who says so")
    for file, counts in manifest["files"].items():
        table.add_row(file, "seen", f"manifest of its corpus: {counts['kept']:,} of {counts['cells']:,} cells")
    for file in manifest["held_out_files"]:
        table.add_row(file, "not listed", "manifest of its corpus: held out")
    console.print(table)
    table = plain_table(name, "", "")
    for row in (
        ("here", f"{folder} (comes with the package)"),
        ("use it", f"scrutiny run FILE --model {name}"),
        ("your cells", f"scrutiny corpus audit {folder} FILE"),
    ):
        table.add_row(*row)
    console.print(table)


def _packaged_folder(name: str) -> Path:
    from scrutiny.core.registry import METHODS

    return Path(METHODS.get(name)().folder.path)


def _size_of_weights(name: str) -> int:
    return sum(file.stat().st_size for file in _packaged_folder(name).glob("*.safetensors"))


def _print_checkpoint(console: Console, known: Checkpoint) -> None:
    from scrutiny.data.checkpoints import fetched_folder

    table = plain_table(known.name, "", "")
    rows = {"about": known.about, "parameters": known.parameters, "links from": known.source, "unverified": known.unverified}
    rows |= {"here": str(fetched_folder(known.name) or "no"), "get it": f"scrutiny models fetch {known.name}"}
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    for file in known.files:
        table.add_row("file", f"{file.name}: {origin_of(file)}{f', {megabytes(file.size)}' if file.size else ''}")
    console.print(table)


def origin_of(file: Any) -> str:
    """Where a file comes from, in words."""
    if file.by_hand:
        return f"by hand from {file.by_hand}"
    if file.repo:
        return f"from Hugging Face {file.repo}, {file.path or file.name} at {file.revision[:8]}"
    return f"from {file.url}{f' ({file.member} within)' if file.member else ''}"


def _rows_of(found: Examined) -> list[tuple[str, str]]:
    vocabulary = found.vocabulary
    kind = "gene symbols" if vocabulary.kind == "symbol" else "Ensembl ids"
    rows = [
        ("family", found.family),
        ("weights", found.origin),
        ("config", ", ".join(f"{name} {value}" for name, value in found.config.items())),
        ("parameters", f"{found.n_parameters:,}"),
        ("tensors used", str(found.n_used)),
        *((f"dropped: {len(names)}", f"{', '.join(names[:3])}{' ...' * (len(names) > 3)} ({why})") for why, names in found.dropped.items()),
        ("not in this checkpoint", ", ".join(found.absent)),
        ("vocabulary", f"{len(vocabulary.names):,} {kind}"),
        ("vector of a cell", f"{found.n_dims} numbers"),
        ("key of the content", found.key),
    ]
    return [(name, value) for name, value in rows if value]
