"""The Cell Ontology: which terms are kinds of which others, and which term each label of a data set is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .errors import InputError
from .keys import digest_of_array, digest_of_json, digest_of_strings

UNKNOWN = ("", "unknown")
"""Instead of a term, the second as the CELLxGENE schema has it."""
MOST_PATHS = 50_000_000
"""Ways from a term over another one to a third; the Cell Ontology has 150,000."""


@dataclass(frozen=True, eq=False)
class Ontology:
    """Terms, and what each is a kind of.

    Attributes
    ----------
    terms
        (n_terms,) str, sorted.
    parents
        (n_terms, n_terms) CSR bool: whether the term of the column is what that of the row is directly a kind of; there are no circles.
    names
        (n_terms,) str, '' where nobody says.
    version
        As its makers write it, '' where they do not.
    synonyms
        Term -> other names that mean exactly the same.
    replaced_by
        Term that is obsolete -> the one that took its place.
    """

    terms: NDArray[np.str_]
    parents: sparse.csr_matrix
    names: NDArray[np.str_]
    version: str = ""
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    replaced_by: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def above(self) -> sparse.csr_matrix:
        """(n_terms, n_terms) CSR bool: whether the term of the column is an ancestor of that of the row, however far; none is its own."""
        return closure(self.parents)

    @cached_property
    def n_below(self) -> NDArray[np.int64]:
        """How many terms (n_terms,) are kinds of each, however far."""
        return np.bincount(self.above.indices, minlength=len(self.terms))

    @cached_property
    def key(self) -> str:
        """Key of the terms and what they are kinds of: all that a distance depends on."""
        edges = self.parents.tocoo()
        order = np.lexsort((edges.col, edges.row))
        return digest_of_json([digest_of_strings(self.terms), digest_of_array(np.stack([edges.row, edges.col])[:, order].astype(np.int64))])

    def __contains__(self, term: object) -> bool:
        place = int(np.searchsorted(self.terms, str(term)))
        return place < len(self.terms) and bool(self.terms[place] == term)

    def codes(self, terms: NDArray[np.str_]) -> NDArray[np.int64]:
        """Places (n,) of terms (n,) in `terms`, -1 for those of `UNKNOWN`. Raises InputError if the ontology has not one of them."""
        places = np.searchsorted(self.terms, terms).clip(max=len(self.terms) - 1)
        known = self.terms[places] == terms
        if missing := sorted(set(terms[~known].tolist()) - set(UNKNOWN)):
            shown = ", ".join(missing[:5])
            raise InputError(f"the ontology has no term {shown} ({len(missing)} such); expected ids as {self.terms[0]}; is one obsolete?")
        return np.where(known, places, -1)

    def name(self, term: str) -> str:
        """What a term is called; the term itself where nobody says. Raises InputError if the ontology has not the term."""
        return str(self.names[self._place(term)]) or term

    def ancestors(self, term: str) -> frozenset[str]:
        """All that a term is a kind of. Raises InputError if the ontology has not the term."""
        return frozenset(self.terms[self.above[self._place(term)].indices].tolist())

    def direct_parents(self, term: str) -> tuple[str, ...]:
        """What a term is directly a kind of, sorted. Raises InputError if the ontology has not the term."""
        return tuple(sorted(self.terms[self.parents[self._place(term)].indices].tolist()))

    def direct_kinds(self, term: str) -> tuple[str, ...]:
        """What is directly a kind of a term, sorted. Raises InputError if the ontology has not the term."""
        return tuple(sorted(self.terms[self.parents.getcol(self._place(term)).nonzero()[0]].tolist()))

    def steps_up(self, term: str) -> dict[str, int]:
        """The term and all its ancestors -> the fewest steps to them. Raises InputError if the ontology has not the term."""
        reached = {self._place(term): 0}
        front, n_steps = list(reached), 0
        while front:
            n_steps += 1
            further = {int(parent) for place in front for parent in self.parents[place].indices} - reached.keys()
            reached |= dict.fromkeys(further, n_steps)
            front = sorted(further)
        return {str(self.terms[place]): steps for place, steps in reached.items()}

    def depth(self, term: str) -> int:
        """Fewest steps up to a term that is a kind of nothing. Raises InputError if the ontology has not the term."""
        return min(steps for above, steps in self.steps_up(term).items() if not self.direct_parents(above))

    def lowest_common_ancestors(self, first: str, second: str) -> tuple[str, ...]:
        """What both are, themselves included, and of which no kind is both too; sorted, empty where they have nothing in common."""
        common = ({first} | self.ancestors(first)) & ({second} | self.ancestors(second))
        passed = {above for term in common for above in self.ancestors(term)}
        return tuple(sorted(common - passed))

    def distances(self, terms: Iterable[str]) -> NDArray[np.int64]:
        """Fewest steps (n, n) from one term up to something that both are, and down to the other.

        Terms that have nothing in common meet in a place above all others.
        """
        up = [self.steps_up(term) for term in terms]
        heights = [min(steps for above, steps in one.items() if not self.direct_parents(above)) for one in up]
        found = np.zeros((len(up), len(up)), dtype=np.int64)
        for i, first in enumerate(up):
            for j, second in enumerate(up[:i]):
                through = min((first[above] + second[above] for above in first.keys() & second.keys()), default=None)
                found[i, j] = found[j, i] = heights[i] + heights[j] + 2 if through is None else through
        return found

    def comparable(self) -> NDArray[np.bool_]:
        """(n_terms, n_terms) whether two terms are the same, or one is a kind of the other."""
        return (self.above + self.above.T).toarray() | np.eye(len(self.terms), dtype=bool)

    def _place(self, term: str) -> int:
        (place,) = self.codes(np.array([term]))
        if place < 0:
            raise InputError(f"'{term}' is no term; expected ids as {self.terms[0]}")
        return int(place)


def closure(parents: sparse.csr_matrix) -> sparse.csr_matrix:
    """Everything above each term (n_terms, n_terms), from what is directly above it. Raises InputError if that is too much to keep."""
    above, n_before = parents, 0
    while above.nnz > n_before:  # twice as far each time
        if int(np.diff(above.indptr) @ np.bincount(above.indices, minlength=above.shape[0])) > MOST_PATHS:
            raise InputError(f"there are more than {MOST_PATHS:,} ways up among {above.shape[0]:,} terms; expected an ontology")
        n_before, above = above.nnz, (above + above @ above).astype(bool)
    return above


@dataclass(frozen=True, eq=False)
class LabelTerms:
    """Which term of an ontology each label of a data set is.

    Attributes
    ----------
    by_label
        Label -> term; labels for which none was found are not there.
    found_by
        Label -> how its term was found ("name", "synonym", "column", "table").
    """

    ontology: Ontology
    by_label: Mapping[str, str]
    found_by: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ontology.codes(np.array([*self.by_label.values()], dtype=str))

    @cached_property
    def key(self) -> str:
        """Key of all that a score depends on."""
        return digest_of_json([self.ontology.key, dict(self.by_label)])

    def of(self, labels: NDArray[np.str_]) -> NDArray[np.str_]:
        """Terms (n,) of labels (n,), '' where none was found."""
        names, codes = np.unique(labels, return_inverse=True)
        return np.array([self.by_label.get(str(name), "") for name in names], dtype=str)[codes]

    @property
    def tree(self) -> tuple[Branch, ...]:
        """The terms of the labels and the places where their ways up meet, sorted by term; what lies between is left out."""
        labels: dict[str, list[str]] = {}
        for label, term in sorted(self.by_label.items()):
            labels.setdefault(term, []).append(label)
        above = {term: self.ontology.ancestors(term) for term in labels}
        below: dict[str, set[str]] = {}
        for term in labels:
            for one in above[term] | {term}:
                below.setdefault(one, set()).add(term)
        groups: dict[frozenset[str], list[str]] = {}
        for term, group in below.items():
            groups.setdefault(frozenset(group), []).append(term)
        kept = {*labels, *(self._lowest(meeting) for group, meeting in groups.items() if len(group) > 1 and not labels.keys() & {*meeting})}
        return tuple(self._branch(term, kept, labels.get(term, [])) for term in sorted(kept))

    def _lowest(self, terms: list[str]) -> str:
        """Of terms that are above the same labels that which is farthest down; of several the first."""
        return min(terms, key=lambda term: (-len(self.ontology.ancestors(term)), term))

    def _branch(self, term: str, kept: set[str], labels: list[str]) -> Branch:
        above = self.ontology.ancestors(term) & kept
        passed = {further for one in above for further in self.ontology.ancestors(one)}
        return Branch(term, self.ontology.name(term), tuple(sorted(above - passed)), tuple(labels))


class Branch(NamedTuple):
    """A term in the tree of the labels."""

    id: str
    name: str
    parents: tuple[str, ...]
    """The nearest terms above it that are in the tree."""
    labels: tuple[str, ...]
    """That are just this term."""
