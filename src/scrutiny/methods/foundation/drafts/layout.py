"""What a draft is made of: genes that can be told apart, sizes in common words, and files in the layout of a family."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.errors import InputError

Size = int | float | str | bool
Sizes = Mapping[str, Size | tuple[str, ...]]
COMMON: Mapping[str, int] = {"width": 128, "layers": 4, "heads": 4, "feed_forward": 512, "context": 512}
"""Sizes that most families have, and what they are by default. ``context``: tokens of a cell at most."""
SHOWN = 3
"""Genes that a message names."""


class Genes(NamedTuple):
    """Genes of a draft in the order of the corpus: ``names`` (n,) str, each once; ``medians`` (n,) float64, 1 where none are needed."""

    names: NDArray[np.str_]
    medians: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draft:
    """A folder that is being written.

    Attributes
    ----------
    table
        Genes of the corpus, see `draft`.
    sizes
        All that the family has.
    notes
        What a reader of the folder should know; grows while it is written.
    """

    folder: Path
    table: pd.DataFrame
    sizes: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def genes(self, column: str, *, medians: bool = False, folded: bool = False) -> Genes:
        """Genes that have a name of their own in a column of the table; it is noted how many have none and are left out.

        Parameters
        ----------
        medians
            Whether the family compares genes to them.
        folded
            Whether it takes names in upper case.

        Raises
        ------
        InputError
            If the column, or a positive median of a gene, is missing, or no gene has a name.
        """
        names = self.column(column).fillna("").astype(str)
        names = names.str.upper() if folded else names
        kept = (names != "") & ~names.duplicated()
        if not kept.any():
            raise InputError(f"no gene of the table has a name in the column '{column}'")
        if left := int((~kept).sum()):
            self.notes.append(f"{left:,} of {len(names):,} genes are left out: without a {column} of their own")
        values = self.column("median")[kept] if medians else pd.Series(1.0, names.index[kept])
        odd = values.index[~(np.isfinite(values.to_numpy(float)) & (values > 0))]
        if len(odd):
            raise InputError(f"{len(odd):,} genes have no positive median, e.g. {', '.join(map(str, odd[:SHOWN]))}; leave them out")
        return Genes(names[kept].to_numpy(str), values.to_numpy(float))

    def column(self, name: str) -> pd.Series:
        if name not in self.table:
            raise InputError(f"the table of genes has no column '{name}', which this family needs; it has {list(self.table.columns)}")
        return self.table[name]

    def write_json(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=None if len(content) > 100 else 1), "utf-8")


@dataclass(frozen=True)
class Layout:
    """How a family lays out its files.

    Attributes
    ----------
    sizes
        Name -> what it is by default, or all that it may be, the default first.
    write
        Writes config and vocabulary.
    weights
        From the model and its tensors, named as `Published.tensors` names them, to the content of each file of weights.
    """

    sizes: Sizes
    write: Callable[[Draft], None]
    weights: Callable[[Any, dict[str, Tensor]], Mapping[str, Mapping[str, Any]]]

    def complete(self, family: str, given: Mapping[str, Size]) -> dict[str, Any]:
        """All sizes: those that are given, and the default of the others.

        Raises
        ------
        InputError
            If the family has no such size, one is of another kind or not positive, or the heads do not divide the width.
        """
        for name, size in given.items():
            if name not in self.sizes:
                near = get_close_matches(name, self.sizes, n=1)
                hint = f"; is it '{near[0]}'?" if near else ";"
                raise InputError(f"a draft of {family} has no '{name}'{hint} it has {', '.join(self.sizes)}")
            if expected := _misfit(size, self.sizes[name]):
                raise InputError(f"{name} of a draft of {family} is {size!r}; expected {expected}")
        usual = {name: size[0] if isinstance(size, tuple) else size for name, size in self.sizes.items()}
        sizes: dict[str, Any] = {**usual, **given}
        if "head_width" not in sizes and sizes["width"] % sizes.get("heads", 1):
            raise InputError(f"a width of {sizes['width']} does not split into {sizes['heads']} heads")
        return sizes


def _misfit(size: Size, usual: Size | tuple[str, ...]) -> str:
    """What was expected in the place of a size; '' if it fits."""
    match usual:
        case tuple():
            return "" if size in usual else f"one of {', '.join(usual)}"
        case bool() | str():
            return "" if type(size) is type(usual) else f"a {type(usual).__name__}, e.g. {usual!r}"
        case int():
            return "" if type(size) is int and size > 0 else "a whole number from 1"
        case _:
            return "" if type(size) in (int, float) and size > 0 else "a number above 0"  # type: ignore[operator]


def only_file(name: str) -> Callable[[Any, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """For `Layout.weights`: all tensors in one flat file."""
    return lambda model, tensors: {name: tensors}
