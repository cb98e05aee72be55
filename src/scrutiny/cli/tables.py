"""How tables look in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table with a bold title; columns named in ``right`` are aligned there, names are not wrapped."""
    from typing import Literal

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "method", "metric"), justify=justify)
    return table
