"""Commands that look without running anything: list, show, check, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.cli.tables import plain_table
from scrutiny.core.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from rich.console import Console

KINDS = ("methods", "heads", "metrics", "tasks", "datasets")
EXTRAS = {
    "models": ("torch", "scGPT, Geneformer and the other published models"),
    "scvi": ("scvi", "scVI and scANVI"),
    "integration": ("harmonypy", "Harmony"),
    "dask": ("distributed", "--engine dask"),
    "annotation": ("optuna", "gradient boosting, and searching for options"),
}


def list_things(
    kind: Annotated[str, typer.Argument(help="methods, heads, metrics, tasks or datasets; all of them without it.")] = "",
) -> None:
    """List what can be run, plugins included.

    `scrutiny list`, `scrutiny list methods`
    """
    if kind and kind not in KINDS:
        raise InputError(f"there is no list of '{kind}'; there is {', '.join(KINDS)}")
    from rich.console import Console

    console = Console()
    listing = {"methods": _list_methods, "heads": _list_heads, "metrics": _list_metrics, "tasks": _list_tasks, "datasets": _list_datasets}
    for name in [kind] if kind else KINDS:
        listing[name](console)


def _list_methods(console: Console) -> None:
    from rich.markup import escape

    from scrutiny.core.registry import METHODS, check_installed

    table = plain_table("Methods", "name", "kind", "what it does", "ready")
    for name in METHODS.names():
        try:
            card = METHODS.get(name).card
        except MissingDependency as error:
            table.add_row(name, "", "", escape(str(error)))
            continue
        try:
            check_installed(card)
            ready = "yes"
        except MissingDependency:
            ready = f"needs scrutiny\\[{card.extra}]" if card.extra else f"needs {', '.join(card.requires)}"
        table.add_row(name, card.kind, card.summary, ready)
    console.print(table)


def _list_heads(console: Console) -> None:
    from rich.markup import escape

    from scrutiny.core.registry import HEADS

    table = plain_table("Heads: labels from METHOD+HEAD", "name", "how labels are told", "options searched for")
    for name in HEADS.names():
        try:
            head = HEADS.get(name)
        except MissingDependency as error:
            table.add_row(name, escape(str(error)), "")
            continue
        card = getattr(head, "card", None) or getattr(head, "way_card", None)  # a head needs no card: what counts is its `on`
        table.add_row(name, getattr(card, "summary", ""), ", ".join(getattr(card, "space", ())) or "-")
    console.print(table)


def _list_metrics(console: Console) -> None:
    from scrutiny.core.registry import METRICS

    table = plain_table("Metrics", "name", "family", "better", "range", "recipe")
    for name in METRICS.names():
        card = METRICS.get(name).card
        table.add_row(name, card.family, card.better, f"{card.low:g} to {card.high:g}", card.recipe)
    console.print(table)


def _list_tasks(console: Console) -> None:
    from scrutiny.core.builtins import TASK_GROUPS
    from scrutiny.core.registry import TASKS

    table = plain_table("Tasks", "name", "verb", "primary metric", "needs", "what it asks")
    for name in TASKS.names():
        card = TASKS.get(name).card
        table.add_row(name, card.asks.removeprefix("predict_"), card.primary, ", ".join(sorted(card.roles)) or "-", card.summary)
    for name, tasks in TASK_GROUPS.items():
        table.add_row(name, "", "", "", f"all of {', '.join(tasks)}")
    console.print(table)


def _list_datasets(console: Console) -> None:
    from scrutiny.data.catalog import catalog

    table = plain_table("Data sets (scrutiny run NAME fetches one)", "name", "cells", "title", "licence")
    for name, entry in sorted(catalog().items()):
        table.add_row(name, f"{entry.cells:,}" if entry.cells else "-", entry.title, entry.licence)
    console.print(table)


def show(name: Annotated[str, typer.Argument(help="Name of a method, metric, task or data set.")]) -> None:
    """Show the card of one thing: what it is, what it needs, how it is computed, whom to cite.

    `scrutiny show harmony`, `scrutiny show scib_total`
    """
    from dataclasses import asdict, fields

    from rich.console import Console

    from scrutiny.core.registry import METHODS, METRICS, TASKS
    from scrutiny.data.catalog import catalog

    cards = {n: registry.get(n).card for registry in (METHODS, METRICS, TASKS) if (n := name) in registry}
    if name in catalog():
        cards[name] = catalog()[name]
    if name not in cards:
        everything = [*METHODS.names(), *METRICS.names(), *TASKS.names(), *catalog()]
        raise InputError(_near(name, everything))
    console = Console()
    table = plain_table(name, "", "")
    card = cards[name]
    for field in fields(card):
        value = asdict(card)[field.name] if not isinstance(getattr(card, field.name), frozenset) else sorted(getattr(card, field.name))
        if value not in (None, "", (), [], {}):
            table.add_row(field.name.replace("_", " "), str(value))
    console.print(table)


def _near(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, cutoff=0.5)
    return f"nothing is called '{name}'; " + (f"did you mean {near}?" if near else "see 'scrutiny list'")


def check(
    file: Annotated[Path, typer.Argument(help="h5ad, zarr, loom, 10x .h5 or a 10x matrix folder.")],
    layer: Annotated[str | None, typer.Option(help="Where the counts are: X, raw or the name of a layer.")] = None,
) -> None:
    """Look at a file: counts, scale, genes, proposed columns, and what would stand in the way.

    `scrutiny check cells.h5ad`
    """
    from rich.console import Console

    from scrutiny.data.checkup import checkup

    console = Console()
    for heading, lines in checkup(file, layer=layer).items():
        console.print(f"[bold]{heading}[/]")
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False)


def doctor() -> None:
    """Say what this installation can do, and what to install for the rest."""
    import os
    import platform
    from importlib.metadata import version
    from importlib.util import find_spec

    import psutil
    from rich.console import Console

    console = Console()
    table = plain_table("scrutiny doctor", "what", "found")
    memory = psutil.virtual_memory()
    table.add_row("scrutiny", version("scrutiny"))
    table.add_row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    table.add_row("machine", f"{os.cpu_count()} cores, {memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB memory free")
    for package in ("numpy", "scipy", "pandas", "scikit-learn", "anndata", "scanpy"):
        table.add_row(package, version(package))
    for extra, (module, purpose) in EXTRAS.items():
        found = "installed" if find_spec(module) else f"not installed: pip install 'scrutiny\\[{extra}]'"
        table.add_row(f"{purpose}", found)
    table.add_row("accelerator", _accelerator())
    console.print(table)


def _accelerator() -> str:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return "not looked for: torch is not installed"
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "Apple MPS" if torch.backends.mps.is_available() else "none: everything runs on the processor"
