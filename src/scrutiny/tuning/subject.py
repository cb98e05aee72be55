"""What is trained: a net, and what an objective must know of the family that it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.nets.tokens import Batch, Tokens


class Cells(NamedTuple):
    """Some cells of a corpus.

    ``counts`` (n, n_genes) CSR float32 of the genes that the model knows, columns sorted; ``totals`` (n,) float64 of all genes that were
    measured; ``ids`` (n,) str; ``ontology`` (n,) str Cell Ontology ids, '' where unknown; ``studies`` (n,) str.
    """

    counts: sparse.csr_matrix
    totals: NDArray[np.float64]
    ids: NDArray[np.str_]
    ontology: NDArray[np.str_]
    studies: NDArray[np.str_]

    @property
    def n_cells(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Cells:
        return Cells(self.counts[rows], self.totals[rows], self.ids[rows], self.ontology[rows], self.studies[rows])


Tokenise = Callable[[Cells], Tokens]
"""How the family makes tokens of cells; draws that are part of it depend on the ids."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A net under training, and what objectives ask of it; what a family has not is None.

    Attributes
    ----------
    hidden
        Last hidden states (N, D) that a net of this architecture (this one, or a copy that follows it) has for a batch.
    cells
        The vectors (B, D') that the model is used by: what `embed` returns.
    tokenise
        As the model is fed when it is used, but for what belongs to training (`Tokenise`).
    gene_tokens
        (n_genes,) int64 token of each column of `Cells.counts`.
    masks
        Column of `Tokens` -> what stands there for a gene, or the value of a gene, that is hidden.
    width
        D.
    n_words
        Size of the vocabulary, special tokens included.
    genes
        Vectors (n, D) of genes by token, before any value is known.
    logits
        Over the vocabulary (n, n_words), from hidden states (n, D).
    value
        Expression (n,) in the family's own units, from hidden states (n, D) of the gene's token.
    value_from_cell
        The same from vectors of cells (B, D), tokens of genes (n,) and the cell of each (n,).
    """

    family: str
    net: nn.Module
    hidden: Callable[[nn.Module, Batch], Tensor]
    cells: Callable[[Batch], Tensor]
    tokenise: Tokenise
    gene_tokens: NDArray[np.int64]
    masks: Mapping[str, float]
    width: int
    n_words: int
    genes: Callable[[Tensor], Tensor] | None = None
    logits: Callable[[Tensor], Tensor] | None = None
    value: Callable[[Tensor], Tensor] | None = None
    value_from_cell: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def is_gene(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the tokens (n,) are genes of the corpus."""
        known = np.zeros(self.n_words, dtype=bool)
        known[self.gene_tokens] = True
        return known[ids]
