"""Commands on finished results: report, cache size, cache clean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrutiny.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

cache_app = typer.Typer(help="The cache of embeddings of a results folder. Scores are never touched.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder that `scrutiny run` wrote.")]


def report(
    folders: Annotated[list[Path], typer.Argument(help="One or more folders that `scrutiny run` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("report.html"),
    table: Annotated[Path | None, typer.Option(help="Also write the tidy table, as .csv or .parquet.")] = None,
) -> None:
    """Draw one report from one or more results folders.

    `scrutiny report scrutiny-results`, `scrutiny report lab-a lab-b -o both.html --table both.csv`
    """
    import pandas as pd
    from rich.console import Console

    from scrutiny.engine.store import Store
    from scrutiny.report.page import write_report
    from scrutiny.report.terminal import show

    stores = [Store(existing(folder)) for folder in folders]
    console = Console()
    show(stores, console)
    if table is not None:
        write_table(pd.concat([store.scores() for store in stores], ignore_index=True), table)
        console.print(f"Table: {table}", soft_wrap=True)
    console.print(f"Report: {write_report(stores, output)}", soft_wrap=True)


def existing(folder: Path) -> Path:
    if not (folder / "runs").is_dir():
        raise InputError(f"{folder} holds no results: expected a folder that 'scrutiny run' wrote, with a folder 'runs' in it")
    return folder


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table by the suffix of the path; raises InputError for another one than .csv and .parquet."""
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        raise InputError(f"a table is written as .csv or .parquet, not as '{path.name}'")


@cache_app.command("size")
def cache_size(folder: Folder) -> None:
    """Say how much disk the cached embeddings take.

    `scrutiny cache size scrutiny-results`
    """
    from scrutiny.engine.store import Store

    print(f"{Store(existing(folder)).cache_size() / 1e6:.1f} MB in {folder / 'cache'}")


@cache_app.command("clean")
def cache_clean(folder: Folder) -> None:
    """Delete the cached embeddings; scores and reports stay, and what is needed again is computed again.

    `scrutiny cache clean scrutiny-results`
    """
    from scrutiny.engine.store import Store

    print(f"freed {Store(existing(folder)).clean_cache() / 1e6:.1f} MB")
