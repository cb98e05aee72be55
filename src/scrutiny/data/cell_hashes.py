"""A cell as one number, whatever the order of its genes: a sum over its counts, so that it can be taken over any set of genes.

The number of a cell over some genes is the sum, modulo 2**64, of one mixed number for each (gene, count) that is not zero. Genes that are
zero add nothing: a file that left out its silent genes gives the same numbers. Equal counts give equal numbers always; among ten
million cells two different ones agree by chance about three times in a million corpora.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FEWEST_EXPRESSED = 25
"""Cells that express fewer of the genes in question may be equal by chance, so nothing is concluded from them."""


def gene_keys(ids: Iterable[str]) -> NDArray[np.uint64]:
    """One number for each gene id (n_genes,), the same everywhere."""
    digests = (hashlib.blake2b(str(id).encode(), digest_size=8).digest() for id in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def terms(values: sparse.csr_matrix, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What each entry of counts (n_cells, n_genes) adds to the number of its cell (nnz,); ``keys`` (n_genes,) of the columns."""
    return mixed(keys[values.indices] ^ mixed(values.data.astype(np.uint64)))


def row_sums(entries: NDArray[np.uint64], indptr: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Sums (n_cells,) uint64, modulo 2**64, of entries (nnz,) by the rows of a CSR matrix."""
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(entries, dtype=np.uint64)])
    return running[indptr[1:]] - running[indptr[:-1]]


def cell_hashes(values: sparse.csr_matrix, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The number of each cell (n_cells,) over all columns of ``values`` (n_cells, n_genes), which holds counts."""
    return row_sums(terms(values, keys), values.indptr)


class OnPanel(NamedTuple):
    """Of some cells (n_cells,): their numbers over a panel of genes, and whether they express enough of it ``to_tell``."""

    hashes: NDArray[np.uint64]
    to_tell: NDArray[np.bool_]


def panel_hashes(values: sparse.csr_matrix, keys: NDArray[np.uint64], panels: Iterable[NDArray[np.bool_]]) -> Iterator[OnPanel]:
    """Of each panel (n_genes,) bool, the numbers of cells with counts ``values`` (n_cells, n_genes)."""
    entries = terms(values, keys)
    for panel in panels:
        inside = panel[values.indices]
        n_expressed = row_sums(inside.astype(np.uint64), values.indptr)
        yield OnPanel(row_sums(entries * inside, values.indptr), n_expressed >= FEWEST_EXPRESSED)


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number scattered over all 64 bits: the finisher of splitmix64 (Steele et al., OOPSLA 2014), which loses nothing."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
