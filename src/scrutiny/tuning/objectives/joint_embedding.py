"""Joint-embedding prediction: the latent of hidden genes is predicted from the latent of the others; no token is ever reconstructed.

After I-JEPA (Assran et al. 2023, arXiv:2301.08243): the net sees a part of the genes; a copy of it that follows slowly sees all of them and
gives the targets; a small predictor, told which genes are hidden but not how strongly they are expressed, predicts the copy's vectors.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError
from scrutiny.nets.layers import Block, cell_mean
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean, seen, share_of


class JointEmbedding(Objective):
    """Predict the latent of hidden genes.

    Parameters
    ----------
    share
        Of the genes of a cell that the net is not shown.
    momentum
        How much of itself the slow copy keeps in a step at first; it rises to 1 along a cosine.
    layers
        Of the predictor.
    heads
        Attention heads of the predictor.
    """

    name: ClassVar[str] = "joint_embedding"
    needs: ClassVar[tuple[str, ...]] = ("genes",)

    def __init__(self, subject: Subject, *, share: float = 0.5, momentum: float = 0.99, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        if subject.width % heads:
            raise InputError(f"the predictor of {self.name} cannot share a width of {subject.width} among {heads} heads")
        self.share, self.momentum = share_of(share, self.name), share_of(momentum, self.name)
        self.seen = nn.Linear(subject.width, subject.width)
        self.asked = nn.Parameter(torch.zeros(subject.width))
        self.predictor = nn.ModuleList(Block(subject.width, heads, 2 * subject.width) for _ in range(layers))
        self.out = nn.Linear(subject.width, subject.width)

    def reset(self, generator: torch.Generator) -> None:
        self.asked.normal_(0.0, 0.02, generator=generator)

    def begin(self, subject: Subject) -> None:
        self.target = copy.deepcopy(subject.net).requires_grad_(False)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        ids = tokens.columns["ids"]
        hidden = subject.is_gene(ids) & (rng.random(len(ids)) < self.share)
        cell = np.repeat(np.arange(tokens.n_cells), tokens.lengths)
        n_seen = np.bincount(cell[~hidden], minlength=tokens.n_cells)
        return replace(tokens, columns={**tokens.columns, "to_find": hidden}, cells={**tokens.cells, "n_seen": n_seen})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        hidden = batch.columns["to_find"]
        states = subject.hidden(subject.net, seen(batch, ~hidden))  # (n_seen, D)
        with torch.no_grad():
            target = subject.hidden(self.target, batch).float()
            target = F.layer_norm(target, target.shape[1:])[hidden]  # (n_hidden, D)
        asked = subject.genes(batch.columns["ids"][hidden]) + self.asked
        x = states.new_zeros(batch.n_tokens, subject.width, dtype=torch.float32)
        x = x.index_put((~hidden,), self.seen(states).float()).index_put((hidden,), asked.float())
        for block in self.predictor:
            x = block(x, batch.lengths)
        predicted = self.out(x[hidden]).float()
        loss = mean(F.smooth_l1_loss(predicted, target, reduction="none").mean(dim=1))
        return Loss(loss, {"latent": loss.detach(), "spread": _spread(states, batch, hidden)})

    @torch.no_grad()
    def after_step(self, subject: Subject, progress: float) -> None:
        keep = 1 - (1 - self.momentum) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2
        for slow, fast in zip(self.target.parameters(), subject.net.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)


@torch.no_grad()
def _spread(states: Tensor, batch: Batch, hidden: Tensor) -> Tensor:
    """How far the vectors of cells lie apart for their length: near 0 where the net has collapsed, and gives every cell the same one."""
    cells = cell_mean(states, seen(batch, ~hidden))
    return cells.std(dim=0, correction=0).norm() / cells.norm(dim=1).mean().clamp(min=1e-12)
