"""What is trained: a net, and what an objective must know of the family that it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.nets.layers import Block
from scrutiny.nets.tokens import Batch, Tokens


class Cells(NamedTuple):
    """Some cells of a corpus.

    ``counts`` (n, n_genes) CSR float32 of the genes that the model knows, columns sorted; ``totals`` (n,) float64 of all genes that were
    measured; ``ids`` (n,) str; ``ontology`` (n,) str Cell Ontology ids, '' where unknown; ``studies`` (n,) str; ``labels`` (n,) int64
    number of the label that is learnt from, None where none is.
    """

    counts: sparse.csr_matrix
    totals: NDArray[np.float64]
    ids: NDArray[np.str_]
    ontology: NDArray[np.str_]
    studies: NDArray[np.str_]
    labels: NDArray[np.int64] | None = None

    @property
    def n_cells(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Cells:
        return Cells(*(None if values is None else values[rows] for values in self))


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
        (n_genes,) int64 token of each column of `Cells.counts`; its place, where every cell has all genes.
    masks
        Column of `Tokens` -> what stands there for a gene, or the value of a gene, that is hidden.
    width, cell_width
        D and D'.
    n_words
        Size of the vocabulary, special tokens included; tokens of a cell, where every cell has all genes.
    genes
        Vectors (n, D) of genes by token, before any value is known; None also where tokens are not genes of which some could be left out.
    logits
        Over the vocabulary (n, n_words), from hidden states (n, D).
    value
        Expression (n,) in the family's own units, from hidden states (n, D) of the gene's token.
    value_from_cell
        The same from last hidden states of the first tokens (B, D), tokens of genes (n,) and the cell of each (n,).
    hidden_values
        The same from a batch of the tokens that are shown, for the genes ``batch.cells["hidden"]`` (B, n_words) bool, row by row.
    depths
        Tokens, one each in a cell, whose values are the depth that it is shown at, and the one that it is predicted at.
    class_logits
        Over the classes that expression is cut into, (n, n_classes), from hidden states (n, D).
    log_odds
        Of being expressed, (n,), from ``cells`` (B, D'), tokens of genes (n,) and the cell of each (n,).
    profiles
        Expression of all genes (B, n_words) in the family's own units, from ``cells`` (B, D').
    enter, layers
        What enters the first layer (N, D), and the layers, for objectives that run the net in another way.
    blocks, above
        Names of the net's list of layers, and of its parts between the last of them and the vector of a cell.
    together
        Whether the cells of a batch change each other.
    """

    family: str
    net: nn.Module
    hidden: Callable[[nn.Module, Batch], Tensor]
    cells: Callable[[Batch], Tensor]
    tokenise: Tokenise
    gene_tokens: NDArray[np.int64]
    masks: Mapping[str, float]
    width: int
    cell_width: int
    n_words: int
    genes: Callable[[Tensor], Tensor] | None = None
    logits: Callable[[Tensor], Tensor] | None = None
    value: Callable[[Tensor], Tensor] | None = None
    value_from_cell: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    hidden_values: Callable[[Batch], Tensor] | None = None
    depths: tuple[int, int] | None = None
    class_logits: Callable[[Tensor], Tensor] | None = None
    log_odds: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    profiles: Callable[[Tensor], Tensor] | None = None
    enter: Callable[[Batch], Tensor] | None = None
    layers: Sequence[Block] | None = None
    blocks: str = "layers"
    above: tuple[str, ...] = ()
    together: bool = False

    def is_gene(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the tokens (n,) are genes of the corpus."""
        known = np.zeros(self.n_words, dtype=bool)
        known[self.gene_tokens] = True
        return known[ids]
