"""Expressed or not: from the vector of a cell and that of a gene it is told whether the cell expresses the gene."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean, share_of


class Expressed(Objective):
    """Tell expressed genes that the net was not shown from genes that are not expressed: binary cross-entropy, as UCE.

    As many of one kind as of the other are asked for, about; how common a gene is tells much of it without a look at the cell. The vector
    of the cell is what the model embeds; the net's own head is trained where it has one for this, as UCE has, and otherwise a small one
    that is not kept.

    Parameters
    ----------
    share
        Of the expressed genes of a cell that are hidden and asked for; each is drawn by itself.
    """

    name: ClassVar[str] = "expressed"

    def __init__(self, subject: Subject, *, share: float = 0.2) -> None:
        super().__init__()
        self.share = share_of(share, self.name)
        self.head = GeneByCell(subject.cell_width, subject.n_words) if subject.log_odds is None else None

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        counts = cells.counts
        gone = (rng.random(counts.nnz) < self.share) & (counts.data > 0)
        shown = counts.copy()
        shown.data[gone] = 0
        shown.eliminate_zeros()
        tokens = subject.tokenise(cells._replace(counts=shown))
        asked = _asked(counts, gone, rng)
        return replace(tokens, cells={**tokens.cells, "asked": asked})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        asked = batch.cells["asked"]  # (B, n_genes)
        cell, gene = torch.nonzero(asked >= 0, as_tuple=True)
        true = asked[cell, gene].float()
        ids = torch.as_tensor(subject.gene_tokens, device=batch.device)[gene]
        odds = (subject.log_odds or self.head)(subject.cells(batch), ids, cell).float()  # (n,)
        loss = mean(F.binary_cross_entropy_with_logits(odds, true, reduction="none"))
        return Loss(loss, {"cross_entropy": loss.detach(), "accuracy": mean(((odds > 0) == (true > 0)).float())})


def _asked(counts: sparse.csr_matrix, gone: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int8]:
    """What is asked for, (n_cells, n_genes): 1 the genes that are gone, 0 about as many that are not expressed, -1 no others."""
    asked = np.full(counts.shape, -1, dtype=np.int8)
    cell = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    n_gone, n_expressed = (np.bincount(cell[which], minlength=counts.shape[0]) for which in (gone, counts.data > 0))
    chance = n_gone / np.maximum(counts.shape[1] - n_expressed, 1)
    asked[rng.random(counts.shape) < chance[:, None]] = 0
    asked[cell, counts.indices] = np.where(gone, 1, np.where(counts.data > 0, -1, asked[cell, counts.indices]))
    return asked


class GeneByCell(nn.Module):
    """Log-odds of a gene = (a linear map of the vector of the cell) times (a vector of the gene), and how common the gene is."""

    def __init__(self, d_cell: int, n_words: int, *, width: int = 64) -> None:
        super().__init__()
        self.cell = nn.Linear(d_cell, width)
        self.genes = nn.Embedding(n_words, width)
        self.common = nn.Embedding(n_words, 1)

    def forward(self, cells: Tensor, ids: Tensor, cell: Tensor) -> Tensor:
        """(B, D') cells, (n,) genes, (n,) the cell of each -> (n,)."""
        return (self.cell(cells)[cell] * self.genes(ids)).mean(1) + self.common(ids).squeeze(1)
