"""Triplets of cells by the Cell Ontology: cells of one type, from different studies, nearer than cells of types that exclude it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scrutiny.core.errors import InputError
from scrutiny.data.ontology import read_ontology
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.objective import Loss, Objective
from scrutiny.tuning.subject import Cells, Subject

from .masked import mean


class Triplet(Objective):
    """Bring a cell nearer to one of its type than to one of another type, by a margin, and reconstruct it where the net can: SCimilarity.

    The labels of the corpus are read. A positive is a cell of the same term, from another study where the batch has one; a negative is one
    whose term is neither above nor below in the ontology; cells without a term are in no triplet. Of the negatives one is drawn that is
    semi-hard: farther away than the positive, but by less than the margin. Distances are Euclidean, between vectors of length 1. The
    official code takes all pairs of a type, and mines by squared distances; here each cell is the anchor of one pair.

    Parameters
    ----------
    ontology
        Path of the table of parents, see `scrutiny.data.ontology.read_ontology`.
    margin
        By which a negative should be farther away.
    weight
        Of the triplets where the net reconstructs as well, the rest is that of the squared error; the default of the official code.
    """

    name: ClassVar[str] = "triplet"
    reads_labels: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("ontology",)

    def __init__(self, subject: Subject, *, ontology: str, margin: float = 0.05, weight: float = 0.003) -> None:
        super().__init__()
        if margin <= 0 or not 0 < weight <= 1:
            raise InputError(f"the objective {self.name} has margin = {margin} and weight = {weight}; expected above 0, weight to 1")
        self.ontology = read_ontology(Path(ontology))
        self.margin, self.weight = margin, weight if subject.profiles is not None else 1.0

    def begin(self, subject: Subject) -> None:
        self.register_buffer("comparable", torch.from_numpy(self.ontology.comparable()), persistent=False)

    def draw(self, cells: Cells, subject: Subject, rng: np.random.Generator) -> Tokens:
        tokens = subject.tokenise(cells)
        term = self.ontology.codes(cells.ontology)
        study = np.unique(cells.studies, return_inverse=True)[1]
        return replace(tokens, cells={**tokens.cells, "term": term, "study": study, "lot": rng.random(cells.n_cells, np.float32)})

    def forward(self, subject: Subject, batch: Batch) -> Loss:
        cells = subject.cells(batch).float()
        vectors = F.normalize(cells, dim=1)  # (B, D')
        found = mine(vectors.detach(), batch.cells, self.comparable, self.margin)
        anchor, positive, negative = (vectors[which] for which in found.triplets)
        loss = mean(F.relu((anchor - positive).norm(dim=1) - (anchor - negative).norm(dim=1) + self.margin))
        parts = {"triplet": loss.detach(), "anchors": found.anchors, "semi_hard": found.semi_hard, "in_order": found.in_order}
        if subject.profiles is not None:
            error = _squared_error(subject.profiles(cells).float(), subject, batch)
            parts["reconstruction"] = error.detach()
            loss = self.weight * loss + (1 - self.weight) * error
        return Loss(loss, parts)


class Mined(NamedTuple):
    """Triplets of a batch.

    ``triplets`` (3, n) int64 anchor, positive, negative; ``anchors`` () share of the cells that have a positive and a negative at all;
    of these, ``semi_hard`` () share with a semi-hard negative, and ``in_order`` () share that is nearer to its positive than to a negative
    drawn from all.
    """

    triplets: Tensor
    anchors: Tensor
    semi_hard: Tensor
    in_order: Tensor


@torch.no_grad()
def mine(vectors: Tensor, cells: Mapping[str, Tensor], comparable: Tensor, margin: float) -> Mined:
    """Triplets among cells of vectors (B, D): a positive and a semi-hard negative for each cell that has them.

    Parameters
    ----------
    cells
        ``term`` (B,) int64, -1 where unknown; ``study`` (B,) int64; ``lot`` (B,) float in [0, 1), a place on a circle: of its candidates
        each cell takes the one that follows it there, so all are as likely, and none is taken by many.
    comparable
        (n_terms, n_terms) bool, see `scrutiny.core.ontology.Ontology.comparable`.
    """
    term, study, lot = cells["term"], cells["study"], cells["lot"]
    known = (term >= 0)[:, None] & (term >= 0)
    same = (known & (term[:, None] == term)).fill_diagonal_(False)
    abroad = same & (study[:, None] != study)
    same = torch.where(abroad.any(1, keepdim=True), abroad, same)
    others = known & ~comparable[term[:, None], term]
    ahead = (lot - lot[:, None]) % 1
    distance = torch.cdist(vectors, vectors)

    positive = _drawn(same, ahead)
    beyond = distance - distance.gather(1, positive[:, None])  # (B, B), farther away than the positive by so much
    semi_hard = others & (beyond > 0) & (beyond < margin)
    anchor = same.any(1) & others.any(1)
    found = anchor & semi_hard.any(1)
    triplets = torch.stack([torch.arange(len(term), device=term.device), positive, _drawn(semi_hard, ahead)])[:, found]
    in_order = beyond.gather(1, _drawn(others, ahead)[:, None])[:, 0] > 0
    return Mined(triplets, anchor.float().mean(), mean(found[anchor].float()), mean(in_order[anchor].float()))


def _drawn(candidates: Tensor, ahead: Tensor) -> Tensor:
    """(B,) of the candidates (B, B) of each cell the one that is next ahead; any, where there are none."""
    return ahead.masked_fill(~candidates, torch.inf).argmin(1)


def _squared_error(predicted: Tensor, subject: Subject, batch: Batch) -> Tensor:
    """Mean over the cells and the genes of the corpus, expressed or not."""
    true = torch.zeros_like(predicted).index_put((batch.cell, batch.columns["ids"]), batch.columns["values"])
    genes = torch.as_tensor(subject.gene_tokens, device=batch.device)
    return F.mse_loss(predicted[:, genes], true[:, genes])
