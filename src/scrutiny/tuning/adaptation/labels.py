"""Labels as an objective: a linear head on the vector of a cell, which starts as the probe of the net that is not adapted yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

FLAT = 1e-6
"""Deviation below which a dimension says nothing and is left as it is."""
PENALTY = 10.0
"""Of the squares of the probe's weights, divided by the number of cells: 1 / C of scikit-learn. Ten times its default, since a probe that
fits its few cells wholly leaves nothing to be learnt by the net below it."""
PROBE_STEPS = 200
"""Of L-BFGS; it ends before where nothing changes any more."""


class LabelHead(nn.Module):
    """Vectors of cells, standardised as those of the training cells were before the net was adapted, to the logits of labels."""

    def __init__(self, width: int, n_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_labels, width))
        self.bias = nn.Parameter(torch.zeros(n_labels))
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, cells: Tensor) -> Tensor:
        """(B, D) -> (B, n_labels), in float32."""
        with torch.autocast(cells.device.type, enabled=False):
            return F.linear((cells.float() - self.center) / self.scale, self.weight, self.bias)


def class_weights(labels: NDArray[np.int64], n_labels: int, power: float) -> Tensor:
    """Weight (n_labels,) of a cell of each label: its number of cells to the power -``power``, on average 1 over the cells.

    0 weighs all cells alike, 1 all labels ("balanced"); 0.5 is the square root of Mikolov et al. 2013 and Mahajan et al. 2018.
    """
    counts = np.bincount(labels, minlength=n_labels).astype(np.float64)
    weights = np.maximum(counts, 1.0) ** -power
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def probe(vectors: NDArray[np.float32], labels: NDArray[np.int64], weights: Tensor) -> LabelHead:
    """Logistic regression on standardised vectors: where the head starts.

    Training that starts from a random head bends the pretrained vectors before the head is of any use (Kumar et al. 2022, "Fine-tuning can
    distort pretrained features and underperform out-of-distribution", arXiv:2202.10054).

    Parameters
    ----------
    vectors
        (n_cells, n_dims) float32.
    labels
        (n_cells,) int64 numbers of labels.
    weights
        (n_labels,) of a cell of each label.
    """
    x, y = torch.from_numpy(vectors).double(), torch.from_numpy(labels)
    deviation = x.std(0, correction=0)
    head = LabelHead(x.shape[1], len(weights)).double()
    head.center.copy_(x.mean(0))
    head.scale.copy_(torch.where(deviation > FLAT, deviation, 1.0))
    x, of_cell = (x - head.center) / head.scale, weights.double()[y]
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=PROBE_STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def loss() -> Tensor:
        optimiser.zero_grad()
        fit = (of_cell * F.cross_entropy(F.linear(x, head.weight, head.bias), y, reduction="none")).mean()
        total = fit + PENALTY * head.weight.square().sum() / (2 * len(x))
        total.backward()
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call, arg-type]
    optimiser.zero_grad()  # or the first step of the training would add to it
    return head.float()


class Labels(Objective):
    """Cross-entropy of the labels of cells, weighed by label."""

    name = "labels"
    reads_labels = True

    def __init__(self, head: LabelHead, weights: Tensor) -> None:
        super().__init__()
        self.head = head
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        """As the net is fed when it is used; draws that the family makes by cell id are other ones each time."""
        number = rng.integers(1 << 62)
        return shown(cells._replace(ids=np.array([f"{cell}/{number}" for cell in cells.ids])), subject)

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        true = batch.cells["label"]
        logits = self.head(subject.cells(batch))
        losses = F.cross_entropy(logits, true, reduction="none")
        parts: Mapping[str, Tensor] = {
            "cross_entropy": losses.detach().mean(),
            "accuracy": (logits.detach().argmax(1) == true).float().mean(),
        }
        return Loss((self.weights[true] * losses).mean(), parts)


def shown(cells: Cells, subject: Subject) -> Tokens:
    """Tokens of some cells as the net is fed when it is used, with their labels."""
    tokens = subject.tokenise(cells)
    return Tokens(tokens.lengths, tokens.columns, {**tokens.cells, "label": cells.labels})
