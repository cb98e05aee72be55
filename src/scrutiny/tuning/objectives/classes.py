"""Classes of hidden genes, for nets that are shown every gene of a cell with the class of its expression: scBERT."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.cross_entropy import cross_entropy
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean, share_of

SHOWN_MASK = 0.9
"""Of the genes to be found, how many are shown as the mask; the rest as it is (scBERT)."""


class MaskedClasses(Objective):
    """Name the classes that are hidden: cross-entropy, as scBERT. Genes that are not expressed are never hidden.

    Parameters
    ----------
    share
        Of the expressed genes of a cell that are to be found; each is drawn by itself.
    """

    name: ClassVar[str] = "masked_classes"
    needs: ClassVar[tuple[str, ...]] = ("class_logits", "masks.ids")

    def __init__(self, subject: Subject, *, share: float = 0.15) -> None:
        super().__init__()
        self.share = share_of(share, self.name)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        true = tokens.columns["ids"]
        place = np.arange(len(true)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        found = subject.is_gene(place) & (true > 0) & (rng.random(len(true)) < self.share)
        masked = found & (rng.random(len(true)) < SHOWN_MASK)
        shown = np.where(masked, true.dtype.type(subject.masks["ids"]), true)
        return replace(tokens, columns={**tokens.columns, "ids": shown, "true": true.astype(np.int64), "to_find": found})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        found = batch.columns["to_find"]
        logits = subject.class_logits(subject.hidden(subject.net, batch)[found])  # (n, n_classes)
        named = cross_entropy(logits, batch.columns["true"][found])
        loss = mean(named.losses)
        return Loss(loss, {"cross_entropy": loss.detach(), "accuracy": mean(named.right.float())})
