"""Scores of told labels by an ontology: by hand, against naive re-implementations, and on planted confusion."""

import math
from collections import deque

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.ontology import LabelTerms
from scrutiny.data.ontology import ontology_of
from scrutiny.metrics import term_similarity

PARENTS = {
    "cell": [],
    "neuron": ["cell"],
    "blood": ["cell"],
    "lymph": ["blood"],
    "mono": ["blood"],
    "B": ["lymph"],
    "T": ["lymph"],
    "CD4": ["T"],
    "CD8": ["T"],
    "naive": ["T"],
    "naive CD4": ["CD4", "naive"],
    "Treg": ["CD4"],
}
SCORES = (
    *("lcad_all", "hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "accuracy_term", "accuracy_subtype"),
    *("macro_f1_subtype", "similarity_resnik", "similarity_lin", "similarity_jiang_conrath", "similarity_wang"),
)


def ontology(parents=PARENTS):
    pairs = [(child, parent) for child, above in parents.items() for parent in above]
    return ontology_of(np.array([c for c, _ in pairs]), np.array([p for _, p in pairs]), "by hand")


TERMS = LabelTerms(ontology(), {name: name for name in PARENTS})


def evidence(true, told, terms=TERMS):
    names, codes = np.unique(np.array(told), return_inverse=True)
    ids = np.array([f"c{i}" for i in range(len(true))])
    given = {"prediction": LabelPrediction(ids, names, np.eye(len(names), dtype=np.float32)[codes]), "labels": np.array(true)}
    return Evidence({**given, **({"terms": terms} if terms else {})})


# By hand -------------------------------------------------------------------------------------------------------------------------

TRUE = ["CD4", "CD4", "CD4", "B", "mono"]
TOLD = ["CD4", "CD8", "naive CD4", "neuron", "blood"]
"""Right; a sibling, 2 steps; a kind, 1 step; neuron, over cell 3 + 1 steps; broader, 1 step."""


def test_lcad_by_hand():
    found = evidence(TRUE, TOLD).measure("lcad")
    assert found.value == (2 + 1 + 4 + 1) / 4
    assert found.details["per_label"] == {"B": 4.0, "CD4": 1.5, "mono": 1.0}
    every = evidence(TRUE, TOLD).measure("lcad_all")
    assert every.value == 8 / 5 and every.per_cell.tolist() == [0, 2, 1, 4, 1]


def test_lcad_of_unseen_types_by_hand():
    given = evidence(TRUE, TOLD).given
    assert Evidence({**given, "seen": np.array([True, True, True, False, False])})["lcad_unseen"] == (4 + 1) / 2
    with pytest.raises(NotApplicable, match="no cell is of an unseen type"):
        Evidence({**given, "seen": np.ones(5, bool)})["lcad_unseen"]


def test_hierarchical_precision_and_recall_by_hand():
    """Sets without cell: CD4 {CD4 T lymph blood}, CD8 likewise, naive CD4 {.. CD4 naive T lymph blood}, neuron {neuron}, B and mono."""
    scores = evidence(TRUE, TOLD)
    both, told, true = 4 + 3 + 4 + 0 + 1, 4 + 4 + 6 + 1 + 1, 4 + 4 + 4 + 3 + 2
    assert scores["hierarchical_precision"] == both / told and scores["hierarchical_recall"] == both / true
    assert scores["hierarchical_f1"] == pytest.approx(2 * both / (told + true))


def test_a_subtype_counts_as_right_and_a_broader_type_does_not():
    scores = evidence(TRUE, TOLD)
    assert scores["accuracy_term"] == 1 / 5 and scores["accuracy_subtype"] == 2 / 5
    # F1 of CD4: 2 hits of 3 cells, told twice; B and mono are never told
    assert scores["macro_f1_subtype"] == pytest.approx((2 * 2 / (3 + 2)) / 3)


def test_cells_without_a_true_term_are_left_out_and_counted():
    terms = LabelTerms(TERMS.ontology, {name: name for name in PARENTS if name != "mono"})
    found = evidence(TRUE, TOLD, terms).measure("lcad_all")
    assert found.value == 7 / 4 and np.isnan(found.per_cell[4]) and found.per_cell[:4].tolist() == [0, 2, 1, 4]
    assert found.details == {"n_scored": 4, "n_left_out": 1, "n_told_without_term": 0}


def test_a_told_label_without_a_term_says_no_more_than_cell():
    scores = evidence(["CD4", "CD4"], ["CD4", "not sure"])
    assert scores["lcad"] == 4 and scores["accuracy_subtype"] == 0.5 and scores["similarity_lin"] == 0.5
    assert scores["hierarchical_precision"] == 1 and scores["hierarchical_recall"] == 0.5
    assert scores.measure("lcad").details["n_told_without_term"] == 1


def test_two_labels_of_one_term_are_the_same():
    terms = LabelTerms(TERMS.ontology, {"T": "T", "T activated": "T", "B": "B"})
    scores = evidence(["T", "B", "T"], ["T activated", "B", "B"], terms)
    assert scores["accuracy_term"] == 2 / 3 and scores["lcad"] == 2


@pytest.mark.parametrize("name", SCORES)
def test_the_truth_scores_best(name):
    scores = evidence(TRUE, TRUE)
    if name == "similarity_resnik":  # that of a term with itself is its own information
        assert scores[name] == pytest.approx(np.mean([naive_information(PARENTS)[term] for term in TRUE]))
    else:
        assert scores[name] == pytest.approx(0.0 if name == "lcad_all" else 1.0)


def test_what_cannot_be_told_is_said():
    with pytest.raises(NotApplicable, match="no error to weigh"):
        evidence(TRUE, TRUE)["lcad"]
    with pytest.raises(NotApplicable, match="scrutiny ontology fetch"):
        evidence(TRUE, TOLD, None)["lcad"]
    with pytest.raises(NotApplicable, match="no true label is a term"):
        evidence(["?", "!"], ["CD4", "CD8"])["hierarchical_f1"]
    with pytest.raises(NotApplicable, match="no more than that these are cells"):
        evidence(["cell", "cell"], ["CD4", "CD8"])["hierarchical_f1"]


# Against naive re-implementations ------------------------------------------------------------------------------------------------


def up(term, parents):
    """All paths upward, one by one."""
    found, queue = {term: 0}, deque([term])
    while queue:
        here = queue.popleft()
        for parent in parents[here]:
            if parent not in found:
                found[parent] = found[here] + 1
                queue.append(parent)
    return found


def naive_distance(a, b, parents):
    first, second = up(a, parents), up(b, parents)
    return min(first[c] + second[c] for c in first if c in second)


def naive_information(parents):
    below = {term: sum(term in up(other, parents) for other in parents) for term in parents}  # itself included
    return {term: 1 - math.log(below[term]) / math.log(len(parents)) for term in parents}


def naive_resnik(a, b, parents):
    information = naive_information(parents)
    return max(information[c] for c in up(a, parents) if c in up(b, parents))


def naive_lin(a, b, parents):
    information = naive_information(parents)
    return 1.0 if a == b else 2 * naive_resnik(a, b, parents) / (information[a] + information[b])


def naive_jiang_conrath(a, b, parents):
    information = naive_information(parents)
    return 1 - (information[a] + information[b] - 2 * naive_resnik(a, b, parents)) / 2


def naive_wang(a, b, parents):
    """S of each ancestor by the recursion of the paper: the largest of 0.8 S over its children within the graph of the term."""

    def contributions(term):
        graph = up(term, parents)
        s = {term: 1.0}

        def of(node):
            if node not in s:
                s[node] = max(0.8 * of(child) for child in graph if node in parents[child])
            return s[node]

        return {node: of(node) for node in graph}

    first, second = contributions(a), contributions(b)
    return sum(first[c] + second[c] for c in first if c in second) / (sum(first.values()) + sum(second.values()))


@pytest.fixture(scope="module", params=range(3))
def random_parents(request):
    """Each term has one to three parents among the earlier ones."""
    rng = np.random.default_rng(request.param)
    names = [f"t{i:02d}" for i in range(30)]
    drawn = {n: sorted({names[j] for j in rng.integers(0, i, rng.integers(1, 4))}) for i, n in enumerate(names) if i}
    return {names[0]: [], **drawn}


@pytest.mark.parametrize(
    ("found", "naive"),
    [
        (term_similarity.shared_information, naive_resnik),
        (term_similarity.lin, naive_lin),
        (term_similarity.jiang_conrath, naive_jiang_conrath),
        (term_similarity.wang, naive_wang),
        (lambda ontology, terms: ontology.distances(terms), naive_distance),
    ],
)
def test_measures_are_those_of_naive_implementations(random_parents, found, naive):
    terms = sorted(random_parents)[1:]
    expected = [[naive(a, b, random_parents) for b in terms] for a in terms]
    np.testing.assert_allclose(found(ontology(random_parents), terms), expected, atol=1e-12)


def test_wang_by_hand():
    """S falls by 0.8 a step, so two children of one root have 2 * 0.8 of 2 * 1.8 in common."""
    simple = ontology({"root": [], "a": ["root"], "b": ["root"]})
    np.testing.assert_allclose(term_similarity.wang(simple, ["a", "b"]), [[1, 1.6 / 3.6], [1.6 / 3.6, 1]])


def test_information_by_hand():
    """Seco et al. 2004: a leaf has 1, the root 0; T has 5 of 12 terms below it."""
    information = dict(zip(TERMS.ontology.terms.tolist(), term_similarity.information(TERMS.ontology).tolist()))
    assert information["Treg"] == 1 and information["cell"] == pytest.approx(0) and information["T"] == 1 - math.log(6) / math.log(12)


def test_hierarchical_f1_is_that_of_sets(random_parents):
    rng = np.random.default_rng(1)
    true, told = (rng.choice(sorted(random_parents), 50) for _ in range(2))
    terms = LabelTerms(ontology(random_parents), {name: name for name in random_parents})
    sets = [[{c for c in up(term, random_parents) if c != "t00"} for term in labels] for labels in (true, told)]
    both = sum(len(a & b) for a, b in zip(*sets))
    precision, recall = both / sum(map(len, sets[1])), both / sum(map(len, sets[0]))
    found = evidence(true, told, terms)
    assert found["hierarchical_precision"] == pytest.approx(precision) and found["hierarchical_recall"] == pytest.approx(recall)
    assert found["hierarchical_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


# On planted confusion ------------------------------------------------------------------------------------------------------------

HIGHER = [name for name in SCORES if name != "lcad_all"]
MANY = np.array(["CD4", "CD8", "B", "mono", "neuron", "Treg"] * 30)


def confused(share, into, seed=0):
    """So large a share of the cells is told ``into[label]``; more of them where the share is larger, never other ones."""
    wrong = np.random.default_rng(seed).random(len(MANY)) < share
    return np.where(wrong, [into[label] for label in MANY], MANY)


NEAR = {"CD4": "CD8", "CD8": "CD4", "B": "T", "mono": "blood", "neuron": "cell", "Treg": "CD4"}
FAR = {"CD4": "neuron", "CD8": "neuron", "B": "neuron", "mono": "neuron", "neuron": "CD4", "Treg": "neuron"}
GRADED = [name for name in HIGHER if name not in ("accuracy_term", "accuracy_subtype", "macro_f1_subtype")]


@pytest.mark.parametrize("name", GRADED)
def test_a_mistake_among_t_cells_costs_less_than_t_cell_for_neuron(name):
    near, far = (evidence(["CD4"] * 4, ["CD4"] * 3 + [wrong])[name] for wrong in ("CD8", "neuron"))
    assert near > far


def test_lcad_among_t_cells_is_less_than_to_a_neuron():
    assert evidence(["CD4"], ["CD8"])["lcad"] == 2 and evidence(["CD4"], ["neuron"])["lcad"] == 5


@pytest.mark.parametrize("name", [*GRADED, "accuracy_subtype"])
def test_a_subtype_costs_less_than_a_sibling(name):
    subtype, sibling = (evidence(["CD4"] * 4, ["CD4"] * 3 + [told])[name] for told in ("Treg", "CD8"))
    assert subtype > sibling if name != "hierarchical_precision" else subtype >= sibling


@pytest.mark.parametrize("into", [NEAR, FAR])
@pytest.mark.parametrize("name", SCORES)
def test_more_confusion_scores_worse(name, into):
    values = [evidence(MANY, confused(share, into))[name] for share in (0, 0.2, 0.4, 0.7)]
    steps = np.diff(values) * (-1 if name == "lcad_all" else 1)
    rises = name in ("accuracy_subtype", "macro_f1_subtype") and into is NEAR  # a regulatory T cell told as CD4 is broader: no gain
    assert (steps < 0).all() or (rises and (steps <= 0).all())


def test_far_confusion_is_worse_than_near_confusion_of_the_same_cells():
    near, far = (evidence(MANY, confused(0.3, into)) for into in (NEAR, FAR))
    assert near["accuracy_term"] == far["accuracy_term"] and near["lcad"] < far["lcad"]
    assert all(near[name] > far[name] for name in GRADED)


@pytest.mark.parametrize("name", ["lcad", *SCORES])
def test_order_of_cells_and_names_of_labels_play_no_part(name):
    told, rows = confused(0.4, FAR), np.random.default_rng(2).permutation(len(MANY))
    renamed = {label: f"{ord(label[-1]) % 7}-{label}" for label in PARENTS}
    terms = LabelTerms(TERMS.ontology, {renamed[label]: label for label in PARENTS})
    value = evidence(MANY, told)[name]
    assert evidence(MANY[rows], told[rows])[name] == pytest.approx(value)
    assert evidence([renamed[x] for x in MANY], [renamed[x] for x in told], terms)[name] == pytest.approx(value)
    ids = {term: f"{hash_of(term)}" for term in PARENTS}
    other = ontology({ids[term]: [ids[p] for p in above] for term, above in PARENTS.items()})
    assert evidence(MANY, told, LabelTerms(other, {label: ids[label] for label in PARENTS}))[name] == pytest.approx(value)


def hash_of(term):
    return sum(ord(c) * 31**i for i, c in enumerate(term)) % 100_003


def test_parts_of_the_cells_keep_the_terms():
    part = evidence(TRUE, TOLD).part(np.array([0, 1, 3]))
    assert part["lcad"] == 3 and part["accuracy_term"] == 1 / 3


def test_the_cell_ontology(shared_data):
    """CD4 for CD8 T cells against T cell for neuron, with the terms of the real ontology."""
    from scrutiny.data.ontology import read_ontology

    found = read_ontology(shared_data)
    terms = LabelTerms(found, {"CD4": "CL:0000624", "CD8": "CL:0000625", "neuron": "CL:0000540", "Treg": "CL:0000792", "T": "CL:0000084"})
    among, across = (evidence(["CD4"], [told], terms) for told in ("CD8", "neuron"))
    assert among["lcad"] < across["lcad"] and all(among[name] > across[name] for name in GRADED)
    assert evidence(["T"], ["Treg"], terms)["accuracy_subtype"] == 1 and evidence(["Treg"], ["T"], terms)["accuracy_subtype"] == 0
