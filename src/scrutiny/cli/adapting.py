"""The command that adapts a model to the labels of a file and keeps the adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from scrutiny.cli.options import Layer, Organism
from scrutiny.cli.pairs import once_each, pair
from scrutiny.core.errors import InputError, NotApplicable


def adapt(
    file: Annotated[Path, typer.Argument(help="Cells with labels.")],
    model: Annotated[str, typer.Option("--model", help="A published model or one of ours; see 'scrutiny models list'.")],
    how: Annotated[str, typer.Option("--how", help="lora, adapters, ia3, last or full; docs/ADAPTATION.md says what each trains.")],
    label: Annotated[str, typer.Option("--label", help="Column of the labels; cells without one are left out.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the adapter.")],
    batch: Annotated[str | None, typer.Option("--batch", help="Column of the batches; whole ones tell when to stop.")] = None,
    donor: Annotated[str | None, typer.Option("--donor", help="Column of the donors; preferred to batches.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Folder or name of the weights of a published model.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE, e.g. rank=16; may be given several times.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    weights: Annotated[Path | None, typer.Option("--weights", help="New folder for the adapted net in the layout of its family.")] = None,
    layer: Layer = None,
    organism: Organism = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Adapt a model to labels, and keep what was trained as a small file; stopped or killed, the same command goes on.

    `scrutiny adapt atlas.h5ad --model geneformer --how lora --label cell_type --donor donor -o adapter`

    `scrutiny annotate new.h5ad --reference atlas.h5ad --label cell_type --method geneformer+lora --option adapter=adapter -o labels.csv`
    """
    from rich.console import Console

    from scrutiny.cli.pretraining import progress_of_training
    from scrutiny.core.registry import METHODS, check_installed
    from scrutiny.data.checkpoints import whole_path
    from scrutiny.data.quality import keep_good
    from scrutiny.data.read import read
    from scrutiny.engine.embedding import Chosen

    console = Console()
    for folder in filter(None, (output, weights)):
        if folder.exists():
            raise InputError(f"{folder} is there already; name a new folder")
    given = {"device": device, **({"checkpoint": whole_path(checkpoint)} if checkpoint is not None else {})}
    options = once_each([*(pair(text, "--option") for text in option or ()), *given.items()])
    name = f"{model}+{how}"
    check_installed(METHODS.get(name).card)
    method = Chosen(name, options).make()
    roles = {role: column for role, column in {"label": label, "batch": batch, "donor": donor}.items() if column is not None}
    data = keep_good(read(file, roles=roles, layer=layer, organism=organism))
    _say(f"{data.name}: {data.n_cells:,} cells x {data.n_genes:,} genes", console)
    for note in data.notes:
        _say(f"  {note}", console)
    try:
        method.check_applies(data)
        with progress_of_training(console) as tell:
            method.fit(data, seed=seed, tell=tell)
    except NotApplicable as error:
        print(f"scrutiny: {error}", file=sys.stderr)
        raise typer.Exit(3) from None
    except KeyboardInterrupt:
        _say(f"Stopped. The same command goes on from the last snapshot, which is in {method.adapters}.", console)
        raise typer.Exit(130) from None
    method.write_adapter(output)
    told = method.told["adapted"]
    held = told["held_out"]
    by = "" if held["by"] in ("cell", "nothing") else f", those of whole {held['by']}s"
    _say(f"{told['cells']:,} cells were learnt from, {held['cells']:,} told when to stop{by}.", console)
    _say(f"{told['n_trainable']:,} numbers were trained in {told['seconds']:,.0f} s. Adapter: {output}", console)
    if weights is not None:
        method.write_model(weights)
        _say(f"Adapted weights: {weights}", console)


def _say(text: str, console: object) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)  # type: ignore[attr-defined]
