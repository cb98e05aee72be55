"""The command that tells the labels of the cells of a file after learning them on a reference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.cli.options import Layer, Organism
from scrutiny.cli.pairs import once_each, pair
from scrutiny.core.errors import InputError, NotApplicable

if TYPE_CHECKING:
    from rich.console import Console

    from scrutiny.core.dataset import Dataset
    from scrutiny.engine.annotate import Annotated as Told
    from scrutiny.engine.embedding import Chosen

UNLIKE = 3.0
"""So many times the share of the reference that is rejected, and the query deserves a warning."""


def annotate(
    query: Annotated[Path, typer.Argument(help="The cells to be labelled.")],
    reference: Annotated[Path, typer.Option("--reference", help="Cells with labels, on genes that the query has too.")],
    label: Annotated[str, typer.Option("--label", help="Column of the labels in the reference.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv, .tsv or .h5ad (a copy with three more columns in obs).")],
    method: Annotated[str | None, typer.Option("--method", help="METHOD+HEAD, or another; by default hvg_pca+logreg.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Folder of results: take the method that they recommend for annotation.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Folder or name of the weights of a published model.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE for the method; may be given several times.")] = None,
    batch: Annotated[str | None, typer.Option("--batch", help="Column of the batches, for methods that read them.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Call cells that are too unsure 'unknown'.")] = False,
    layer: Layer = None,
    organism: Organism = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Label the cells of a file after a reference, with calibrated confidence.

    `scrutiny annotate new.h5ad --reference atlas.h5ad --label cell_type --reject -o labels.csv`

    `scrutiny annotate new.h5ad --reference atlas.h5ad --label cell_type --method scgpt+lora --checkpoint weights/scGPT -o labels.csv`

    `scrutiny annotate new.h5ad --reference atlas.h5ad --label cell_type --store scrutiny-results -o labels.csv`

    A tenth of the reference is kept out of training: on it probabilities are calibrated, and a threshold is set that rejects one in
    twenty of such cells.
    """
    from rich.console import Console

    from scrutiny.data.checkpoints import whole_path
    from scrutiny.data.quality import keep_good
    from scrutiny.data.write_labels import check_labels_target, write_labels
    from scrutiny.engine.annotate import USUAL
    from scrutiny.engine.annotate import annotate as annotated
    from scrutiny.engine.embedding import Chosen

    console = Console()
    check_labels_target(output, query)
    if store is not None and (method or checkpoint or option):
        raise InputError("--store names the method with its options; leave out --method, --checkpoint and --option")
    weights = [("checkpoint", whole_path(checkpoint))] if checkpoint else []
    options = once_each([*(pair(text, "--option") for text in option or ()), *weights])
    chosen = _recommended(store, console) if store is not None else Chosen(method or USUAL, options)
    chosen.make()
    whole = _read(reference, {"label": label}, batch, layer, organism, must=True)
    labelled = keep_good(whole)
    cells = _read(query, {}, batch, layer, organism, must=False)
    try:
        found = annotated(cells, labelled, chosen.name, options=chosen.options, seed=seed)
    except NotApplicable as error:
        print(f"scrutiny: {error}", file=sys.stderr)
        raise typer.Exit(3) from None
    write_labels(_named(found, reject, output), output, query)
    for note in labelled.notes[len(whole.notes) :]:
        console.print(f"Reference: {note}", markup=False, highlight=False, soft_wrap=True)
    _say(found, reject, console)
    console.print(f"Wrote the labels of {cells.n_cells:,} cells by {chosen.name}: {output}", highlight=False, soft_wrap=True)


def _read(path: Path, roles: dict[str, str], batch: str | None, layer: str | None, organism: str | None, *, must: bool) -> Dataset:
    from scrutiny.data.read import read

    data = read(path, roles=roles, layer=layer, organism=organism, obsm=())
    has_batch = batch is not None and (must or batch in data.obs)
    return data.with_roles(batch=batch) if has_batch else data


def _named(found: Told, reject: bool, output: Path) -> object:
    table = found.table(reject=reject)
    return table.add_prefix("scrutiny_") if output.suffix == ".h5ad" else table


def _say(found: Told, reject: bool, console: Console) -> None:
    """What a user must know before trusting the labels."""
    from scrutiny.metrics.calibration import REJECTED

    n_cells, n_unsure, threshold = found.prediction.n_cells, int(found.rejected.sum()), found.calibration.threshold
    called = "and are called 'unknown'" if reject else "(--reject would call them 'unknown')"
    kept_out = (
        f"Of {found.n_kept_out:,} cells of the reference {found.accuracy:.1%} are told right. The method learnt before, and may have "
        "learnt from these very cells: confidence and threshold may promise too much."
        if found.learnt_elsewhere
        else f"Of {found.n_kept_out:,} cells of the reference that were kept out, {found.accuracy:.1%} are told right. They come from the "
        "same runs as the training cells; expect less of another batch."
    )
    lines = [
        *found.notes[-1:],
        *([f"{found.n_unknown:,} cells of the reference are called 'unknown' and were not learnt from."] if found.n_unknown else []),
        kept_out,
        f"{n_unsure:,} of {n_cells:,} cells ({n_unsure / n_cells:.1%}) are below the confidence of {threshold:.2f} {called}.",
    ]
    if n_unsure > UNLIKE * REJECTED * n_cells:
        lines.append(f"Of cells like the reference only {REJECTED:.0%} would be: the query has other types, or was made in another way.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _recommended(store: Path, console: Console) -> Chosen:
    """The method that the results recommend for telling labels, the task that comes first.

    Raises InputError if there is none, or if it is a model whose weights only the user can name.
    """
    import json

    from scrutiny.core.registry import TASKS
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.store import Store
    from scrutiny.report.gather import gather

    found = gather([Store(store)])
    for comparison, recommendation in zip(found.comparisons, found.recommendations):
        if TASKS.get(comparison.key.task).card.asks != "predict_labels" or not recommendation.method:
            continue
        row = comparison.rows[comparison.rows["method"] == recommendation.method].iloc[0]
        options = json.loads(row["method_options"])
        if "weights" in options:
            raise InputError(f"{store} recommends {row['registered']}, whose weights it has not; name it with --method and --checkpoint")
        console.print(f"{store} recommends {row['registered']} for {comparison.key.task}.", highlight=False, soft_wrap=True)
        return Chosen(row["registered"], options)
    raise InputError(f"{store} recommends no method that tells labels; run a task such as annotation first, or name one with --method")
