"""Values of hidden genes, for nets that are shown some genes of a cell and predict all of them: scFoundation, CellPLM."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean, seen, share_of


class MaskedValues(Objective):
    """Predict the values of genes that the net is not shown, expressed or not: squared error, as scFoundation.

    Parameters
    ----------
    share
        Of the expressed genes of a cell that are hidden; each is drawn by itself.
    zeros
        Of the other genes of the corpus.
    """

    name: ClassVar[str] = "masked_values"
    needs: ClassVar[tuple[str, ...]] = ("hidden_values",)

    def __init__(self, subject: Subject, *, share: float = 0.3, zeros: float = 0.03) -> None:
        super().__init__()
        self.share, self.zeros = share_of(share, self.name), share_of(zeros, self.name)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        return self.hide(tokens, tokens, subject, rng)

    def hide(self, given: Tokens, true: Tokens, subject: Subject, rng: np.random.Generator) -> Tokens:
        """Tokens of which some genes are hidden, with their values in ``true`` (the same tokens, but for these) as what is to be predicted.

        A gene that is given with the value 0 has lost its counts, and is not shown either.
        """
        ids, cell = given.columns["ids"], np.repeat(np.arange(given.n_cells), given.lengths)
        is_gene = subject.is_gene(ids)
        is_left = is_gene & (given.columns["values"] > 0)
        expressed = np.zeros((given.n_cells, subject.n_words), dtype=bool)
        expressed[cell[is_left], ids[is_left]] = True
        chance = np.where(expressed[:, subject.gene_tokens], self.share, self.zeros)
        hidden = np.zeros_like(expressed)
        hidden[:, subject.gene_tokens] = rng.random(chance.shape) < chance
        shown = np.where(is_gene, is_left & ~hidden[cell, ids], True)
        values = {"values": _asked_at_depth(given, true, subject), "true": true.columns["values"]}
        cells = {**given.cells, "hidden": hidden, "n_seen": np.bincount(cell[shown], minlength=given.n_cells)}
        return replace(given, columns={**given.columns, **values, "is_gene": is_gene, "shown": shown}, cells=cells)

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        hidden = batch.cells["hidden"]  # (B, n_words)
        predicted = subject.hidden_values(seen(batch, batch.columns["shown"])).float()  # (n,)
        true = _values(batch, hidden)[hidden]
        errors = (predicted - true) ** 2
        loss, is_expressed = mean(errors), true > 0
        parts = {"expressed": mean(errors.detach()[is_expressed]), "not_expressed": mean(errors.detach()[~is_expressed])}
        return Loss(loss, parts)


def _asked_at_depth(given: Tokens, true: Tokens, subject: Subject) -> NDArray[np.float32]:
    """Values (n_tokens,) that are given, the depth that is asked for being the one that ``true`` tells."""
    values = given.columns["values"]
    if subject.depths is None:
        return values
    told, asked = (given.columns["ids"] == token for token in subject.depths)
    return np.where(asked, np.repeat(true.columns["values"][told], given.lengths), values)


def _values(batch: Batch, like: Tensor) -> Tensor:
    """(B, n_words) what all genes are to be; 0 without a token."""
    is_gene = batch.columns["is_gene"]
    where = batch.cell[is_gene], batch.columns["ids"][is_gene]
    return torch.zeros(like.shape, device=batch.device).index_put(where, batch.columns["true"][is_gene])
