"""Generation: the values of some genes of a cell from the others, which do not see them, and once more from the vector of the cell."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from scrutiny.nets.layers import Keys
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean, share_of


class Generative(Objective):
    """Generate values, as scGPT was pretrained (Cui et al. 2024, Methods, "Generative pretraining").

    The genes of a cell are known, or to be generated. Known ones attend to known ones; those to be generated, which enter with a flag in
    the place of their value, attend to the known ones and each to itself. Their values are predicted from their own tokens, from the
    vector of the cell, and from their own tokens in a second pass, where that vector enters in the place of <cls>: it learns to tell all
    of the cell. The loss is the sum of the three squared errors.

    The official code begins with the second pass after 1,000 steps, here it is there from the first. It also leaves out the output
    matrix of attention for the genes to be generated; here all tokens go through the same layers.

    Parameters
    ----------
    shares
        Shares of the genes that are to be generated; each cell draws one of them.
    """

    name: ClassVar[str] = "generative"
    needs: ClassVar[tuple[str, ...]] = ("enter", "layers", "genes", "value", "value_from_cell")

    def __init__(self, subject: Subject, *, shares: list[float] | None = None) -> None:
        super().__init__()
        self.shares = [share_of(share, self.name) for share in shares or (0.25, 0.5, 0.75)]
        self.flag = nn.Parameter(torch.zeros(subject.width))

    def reset(self, generator: torch.Generator) -> None:
        self.flag.normal_(0.0, 0.02, generator=generator)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        share = np.repeat(rng.choice(self.shares, size=tokens.n_cells), tokens.lengths)
        generated = subject.is_gene(tokens.columns["ids"]) & (rng.random(len(share)) < share)
        cell = np.repeat(np.arange(tokens.n_cells), tokens.lengths)
        n_known = np.bincount(cell[~generated], minlength=tokens.n_cells)
        return replace(tokens, columns={**tokens.columns, "generated": generated}, cells={**tokens.cells, "n_known": n_known})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        generated = batch.columns["generated"]
        keys = Keys(torch.nonzero(~generated).squeeze(1), batch.cells["n_known"].tolist(), itself=generated)
        ids, true, start = batch.columns["ids"], batch.columns["values"][generated], batch.start
        x = torch.where(generated[:, None], subject.genes(ids) + self.flag, subject.enter(batch))  # (N, D)
        hidden = _through(subject, x, batch, keys)
        from_cell = subject.value_from_cell(hidden[start], ids[generated], batch.cell[generated])
        again = _through(subject, x.index_copy(0, start, hidden[start].detach().to(x.dtype)), batch, keys)
        found = {"context": subject.value(hidden[generated]), "from_cell": from_cell, "second_pass": subject.value(again[generated])}
        errors = {name: mean((predicted.float() - true) ** 2) for name, predicted in found.items()}
        return Loss(sum(errors.values()), {name: error.detach() for name, error in errors.items()})


def _through(subject: Subject, x: Tensor, batch: Batch, keys: Keys) -> Tensor:
    """(N, D) -> (N, D) after all layers."""
    for layer in subject.layers:
        x = layer(x, batch.lengths, keys)
    return x
