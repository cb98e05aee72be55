"""How alike two terms of an ontology are: Resnik, Lin, Jiang and Conrath, Wang; all from the structure of the ontology alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.ontology import Ontology

WEIGHT = 0.8
"""Of Wang: how much of the meaning of a term its parent by is_a has."""


def information(ontology: Ontology) -> NDArray[np.float64]:
    """Information content (n_terms,) of all terms, 0 for one above all others to 1 for one that has no kinds.

    1 - ln(1 + n_below) / ln(n_terms).

    References
    ----------
    Seco, Veale and Hayes, ECAI 2004.
    """
    n_terms = len(ontology.terms)
    return 1 - np.log1p(ontology.n_below) / np.log(n_terms) if n_terms > 1 else np.zeros(1)


def shared_information(ontology: Ontology, terms: Sequence[str]) -> NDArray[np.float64]:
    """Resnik similarity (n, n): information of the most informative term that both are; 0 where they have nothing in common.

    References
    ----------
    Resnik, IJCAI 1995, with the information content of `information`.
    """
    places = dict(zip(ontology.terms.tolist(), information(ontology).tolist(), strict=True))
    above = [ontology.ancestors(term) | {term} for term in terms]
    return _pairwise(len(terms), lambda i, j: max((places[term] for term in above[i] & above[j]), default=0.0))


def lin(ontology: Ontology, terms: Sequence[str]) -> NDArray[np.float64]:
    """Lin similarity (n, n), 0 to 1: twice the shared information over the sum of both; 1 for a term and itself.

    References
    ----------
    Lin, ICML 1998.
    """
    shared = shared_information(ontology, terms)
    own = np.diag(shared)
    total = own[:, None] + own
    found = np.divide(2 * shared, total, out=np.zeros_like(shared), where=total > 0)
    np.fill_diagonal(found, 1.0)
    return found


def jiang_conrath(ontology: Ontology, terms: Sequence[str]) -> NDArray[np.float64]:
    """Jiang and Conrath similarity (n, n), 0 to 1: 1 - d / 2, with their distance d = the sum of both less twice what is shared.

    References
    ----------
    Jiang and Conrath, ROCLING 1997; turned into a similarity as by Seco et al. 2004.
    """
    shared = shared_information(ontology, terms)
    own = np.diag(shared)
    return 1 - (own[:, None] + own - 2 * shared) / 2


def wang(ontology: Ontology, terms: Sequence[str]) -> NDArray[np.float64]:
    """Wang similarity (n, n), 0 to 1: what the common ancestors mean to both, over what all ancestors mean to each.

    An ancestor means 0.8 ^ (fewest steps up) to a term, the term itself 1.

    References
    ----------
    Wang et al., Bioinformatics 23:1274 (2007).
    """
    means = [{above: WEIGHT**steps for above, steps in ontology.steps_up(term).items()} for term in terms]
    totals = [sum(one.values()) for one in means]
    return _pairwise(len(terms), lambda i, j: _common(means[i], means[j]) / (totals[i] + totals[j]))


def _common(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    return sum(first[term] + second[term] for term in first.keys() & second.keys())


def _pairwise(n: int, of: Callable[[int, int], float]) -> NDArray[np.float64]:
    found = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            found[i, j] = found[j, i] = of(i, j)
    return found
