"""The sentences of UCE: genes drawn by their expression, laid out chromosome by chromosome as they stand on the genome."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.data.draws import cell_generator
from scrutiny.nets.tokens import Tokens

from .genes import Vocabulary

CLOSE, CLS = 2, 3
"""Tokens: the end of a chromosome, the start of a sentence."""


@dataclass(frozen=True, eq=False)
class Species:
    """The genes of a species that have a protein embedding and a place on the genome.

    Attributes
    ----------
    tokens
        (n_genes,) int64 token of each gene of the vocabulary.
    chromosomes
        (n_genes,) int64 token that opens the chromosome of each gene.
    starts
        (n_genes,) int64 where on it the gene begins.
    """

    vocabulary: Vocabulary
    tokens: NDArray[np.int64]
    chromosomes: NDArray[np.int64]
    starts: NDArray[np.int64]

    def take(self, words: NDArray[np.int64]) -> Species:
        """These genes, in this order."""
        return Species(self.vocabulary, self.tokens[words], self.chromosomes[words], self.starts[words])


class Draws(Protocol):
    """The draws of one cell, asked for in this order."""

    def sample(self, columns: NDArray[np.int64], counts: NDArray[np.float32], n_columns: int) -> NDArray[np.int64]:
        """So many of the columns as the model is shown, each drawn by ln(1 + count), with replacement."""
        ...

    def shuffled(self, chromosomes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The chromosomes of a cell in random order."""
        ...


class OwnDraws:
    """Draws that depend on (seed, cell id) alone."""

    def __init__(self, seed: int, cell_id: str, n: int) -> None:
        self.seed, self.cell_id, self.n = seed, cell_id, n

    @cached_property
    def _generator(self) -> np.random.Generator:
        return cell_generator(self.seed, self.cell_id)

    def sample(self, columns: NDArray[np.int64], counts: NDArray[np.float32], n_columns: int) -> NDArray[np.int64]:
        return columns[self._generator.choice(len(columns), self.n, p=chances(counts))]

    def shuffled(self, chromosomes: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._generator.permutation(chromosomes)


class OfficialStream:
    """The draws of all cells of a file in its order, as the official code makes them after numpy's global generator was seeded."""

    def __init__(self, seed: int, n: int) -> None:
        self._state, self.n = np.random.RandomState(seed), n

    def sample(self, columns: NDArray[np.int64], counts: NDArray[np.float32], n_columns: int) -> NDArray[np.int64]:
        return self._state.choice(n_columns, self.n, p=official_chances(columns, counts, n_columns))

    def shuffled(self, chromosomes: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._state.permutation(chromosomes)


def chances(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Chance (n,) of each gene to be drawn."""
    weights = np.log1p(counts, dtype=np.float64)
    return weights / weights.sum()


def official_chances(columns: NDArray[np.int64], counts: NDArray[np.float32], n_columns: int) -> NDArray[np.float32]:
    """As `chances`, of all genes (n_columns,), rounded as in the official code: a draw may hang on the last bit."""
    cell = torch.zeros(n_columns, dtype=torch.int64)
    cell[torch.from_numpy(columns)] = torch.from_numpy(counts).long()
    weights = torch.log1p(cell)
    weights = (weights / weights.sum()).numpy()
    return weights / np.cumsum(weights)[-1]  # added up one by one, as Python's sum does


def sentence(genes: NDArray[np.int64], order: NDArray[np.int64], species: Species) -> NDArray[np.int64]:
    """Tokens (n_tokens,) of a cell: CLS, then of each chromosome its own token, its genes from start to end, and a closing token.

    Parameters
    ----------
    genes
        (n,) columns of the drawn genes; one that was drawn twice stands twice. Genes that begin at one place stand in the order of the
        columns.
    order
        (n_chromosomes,) the tokens of their chromosomes in the order of the sentence.
    """
    place = np.argsort(order)[np.searchsorted(np.sort(order), species.chromosomes[genes])]
    sort = np.lexsort((genes, species.starts[genes], place))
    n_of = np.bincount(place, minlength=len(order))
    opens = 1 + np.cumsum(n_of + 2) - (n_of + 2)
    out = np.empty(1 + len(genes) + 2 * len(order), dtype=np.int64)
    out[0], out[opens], out[opens + n_of + 1] = CLS, order, CLOSE
    out[np.arange(len(genes)) + 2 + 2 * place[sort]] = species.tokens[genes[sort]]
    return out


def sentences(known: sparse.csr_matrix, species: Species, draws: list[Draws], longest: int) -> Tokens:
    """Sentences of cells as `Tokens` with the column ``ids``; of a cell without known genes there is CLS alone.

    Parameters
    ----------
    known
        (n_cells, n_genes) CSR of counts, columns as in ``species``.
    draws
        (n_cells,) where the draws of each cell come from.
    longest
        Tokens of a sentence at most; the official code has no answer to longer ones, here they are cut.
    """
    found = []
    for row, drawn in enumerate(draws):
        part = slice(known.indptr[row], known.indptr[row + 1])
        columns = known.indices[part].astype(np.int64)
        if not len(columns):
            found.append(np.array([CLS]))
            continue
        genes = drawn.sample(columns, known.data[part], known.shape[1])
        order = drawn.shuffled(np.unique(species.chromosomes[genes]))
        found.append(sentence(genes, order, species)[:longest])
    return Tokens(np.array([len(ids) for ids in found], dtype=np.int64), {"ids": np.concatenate(found)})
