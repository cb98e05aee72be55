"""Joint-embedding prediction: the latent of hidden genes is predicted from the latent of the others; no token is ever reconstructed.

After I-JEPA (Assran et al. 2023, arXiv:2301.08243), with two changes that genes ask for. In an image a hidden patch is told by what is in
it; the latent of a gene is almost wholly told by which gene it is, so predicting it gene by gene is learnt without a look at the cell, and
the net collapses. Here the target is the mean latent of all hidden genes of a cell, seen from the mean of its study and in units of the
spread over the batch: only what makes the cells of a study differ counts, not what study they are of, which is far easier to tell; and a
copy that gives all cells the same vector gives no target that can be met.
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

from scrutiny.nets.layers import cell_mean
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import seen, share_of


class JointEmbedding(Objective):
    """Predict the latent of hidden genes.

    Parameters
    ----------
    share
        Of the genes of a cell that the net is not shown.
    momentum
        How much of itself the slow copy keeps in a step at first; it rises to 1 along a cosine. The vectors of cells use more dimensions
        with a higher one.
    """

    name: ClassVar[str] = "joint_embedding"
    needs: ClassVar[tuple[str, ...]] = ("genes",)

    def __init__(self, subject: Subject, *, share: float = 0.5, momentum: float = 0.99) -> None:
        super().__init__()
        self.share, self.momentum = share_of(share, self.name), share_of(momentum, self.name)
        self.predictor = nn.Sequential(nn.Linear(subject.width, 2 * subject.width), nn.GELU(), nn.Linear(2 * subject.width, subject.width))

    def begin(self, subject: Subject) -> None:
        self.target = copy.deepcopy(subject.net).requires_grad_(False)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        ids = tokens.columns["ids"]
        hidden = subject.is_gene(ids) & (rng.random(len(ids)) < self.share)
        cell = np.repeat(np.arange(tokens.n_cells), tokens.lengths)
        n_seen = np.bincount(cell[~hidden], minlength=tokens.n_cells)
        study = np.unique(cells.studies, return_inverse=True)[1].astype(np.int64)
        return replace(tokens, columns={**tokens.columns, "to_find": hidden}, cells={**tokens.cells, "n_seen": n_seen, "study": study})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        hidden = batch.columns["to_find"]
        shown = seen(batch, ~hidden)
        cells = cell_mean(subject.hidden(subject.net, shown), shown)  # (B, D)
        with torch.no_grad():
            target = standardised(self._mean_of_hidden(subject, batch, hidden), batch.cells["study"])  # (B, D)
        loss = 1 - F.cosine_similarity(self.predictor(cells).float(), target).mean()
        return Loss(loss, {"latent": loss.detach(), "spread": spread(cells.detach())})

    def _mean_of_hidden(self, subject: Subject, batch: Batch, hidden: Tensor) -> Tensor:
        """Mean (B, D) over the hidden genes of each cell of what the slow copy, which sees all of them, makes of them."""
        states = subject.hidden(self.target, batch).float() * hidden[:, None]
        total = states.new_zeros(batch.n_cells, states.shape[1]).index_add_(0, batch.cell, states)
        return total / (batch.length - batch.cells["n_seen"]).clamp(min=1)[:, None]

    @torch.no_grad()
    def after_step(self, subject: Subject, progress: float) -> None:
        keep = 1 - (1 - self.momentum) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2
        for slow, fast in zip(self.target.parameters(), subject.net.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)


def standardised(values: Tensor, groups: Tensor) -> Tensor:
    """(B, D) with mean 0 in each group and standard deviation 1 in each dimension; one without spread, or alone in its group, is 0.

    Parameters
    ----------
    groups
        (B,) int64 from 0.
    """
    n_groups = int(groups.max()) + 1
    size = torch.bincount(groups, minlength=n_groups).clamp(min=1)[:, None]
    means = values.new_zeros(n_groups, values.shape[1]).index_add_(0, groups, values) / size
    centred = values - means[groups]
    return centred / (centred.std(dim=0, correction=0) + 1e-4)


def spread(cells: Tensor) -> Tensor:
    """How far the vectors of cells (B, D) lie apart for their length: near 0 where the net has collapsed, and gives every cell the same."""
    return cells.std(dim=0, correction=0).norm() / cells.norm(dim=1).mean().clamp(min=1e-12)
