"""Genes hidden from a model, and what it says of them: the ground of `reconstruct` for models with a mask token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.dataset import Dataset
from scrutiny.core.outputs import Reconstruction
from scrutiny.nets.inference import Runner
from scrutiny.nets.places import expected_places
from scrutiny.nets.tokens import Batch, Tokens

from .draws import hidden
from .genes import Matched


class NamesTokens(Protocol):
    """A net that says which token it takes to stand at a place."""

    def __call__(self, batch: Batch) -> Tensor: ...
    def logits(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Masked:
    """Tokens of cells, some of them masked.

    Attributes
    ----------
    tokens
        As the model is shown them, with the columns ``true``, ids as they are, and ``is_gene``: it is a gene of the data.
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

    def ranks(self, query: Dataset, matched: Matched, runner: Runner, net: NamesTokens) -> Reconstruction:
        """The expected place of each gene among those of its cell, beside its true one; see `expected_places`."""

        def predict(batch: Batch) -> Tensor:
            return expected_places(net(batch), batch, batch.columns["is_gene"], batch.columns["true"], net.logits)

        n_genes = np.bincount(self.rows, minlength=self.tokens.n_cells)
        first = np.cumsum(n_genes) - n_genes
        true = np.zeros(int(self.tokens.lengths.sum()))
        true[self.place] = (np.arange(len(self.rows)) - first[self.rows] + 0.5) / n_genes[self.rows]
        return self.reconstruct(query, matched, runner, predict, true=true, quantity="rank")


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
    told = {**shown, "true": true, "is_gene": column_of[true] >= 0}
    return Masked(Tokens(tokens.lengths, told, tokens.cells), place, rows, column_of[true[place]], gone)
