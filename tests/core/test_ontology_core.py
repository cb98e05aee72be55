"""Ancestors, distances and the tree of labels by hand, on a small ontology in which a term has two parents."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError
from scrutiny.core.ontology import LabelTerms
from scrutiny.data.ontology import ontology_of

PAIRS = [
    *(("blood", "cell"), ("neuron", "cell"), ("lymph", "blood"), ("myeloid", "blood"), ("T", "lymph"), ("B", "lymph")),
    *(("CD4", "T"), ("CD8", "T"), ("naive", "T"), ("naive CD4", "CD4"), ("naive CD4", "naive"), ("mono", "myeloid")),
]


def of(pairs):
    children, parents = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
    return ontology_of(children, parents, "by hand")


BLOOD = of(PAIRS)
APART = of([*PAIRS, ("axon", "part")])


def test_parents_ancestors_depth_and_descendants():
    assert BLOOD.direct_parents("naive CD4") == ("CD4", "naive") and BLOOD.direct_parents("cell") == ()
    assert BLOOD.ancestors("naive CD4") == {"CD4", "naive", "T", "lymph", "blood", "cell"}
    assert {term: BLOOD.depth(term) for term in ("cell", "neuron", "T", "naive CD4")} == {"cell": 0, "neuron": 1, "T": 3, "naive CD4": 5}
    assert dict(zip(BLOOD.terms.tolist(), BLOOD.n_below.tolist()))["T"] == 4
    assert BLOOD.steps_up("CD4") == {"CD4": 0, "T": 1, "lymph": 2, "blood": 3, "cell": 4}
    assert "T" in BLOOD and "Z" not in BLOOD and "zebra" not in BLOOD


def test_distances_go_over_the_nearest_common_ancestor():
    terms = ["CD4", "CD8", "naive CD4", "B", "mono", "neuron"]
    assert BLOOD.distances(terms).tolist() == [
        [0, 2, 1, 3, 5, 5],
        [2, 0, 3, 3, 5, 5],
        [1, 3, 0, 4, 6, 6],
        [3, 3, 4, 0, 4, 4],
        [5, 5, 6, 4, 0, 4],
        [5, 5, 6, 4, 4, 0],
    ]


def test_terms_with_nothing_in_common_meet_above_all_others():
    assert APART.distances(["axon", "neuron"]).tolist() == [[0, 4], [4, 0]]
    assert APART.lowest_common_ancestors("axon", "neuron") == ()


def test_lowest_common_ancestors_may_be_several():
    two = of([("x", "p"), ("x", "q"), ("y", "p"), ("y", "q"), ("p", "root"), ("q", "root")])
    assert two.lowest_common_ancestors("x", "y") == ("p", "q")
    assert BLOOD.lowest_common_ancestors("naive CD4", "CD8") == ("T",)
    assert BLOOD.lowest_common_ancestors("naive CD4", "naive") == ("naive",)


def test_the_key_is_that_of_the_structure():
    assert of(PAIRS[::-1]).key == BLOOD.key
    assert replace(BLOOD, version="2026", names=np.char.upper(BLOOD.terms)).key == BLOOD.key
    assert of(PAIRS[:-1]).key != BLOOD.key and of([*PAIRS[:-1], ("mono", "blood")]).key != BLOOD.key


LABELS = LabelTerms(BLOOD, {"CD4 T": "CD4", "CD8 T": "CD8", "CD8 again": "CD8", "Mono": "mono", "nai": "naive CD4"})


def test_terms_of_labels():
    assert LABELS.of(np.array(["Mono", "dust", "CD4 T"])).tolist() == ["mono", "", "CD4"]
    assert LabelTerms(BLOOD, {**LABELS.by_label, "Mono": "myeloid"}).key != LABELS.key
    assert LabelTerms(BLOOD, dict(reversed(LABELS.by_label.items())), {"Mono": "name"}).key == LABELS.key
    with pytest.raises(InputError, match="no term unicorn"):
        LabelTerms(BLOOD, {"U": "unicorn"})


def test_the_tree_keeps_the_terms_of_the_labels_and_the_places_where_they_meet():
    """Of blood, lymph and T above the same labels the lowest is kept; naive and cell are above nothing that tells labels apart."""
    assert [(b.id, b.parents, b.labels) for b in LABELS.tree] == [
        ("CD4", ("T",), ("CD4 T",)),
        ("CD8", ("T",), ("CD8 T", "CD8 again")),
        ("T", ("blood",), ()),
        ("blood", (), ()),
        ("mono", ("blood",), ("Mono",)),
        ("naive CD4", ("CD4",), ("nai",)),
    ]
    assert [branch.id for branch in LabelTerms(BLOOD, {"B": "B"}).tree] == ["B"] and LabelTerms(BLOOD, {}).tree == ()


def test_cells_keep_the_terms_until_the_labels_are_hidden():
    import pandas as pd

    obs = pd.DataFrame({"type": ["CD4 T", "Mono"], "donor": ["a", "b"]}, index=["c1", "c2"])
    data = replace(from_arrays("two", np.eye(2), obs, ["g1", "g2"], roles={"label": "type", "batch": "donor"}), terms=LABELS)
    assert data.take(np.array([1])).terms is LABELS and data.take_genes(np.array([0])).terms is LABELS
    assert data.hide("batch").terms is LABELS and data.hide("label").terms is None
