"""Contrastive learning: two views of a cell, thinned and with genes left out, are to find each other among the other cells of a batch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import Batch, Tokens, joined
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject


class Contrastive(Objective):
    """Find the other view of a cell: cross-entropy over the views in the batch (NT-Xent), as SimCLR (Chen et al. 2020, arXiv:2002.05709).

    The views are what a second sequencing of the cell could have given: each has another depth, and molecules and genes drawn for it. What
    is compared is the vector that the model is used by, behind a small net that is not kept. The loss depends on the number of cells of a
    batch, so it can only be compared between batches of one size; the accuracy says of how many views the other one is the nearest.

    Parameters
    ----------
    least_depth
        Of the molecules of a cell a view keeps at least this share; the share is drawn evenly from there to 1.
    dropped
        Share of the genes that are left out of a view.
    temperature
        By which cosines are divided.
    width
        Of the space in which views are compared.
    """

    name: ClassVar[str] = "contrastive"
    views: ClassVar[int] = 2

    def __init__(
        self, subject: Subject, *, least_depth: float = 0.3, dropped: float = 0.2, temperature: float = 0.1, width: int = 64
    ) -> None:
        super().__init__()
        if not 0 < least_depth <= 1 or not 0 <= dropped < 1:
            found = f"least_depth = {least_depth} and dropped = {dropped}"
            raise InputError(f"the objective {self.name} has {found}; expected shares, above 0 and below 1")
        if temperature <= 0 or width < 1:
            raise InputError(f"the objective {self.name} has temperature = {temperature} and width = {width}; expected above 0")
        self.least_depth, self.dropped, self.temperature = least_depth, dropped, temperature
        d = subject.cell_width
        self.projection = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, width))

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        return joined(subject.tokenise(self.view(cells, number, rng)) for number in range(self.views))

    def view(self, cells: Cells, number: int, rng: np.random.Generator) -> Cells:
        """The cells at another depth and without some genes. A cell that has nothing left is shown as it is.

        The ids are other ones too, since what a family draws by the id of a cell is another draw in each view.

        Raises
        ------
        InputError
            If counts are no whole numbers.
        """
        counts = cells.counts
        whole = counts.data.astype(np.int64)
        if (whole != counts.data).any():
            raise InputError(f"the objective {self.name} thins counts, and these are no whole numbers; build the corpus of raw counts")
        cell = np.repeat(np.arange(cells.n_cells), np.diff(counts.indptr))
        kept = rng.uniform(self.least_depth, 1.0, size=cells.n_cells)
        thinned = rng.binomial(whole, kept[cell]) * (rng.random(counts.nnz) >= self.dropped)
        lost = np.bincount(cell, thinned, minlength=cells.n_cells) == 0
        data = np.where(lost[cell], counts.data, thinned).astype(np.float32)
        left = sparse.csr_matrix((data, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
        left.eliminate_zeros()
        ids = np.array([f"{cell_id}/{number}" for cell_id in cells.ids])
        return cells._replace(counts=left, totals=cells.totals * np.where(lost, 1.0, kept), ids=ids)

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        vectors = F.normalize(self.projection(subject.cells(batch)).float(), dim=1)  # (2 n, width)
        n = len(vectors) // 2
        cosines = (vectors @ vectors.T).fill_diagonal_(-torch.inf)  # no view is compared with itself
        other = torch.arange(2 * n, device=batch.device).roll(n)
        loss = F.cross_entropy(cosines / self.temperature, other)
        found = (cosines.detach().argmax(1) == other).float().mean()
        return Loss(loss, {"nt_xent": loss.detach(), "accuracy": found, "alignment": _mean_cosine(vectors.detach())})


def _mean_cosine(vectors: Tensor) -> Tensor:
    """Of the two views of a cell, given as (2 n, D) of length 1."""
    one, other = vectors.chunk(2)
    return (one * other).sum(1).mean()
