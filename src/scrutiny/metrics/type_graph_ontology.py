"""Do types that are kin lie near each other? Distances of types in the embedding against random walks on the Cell Ontology."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.ontology import LabelTerms, Ontology
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .type_graph import FEWEST_CELLS, FEWEST_TYPES, correlation

BEYOND_CHANCE = 4.0
"""Standard deviations by which types must be apart, else they count as in one place: what is shuffled then has no kinship at all."""
RESTART = 0.5
"""Chance at every step of the walk on the ontology to go back to where it began."""


class TypesOfCells(NamedTuple):
    """Cells whose label has a term, those with enough cells of their term."""

    ontology: Ontology
    listed: tuple[str, ...]
    """(n_types,) terms, sorted."""
    rows: NDArray[np.intp]
    codes: NDArray[np.intp]
    """(n_rows,) index into ``listed``."""
    n_cells: int

    @property
    def details(self) -> dict[str, Any]:
        """How many were left out."""
        return {"n_types": len(self.listed), "n_left_out": self.n_cells - len(self.rows)}


@derived("types_of_cells")
def types_of_cells(labels: NDArray[Any], terms: LabelTerms) -> TypesOfCells:
    """Cells by the term of their label; labels of one term are one type, and types of fewer than 5 cells are left out.

    Raises
    ------
    NotApplicable
        If there are fewer than two types.
    """
    names = terms.of(np.asarray(labels).astype(str))
    found, counts = np.unique(names[names != ""], return_counts=True)
    listed = found[counts >= FEWEST_CELLS]
    if len(listed) < 2:
        raise NotApplicable(f"needs two types of at least {FEWEST_CELLS} cells with terms of the Cell Ontology; there are {len(listed)}")
    rows = np.flatnonzero(np.isin(names, listed))
    return TypesOfCells(terms.ontology, tuple(listed.tolist()), rows, np.searchsorted(listed, names[rows]), len(names))


@metric(
    MetricCard(
        name="scgraph_ontorwr",
        family="ontology",
        better="higher",
        low=-1.0,
        high=1.0,
        recipe="Types are the Cell Ontology terms of at least 5 cells, at least 4 of them. On the graph of these terms and all their "
        "ancestors, is_a edges walked both ways, a random walk from each type restarts with probability 0.5 at every step; two "
        "types are as alike as the cosine of where their walks are in the long run. In the embedding, the distance of two types "
        "is the squared euclidean distance of their mean vectors less what chance adds to it (the variance of both means), so "
        "that rare types do not look remote; 0 where it is below 4 standard deviations of chance, so that noise has no kinship. "
        "For every type, the Spearman correlation of likeness and closeness to all other types (0 where all are equally close); "
        "mean over types.",
        source="named by Wu et al. 2025 (scFM-Bench), whose formula we could not consult; this definition is ours",
        roof=None,
        repeats=5,
    )
)
def scgraph_ontorwr(embedding: NDArray[np.floating], types_of_cells: TypesOfCells) -> Measured:
    """Do types lie as near each other as they are in the Cell Ontology? 0 for an embedding that says nothing of kinship.

    Parameters
    ----------
    embedding
        (n_cells, n_dims).
    types_of_cells
        Of the cells.

    Raises
    ------
    NotApplicable
        If there are fewer than four types, or they all have one place in the embedding.
    """
    types = types_of_cells
    if len(types.listed) < FEWEST_TYPES:
        raise NotApplicable(f"needs at least {FEWEST_TYPES} types of at least {FEWEST_CELLS} cells each; there are {len(types.listed)}")
    apart = unbiased_squares(embedding[types.rows].astype(np.float64), types.codes)
    alike = walk_likeness(types.ontology, types.listed)
    others = ~np.eye(len(types.listed), dtype=bool)
    found = [_spearman(alike[i, others[i]], -apart[i, others[i]]) for i in range(len(apart))]
    per_type = {types.ontology.name(term): round(value, 4) for term, value in zip(types.listed, found, strict=True)}
    return Measured(float(np.mean(found)), details={**types.details, "per_type": per_type})


def unbiased_squares(values: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Squared distances (n_types, n_types) of the means of types, without what their finite numbers of cells add; 0 where chance may do.

    With W the covariance within types, chance adds tr W (1/n_i + 1/n_j) on average, with the standard deviation
    sqrt(2 tr W^2) (1/n_i + 1/n_j) where two normal types have one place.

    Parameters
    ----------
    values
        (n_cells, n_dims).
    codes
        (n_cells,) type, each of at least two cells.

    Raises
    ------
    NotApplicable
        If all cells are in one place.
    """
    values = values - values.mean(axis=0)
    if np.square(values).sum(axis=1).mean() <= 1e-12 * max(1.0, float(np.square(values).max())):
        raise NotApplicable("all cells have the same place in the embedding, so types have no distances")
    sizes = np.bincount(codes)
    means = np.stack([values[codes == code].mean(axis=0) for code in range(len(sizes))])
    within = values - means[codes]
    by_chance = np.bincount(codes, np.square(within).sum(axis=1)) / (sizes - 1) / sizes
    products = within.T @ within if within.shape[1] < len(within) else within @ within.T
    spread = np.sqrt(2) * np.linalg.norm(products) / (len(within) - len(sizes)) * (1 / sizes[:, None] + 1 / sizes)
    squares = np.square(means[:, None] - means).sum(axis=-1) - by_chance[:, None] - by_chance
    return np.where(squares > BEYOND_CHANCE * spread, squares, 0.0)


def walk_likeness(ontology: Ontology, terms: tuple[str, ...]) -> NDArray[np.float64]:
    """Cosine (n, n) of where random walks with restart from the terms are in the long run, on their part of the ontology.

    The walk from term i is p = r e_i + (1 - r) W p, with W the transitions along is_a edges, up and down alike, among the terms and all
    their ancestors.

    References
    ----------
    Tong, Faloutsos and Pan, ICDM 2006.
    """
    nodes = sorted({*terms}.union(*(ontology.ancestors(term) for term in terms)))
    places = ontology.codes(np.array(nodes))
    edges = ontology.parents[places][:, places].toarray()
    both_ways = (edges | edges.T).astype(np.float64)
    degree = both_ways.sum(axis=0)
    transitions = both_ways / np.where(degree > 0, degree, 1.0)
    starts = np.eye(len(nodes))[:, np.searchsorted(nodes, terms)]
    walks = np.linalg.solve(np.eye(len(nodes)) - (1 - RESTART) * transitions, RESTART * starts)
    walks /= np.linalg.norm(walks, axis=0)
    return walks.T @ walks


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of ranks, 0 where one of the two does not vary; what differs in the last digits alone is a tie."""
    scale = max(float(np.abs(second).max()), 1e-300)
    ranks = [stats.rankdata(np.round(values, 9)) for values in (first, second / scale)]
    return correlation(ranks[0], ranks[1], np.ones(len(first)))
