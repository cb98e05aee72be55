"""Genes ranked relative to their median over a corpus: the dictionaries of Geneformer, which LangCell has too, and the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.tokens import Tokens

from .genes import Counts, Matched, Vocabulary
from .ranks import ranked

PER_CELL = 10_000


@dataclass(frozen=True, eq=False)
class MedianGenes:
    """Genes with a token and a median.

    Attributes
    ----------
    vocabulary
        Ensembl ids by ascending token, which decides between equal values.
    tokens, medians
        (n_words,) int64 token, and float64 median of the values above 0 over the corpus.
    special
        Token of each word that is no gene, e.g. ``<mask>``.
    """

    vocabulary: Vocabulary
    tokens: NDArray[np.int64]
    medians: NDArray[np.float64]
    special: Mapping[str, int]

    @classmethod
    def read(cls, tokens: Path, medians: Path, *aliases: Path | None) -> MedianGenes:
        """Read the dictionaries: Ensembl id to token, to median, and from other ids to Ensembl id, of which the first that knows an id is
        believed. Raises InputError if one is odd.
        """
        token_of, median_of = _numbers(tokens, int), _numbers(medians, float)
        special = {word: token for word, token in token_of.items() if word.startswith("<")}
        genes = sorted(token_of.keys() - special.keys(), key=token_of.__getitem__)
        if without := [gene for gene in genes if not median_of.get(gene, 0.0) > 0]:
            raise InputError(f"{medians} has no positive median for {len(without)} genes of {tokens}, e.g. {without[0]}; are they a pair?")
        others: dict[str, str] = {}
        for path in filter(None, reversed(aliases)):
            known = ((name, gene) for name, gene in read_dictionary(path).items() if isinstance(gene, str) and gene in token_of)
            others |= {str(name).upper(): gene for name, gene in known}
        vocabulary = Vocabulary(np.array(genes, dtype=str), "ensembl_id", aliases=others or None)
        return cls(vocabulary, np.array([token_of[g] for g in genes]), np.array([median_of[g] for g in genes]), special)

    @property
    def n_tokens(self) -> int:
        return len(self.tokens) + len(self.special)

    def ranked(self, counts: Counts, matched: Matched, longest: int) -> Tokens:
        """Genes of each cell by descending count / total / median, at most ``longest``. The ranking is made in float64."""
        per_total = PER_CELL / np.maximum(counts.totals, 1e-12)
        known = counts.known
        data = known.data.astype(np.float64) * np.repeat(per_total, np.diff(known.indptr))
        data *= (1.0 / self.medians[matched.words])[known.indices]
        return ranked(sparse.csr_matrix((data, known.indices, known.indptr), shape=known.shape), self.tokens[matched.words], longest)


def _numbers(path: Path, kind: type[Any]) -> dict[str, Any]:
    """A dictionary from str to finite numbers of a kind."""
    found = read_dictionary(path)
    for word, value in found.items():
        if not isinstance(word, str) or not isinstance(value, (int, float, np.integer, np.floating)) or kind(value) != value:
            raise InputError(f"{path} says {word!r}: {value!r}; expected a name and {'a whole number' if kind is int else 'a number'}")
    return {word: kind(value) for word, value in found.items()}
