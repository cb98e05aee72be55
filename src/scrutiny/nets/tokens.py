"""Token sequences of cells, laid end to end: no padding anywhere, so a cell never depends on the length of its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tokens:
    """What a net is fed, as arrays.

    Attributes
    ----------
    lengths
        (n_cells,) int64, tokens of each cell; may be 0.
    columns
        Name to (n_tokens,) array, one entry a token, cell after cell: ``ids`` int64, ``values`` float32 ...
    cells
        Name to (n_cells, ...) array, one entry a cell: ``species`` ...
    """

    lengths: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    cells: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        return len(self.lengths)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(n_cells + 1,) where each cell begins, and the end."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    def of(self, cell: int, column: str = "ids") -> NDArray[Any]:
        """One column of one cell, (n_tokens_of_cell,)."""
        return self.columns[column][self.offsets[cell] : self.offsets[cell + 1]]

    def places(self, rows: NDArray[np.integer] | Sequence[int]) -> NDArray[np.int64]:
        """Where the tokens of these cells stand, cell after cell in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        return np.arange(int(lengths.sum())) + np.repeat(self.offsets[rows] - (np.cumsum(lengths) - lengths), lengths)

    def take(self, rows: NDArray[np.integer] | Sequence[int]) -> Tokens:
        """These cells, in this order."""
        rows, where = np.asarray(rows, dtype=np.int64), self.places(rows)
        return Tokens(
            self.lengths[rows],
            {name: values[where] for name, values in self.columns.items()},
            {name: values[rows] for name, values in self.cells.items()},
        )


def joined(parts: Iterable[Tokens]) -> Tokens:
    """The cells of all parts, one after another; there must be a part."""
    parts = list(parts)
    return Tokens(
        np.concatenate([part.lengths for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        {name: np.concatenate([part.cells[name] for part in parts]) for name in parts[0].cells},
    )


def padded(tokens: Tokens, column: str = "ids", *, fill: float = 0) -> NDArray[Any]:
    """One column as (n_cells, longest), filled up on the right: the form of the reference implementations."""
    out = np.full((tokens.n_cells, int(tokens.lengths.max(initial=0))), fill, dtype=tokens.columns[column].dtype)
    out[np.arange(out.shape[1]) < tokens.lengths[:, None]] = tokens.columns[column]
    return out


@dataclass(frozen=True, eq=False)
class Batch:
    """`Tokens` of some cells as tensors on a device. ``lengths`` stay Python numbers: attention walks over the cells."""

    lengths: tuple[int, ...]
    columns: Mapping[str, Tensor]
    cells: Mapping[str, Tensor]
    device: torch.device

    @property
    def n_cells(self) -> int:
        return len(self.lengths)

    @property
    def n_tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def length(self) -> Tensor:
        """(B,) int64 tokens of each cell."""
        return torch.tensor(self.lengths, dtype=torch.int64, device=self.device)

    @cached_property
    def start(self) -> Tensor:
        """(B,) int64 index of the first token of each cell."""
        return torch.cumsum(self.length, 0) - self.length

    @cached_property
    def cell(self) -> Tensor:
        """(N,) int64 the cell that each token is of."""
        return torch.repeat_interleave(torch.arange(self.n_cells, device=self.device), self.length, output_size=self.n_tokens)

    @cached_property
    def position(self) -> Tensor:
        """(N,) int64 place of each token within its cell, from 0."""
        return torch.arange(self.n_tokens, device=self.device) - self.start[self.cell]


def batch_of(tokens: Tokens, device: torch.device | str = "cpu") -> Batch:
    device = torch.device(device)

    def moved(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.ascontiguousarray(values)).to(device) for name, values in arrays.items()}

    return Batch(tuple(int(n) for n in tokens.lengths), moved(tokens.columns), moved(tokens.cells), device)
