"""Genes hidden from a model, and what it says at their places: the ground of `reconstruct` for models with a mask token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.dataset import Dataset
from scrutiny.core.outputs import Reconstruction
from scrutiny.nets.inference import Runner
from scrutiny.nets.tokens import Batch, Tokens

from .draws import hidden
from .genes import Matched

PROBABILITY = "log-probability of the gene at its place"
"""The quantity of heads that name a gene; a sure model says 0."""


@dataclass(frozen=True, eq=False)
class Masked:
    """Tokens of cells, some of them masked.

    Attributes
    ----------
    tokens
        As the model is shown them, with the column ``true``: ids as they are.
    place
        (n_entries,) int64 which of the tokens are genes of the data.
    rows, columns
        (n_entries,) int64 their cell, and their gene among the matched ones.
    hidden
        (n_entries,) bool.
    """

    tokens: Tokens
    place: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    hidden: NDArray[np.bool_]

    def reconstruct(
        self, query: Dataset, matched: Matched, runner: Runner, predict: Callable[[Batch], Tensor], *, true: Any, quantity: str
    ) -> Reconstruction:
        """What ``predict`` gives for the tokens (N,) of a batch, beside what is ``true`` of all tokens (n_tokens,)."""
        predicted = np.empty(int(self.tokens.lengths.sum()), dtype=np.float32)
        for cells, values in runner([self.tokens], predict):
            predicted[self.tokens.places(cells)] = values
        at = (self.rows, self.columns, predicted[self.place], true[self.place].astype(np.float32), self.hidden)
        return Reconstruction(query.cell_ids, matched.gene_ids, *at, quantity=quantity)


def masked(tokens: Tokens, genes: NDArray[np.int64], hide: float, *, seed: int, query: Dataset, masks: Mapping[str, float]) -> Masked:
    """Hide a share of the genes of each cell, drawn by (seed, cell id).

    Parameters
    ----------
    tokens
        Of all cells of the query.
    genes
        (n_matched,) token of each matched gene.
    masks
        What the model is shown instead, by column.
    """
    true = tokens.columns["ids"]
    column_of = np.full(max(true.max(initial=0), genes.max(initial=0)) + 1, -1)
    column_of[genes] = np.arange(len(genes))
    place = np.flatnonzero(column_of[true] >= 0)
    rows = np.repeat(np.arange(tokens.n_cells), tokens.lengths)[place]
    gone = hidden(np.bincount(rows, minlength=tokens.n_cells), hide, seed=seed, cell_ids=query.cell_ids)
    shown = {name: values.copy() for name, values in tokens.columns.items()}
    for name, mask in masks.items():
        shown[name][place[gone]] = mask
    return Masked(Tokens(tokens.lengths, {**shown, "true": true}, tokens.cells), place, rows, column_of[true[place]], gone)
