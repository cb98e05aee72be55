"""Masked prediction: some genes of a cell are hidden, or their values, and predicted from the others."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.cross_entropy import cross_entropy
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

SHOWN_MASK, SHOWN_OTHER = 0.8, 0.1
"""Of the genes to be found, how many are shown as the mask and how many as another gene; the rest as it is (Devlin et al. 2019)."""
OF_VALUES = 0.8
"""Weight of the values, where they are hidden with their genes, and the rest that of the names, as in GeneCompass."""


class MaskedRank(Objective):
    """Name the genes that are hidden in a ranking: cross-entropy over the vocabulary, as BERT and Geneformer.

    Where a gene is shown with its value, as in GeneCompass, both are hidden, and the squared error of the value counts too.

    Parameters
    ----------
    share
        Of the genes of a cell that are to be found; each is drawn by itself.
    """

    name: ClassVar[str] = "masked_rank"
    needs: ClassVar[tuple[str, ...]] = ("logits", "masks.ids")

    def __init__(self, subject: Subject, *, share: float = 0.15) -> None:
        super().__init__()
        self.share = share_of(share, self.name)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        true = tokens.columns["ids"]
        found = subject.is_gene(true) & (rng.random(len(true)) < self.share)
        how = rng.random(len(true))
        shown = np.where(found & (how < SHOWN_MASK), np.int64(subject.masks["ids"]), true)
        other = found & (how >= SHOWN_MASK) & (how < SHOWN_MASK + SHOWN_OTHER)
        shown[other] = rng.choice(subject.gene_tokens, size=int(other.sum()))
        columns = {**tokens.columns, "ids": shown, "true": true, "to_find": found}
        if "values" in subject.masks:
            gone = found & (how < SHOWN_MASK + SHOWN_OTHER)
            columns["true_values"] = tokens.columns["values"]
            columns["values"] = np.where(gone, np.float32(subject.masks["values"]), tokens.columns["values"])
        return replace(tokens, columns=columns)

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        found = batch.columns["to_find"]
        hidden = subject.hidden(subject.net, batch)[found]
        named = cross_entropy(subject.logits(hidden), batch.columns["true"][found])  # of the places to be found only
        loss = mean(named.losses)
        parts = {"cross_entropy": loss.detach(), "accuracy": mean(named.right.float())}
        if "true_values" in batch.columns:
            of_values = mean((subject.value(hidden).float() - batch.columns["true_values"][found]) ** 2)
            parts["values"] = of_values.detach()
            loss = OF_VALUES * of_values + (1 - OF_VALUES) * loss
        return Loss(loss, parts)


class MaskedBins(Objective):
    """Predict the bins that are hidden: squared error, from the gene's own token and from the vector of the cell, as scGPT's GEP and GEPC.

    Parameters
    ----------
    shares
        Shares of the genes whose values are hidden; each cell draws one of them.
    """

    name: ClassVar[str] = "masked_bins"
    needs: ClassVar[tuple[str, ...]] = ("value", "masks.values")

    def __init__(self, subject: Subject, *, shares: list[float] | None = None) -> None:
        super().__init__()
        self.shares = [share_of(share, self.name) for share in shares or (0.25, 0.5, 0.75)]

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        return hide_values(tokens, subject, np.repeat(rng.choice(self.shares, size=tokens.n_cells), tokens.lengths), rng)

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        found = batch.columns["to_find"]
        true = batch.columns["true"][found]
        hidden = subject.hidden(subject.net, batch)  # (N, D)
        loss = mean((subject.value(hidden[found]).float() - true) ** 2)
        parts = {"context": loss.detach()}
        if subject.value_from_cell is not None:
            predicted = subject.value_from_cell(hidden[batch.start], batch.columns["ids"][found], batch.cell[found])
            from_cell = mean((predicted.float() - true) ** 2)
            parts["from_cell"] = from_cell.detach()
            loss = loss + from_cell
        return Loss(loss, parts)


def hide_values(tokens: Tokens, subject: Subject, share: NDArray[np.floating] | float, rng: np.random.Generator) -> Tokens:
    """Tokens with the values of some genes masked; the columns ``true`` and ``to_find`` say which and what they are.

    ``share`` is that of all tokens or, as (n_tokens,), of each.
    """
    true = tokens.columns["values"].astype(np.float32)
    found = subject.is_gene(tokens.columns["ids"]) & (rng.random(len(true)) < share)
    shown = np.where(found, np.float32(subject.masks["values"]), true)
    return replace(tokens, columns={**tokens.columns, "values": shown, "true": true, "to_find": found})


def mean(values: Tensor) -> Tensor:
    """Mean of (n,) values; 0, with a gradient of 0, where there are none."""
    return values.sum() / max(len(values), 1)


def seen(batch: Batch, shown: Tensor) -> Batch:
    """The batch with the tokens (N,) bool alone that the net is shown, ``batch.cells["n_seen"]`` of each cell."""
    lengths = tuple(batch.cells["n_seen"].tolist())
    return Batch(lengths, {name: values[shown] for name, values in batch.columns.items()}, batch.cells, batch.device)


def share_of(share: float, objective: str) -> float:
    """The share itself. Raises InputError unless it lies between 0 and 1."""
    if not 0 < share < 1:
        raise InputError(f"the objective {objective} is to hide a share of {share}; expected more than 0 and less than 1")
    return share
