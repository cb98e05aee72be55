"""The Cell Ontology as far as training needs it: which terms are kinds of which others."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.errors import InputError

CHILD, PARENT = "child", "parent"
UNKNOWN = ("", "unknown")
"""Instead of a term, the second as the CELLxGENE schema has it."""


@dataclass(frozen=True, eq=False)
class Ontology:
    """Terms, and what each is a kind of.

    Attributes
    ----------
    terms
        (n_terms,) str, sorted.
    above
        (n_terms, n_terms) CSR bool: whether the term of the column is an ancestor of that of the row, however far; none is its own.
    """

    terms: NDArray[np.str_]
    above: sparse.csr_matrix

    def codes(self, terms: NDArray[np.str_]) -> NDArray[np.int64]:
        """Places (n,) of terms (n,) in `terms`, -1 for those of `UNKNOWN`. Raises InputError if the ontology has not one of them."""
        places = np.searchsorted(self.terms, terms).clip(max=len(self.terms) - 1)
        known = self.terms[places] == terms
        if missing := sorted(set(terms[~known].tolist()) - set(UNKNOWN)):
            shown = ", ".join(missing[:5])
            raise InputError(f"the ontology has no term {shown} ({len(missing)} such); expected ids as {self.terms[0]}; is one obsolete?")
        return np.where(known, places, -1)

    def ancestors(self, term: str) -> frozenset[str]:
        """All that a term is a kind of. Raises InputError if the ontology has not the term."""
        (place,) = self.codes(np.array([term]))
        return frozenset(self.terms[self.above[place].indices].tolist())

    def comparable(self) -> NDArray[np.bool_]:
        """(n_terms, n_terms) whether two terms are the same, or one is a kind of the other."""
        return (self.above + self.above.T).toarray() | np.eye(len(self.terms), dtype=bool)


def read_ontology(path: str | Path) -> Ontology:
    """The ontology of a table of direct parents: tab-separated, columns ``child`` and ``parent``, also gzipped.

    Raises
    ------
    InputError
        If the file cannot be read as such, or makes a term an ancestor of itself.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except OSError as error:
        raise InputError(f"the table of parents {path} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no tab-separated table: {error}") from error
    if not {CHILD, PARENT} <= set(table.columns) or table.empty:
        raise InputError(f"{path} has {len(table)} rows of {list(table.columns)[:5]}; expected a table of '{CHILD}' and '{PARENT}'")
    return ontology_of(table[CHILD].to_numpy(str), table[PARENT].to_numpy(str), str(path))


def ontology_of(children: NDArray[np.str_], parents: NDArray[np.str_], source: str) -> Ontology:
    """The ontology of pairs (n,) of terms; ``source`` is named in errors, see `read_ontology`."""
    terms, places = np.unique(np.concatenate([children, parents]), return_inverse=True)
    child, parent = places.reshape(2, -1)
    direct = sparse.csr_matrix((np.ones(len(child), bool), (child, parent)), shape=(len(terms), len(terms)))
    above, n_before = direct, 0
    while above.nnz > n_before:  # twice as far each time
        n_before, above = above.nnz, (above + above @ above).astype(bool)
    if own := terms[above.diagonal()].tolist():
        raise InputError(f"{source} makes {own[0]} an ancestor of itself ({len(own)} such terms); expected no circles")
    return Ontology(terms, above)
