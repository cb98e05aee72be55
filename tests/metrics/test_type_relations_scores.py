"""Scores of kinship in embeddings: by hand, against naive re-implementations, and on planted trees of types."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.ontology import LabelTerms
from scrutiny.data.ontology import ontology_of
from scrutiny.metrics.type_graph_ontology import RESTART, unbiased_squares, walk_likeness

PARENTS = {
    "blood": ["cell"],
    "brain": ["cell"],
    "lymph": ["blood"],
    "myeloid": ["blood"],
    "T": ["lymph"],
    "CD4": ["T"],
    "CD8": ["T"],
    "B": ["lymph"],
    "mono": ["myeloid"],
    "DC": ["myeloid"],
    "neuron": ["brain"],
    "glia": ["brain"],
}
TYPES = ["B", "CD4", "CD8", "DC", "glia", "mono", "neuron"]


def ontology(parents):
    pairs = [(child, parent) for child, above in parents.items() for parent in above]
    return ontology_of(np.array([c for c, _ in pairs]), np.array([p for _, p in pairs]), "by hand")


TERMS = LabelTerms(ontology(PARENTS), {name: name for name in TYPES})
SIZES = dict(zip(TYPES, (40, 60, 60, 12, 15, 50, 20)))
LABELS = np.repeat(TYPES, [SIZES[name] for name in TYPES])


def on_the_tree(seed=0, spread=0.3, n_dims=30):
    """Each type is the sum of one random step for every term above it, so that kin share their steps."""
    rng = np.random.default_rng(seed)
    steps = {term: rng.standard_normal(n_dims) for term in sorted(PARENTS)}
    places = {name: sum(steps[term] for term in {name, *TERMS.ontology.ancestors(name)} & steps.keys()) for name in TYPES}
    return (np.stack([places[name] for name in LABELS]) + spread * rng.standard_normal((len(LABELS), n_dims))).astype(np.float32)


def evidence(embedding, labels=LABELS, terms=TERMS, **more):
    return Evidence({"embedding": embedding, "labels": labels, "terms": terms, **more})


def shuffled(embedding, seed):
    return embedding[np.random.default_rng(seed).permutation(len(embedding))]


# Walks on the ontology -----------------------------------------------------------------------------------------------------------


def test_the_walk_by_hand():
    """On a - r - b, from a: at a p = 1/2 + q/4, at r q = (p + s)/2, at b s = q/4; so p = 7/12, q = 4/12, s = 1/12."""
    found = walk_likeness(ontology({"a": ["r"], "b": ["r"]}), ("a", "b"))
    there = np.array([7, 4, 1]) / 12
    assert RESTART == 0.5 and found[0, 1] == pytest.approx(there @ there[::-1] / (there @ there))
    np.testing.assert_allclose(found.diagonal(), 1)


def test_the_walk_is_what_many_steps_lead_to():
    nodes = sorted({*PARENTS, "cell"})
    edges = np.array([[b in PARENTS.get(a, ()) or a in PARENTS.get(b, ()) for b in nodes] for a in nodes], float)
    transitions = edges / edges.sum(axis=0)
    walks = []
    for name in TYPES:
        start = np.array([node == name for node in nodes], float)
        here = start
        for _ in range(100):
            here = 0.5 * start + 0.5 * transitions @ here
        walks.append(here / np.linalg.norm(here))
    np.testing.assert_allclose(walk_likeness(TERMS.ontology, tuple(TYPES)), np.array(walks) @ np.array(walks).T, atol=1e-12)


def test_likeness_falls_with_kinship():
    alike = dict(zip(TYPES, walk_likeness(TERMS.ontology, tuple(TYPES))[TYPES.index("CD4")]))
    assert alike["CD4"] > alike["CD8"] > alike["B"] > alike["mono"] > alike["neuron"]


def test_chance_adds_nothing_to_squared_distances(monkeypatch):
    """Two groups of 30 cells of one distribution: on average 0, where plain squares are 10 (1/30 + 1/30); the spread is as said.

    Groups that are 2 apart are so on average.
    """
    from scrutiny.metrics import type_graph_ontology

    monkeypatch.setattr(type_graph_ontology, "BEYOND_CHANCE", -np.inf)
    codes = np.repeat([0, 1], [30, 30])
    draws = [np.random.default_rng(seed).standard_normal((60, 10)) for seed in range(400)]
    same = [unbiased_squares(one, codes)[0, 1] for one in draws]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20 and np.std(same) == pytest.approx(np.sqrt(2 * 10) * (1 / 30 + 1 / 30), rel=0.15)
    apart = [unbiased_squares(one + 2 * np.eye(10)[0] * codes[:, None], codes)[0, 1] for one in draws]
    assert abs(np.mean(apart) - 4) < 3 * np.std(apart) / 20


def test_what_chance_may_do_is_no_distance():
    codes = np.repeat([0, 1, 2], [5, 50, 100])
    found = [unbiased_squares(np.random.default_rng(seed).standard_normal((155, 10)), codes) for seed in range(200)]
    assert np.mean([(one > 0).any() for one in found]) < 0.05


# Kinship in the embedding --------------------------------------------------------------------------------------------------------


def test_types_on_the_tree_score_high_and_shuffled_cells_at_zero():
    tree = on_the_tree()
    assert evidence(tree)["scgraph_ontorwr"] > 0.75
    chance = [evidence(shuffled(tree, seed))["scgraph_ontorwr"] for seed in range(40)]
    assert abs(np.mean(chance)) < 0.03 and np.mean(np.array(chance) == 0) > 0.7


def test_rare_types_are_no_reason_for_a_score():
    """Rare types that are remote in the ontology as well: without the correction shuffled cells would score far above 0."""
    sizes = dict(zip(TYPES, (150, 150, 150, 40, 6, 40, 6)))
    labels = np.repeat(TYPES, [sizes[name] for name in TYPES])
    noise = [np.random.default_rng(seed).standard_normal((len(labels), 20)) for seed in range(40)]
    found = [evidence(one, labels)["scgraph_ontorwr"] for one in noise]
    assert abs(np.mean(found)) < 0.03


def test_the_score_is_the_mean_of_rank_correlations():
    embedding = on_the_tree(spread=1.0)
    means = np.stack([embedding[name == LABELS].mean(axis=0, dtype=np.float64) for name in TYPES])
    chance = [embedding[name == LABELS].var(axis=0, ddof=1, dtype=np.float64).sum() / SIZES[name] for name in TYPES]
    alike = walk_likeness(TERMS.ontology, tuple(TYPES)).round(9)
    found = []
    for i in range(len(TYPES)):
        others = [j for j in range(len(TYPES)) if j != i]
        squares = [((means[i] - means[j]) ** 2).sum() - chance[i] - chance[j] for j in others]
        found.append(stats.spearmanr(alike[i, others], -np.array(squares)).statistic)
    assert evidence(embedding)["scgraph_ontorwr"] == pytest.approx(np.mean(found), abs=1e-6)


@pytest.mark.parametrize("name", ["scgraph_ontorwr", "ari_ontology", "nmi_ontology", "rogi"])
def test_the_more_cells_are_shuffled_the_worse(name):
    tree, values = on_the_tree(), []
    for share in (0, 0.3, 0.6, 1.0):
        found = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            moved = np.flatnonzero(rng.random(len(tree)) < share)
            mixed = tree.copy()
            mixed[moved] = tree[rng.permutation(moved)]
            found.append(evidence(mixed)[name])
        values.append(np.mean(found))
    steps = np.diff(values) * (-1 if name == "rogi" else 1)
    assert (steps < 0).all() if name != "scgraph_ontorwr" else values[0] >= values[2] > values[3]


def test_a_tree_of_another_kinship_scores_lower():
    """The same places given to other types: T cells beside neurons."""
    swapped = np.array([{"CD8": "neuron", "neuron": "CD8", "B": "glia", "glia": "B"}.get(name, name) for name in LABELS])
    assert evidence(on_the_tree(), swapped)["scgraph_ontorwr"] < evidence(on_the_tree())["scgraph_ontorwr"] - 0.3


@pytest.mark.parametrize("name", ["scgraph_ontorwr", "scgraph", "ari_ontology", "nmi_ontology", "rogi"])
def test_scale_origin_order_and_ids_play_no_part(name):
    tree, rows = on_the_tree(), np.random.default_rng(3).permutation(len(LABELS))
    reference = tree[:, ::2].copy()
    value = evidence(tree, reference=reference)[name]
    assert evidence(1000 * tree, reference=reference)[name] == pytest.approx(value, abs=1e-4)
    assert evidence(tree + 5, reference=reference)[name] == pytest.approx(value, abs=1e-3)
    assert evidence(tree[rows], LABELS[rows], reference=reference[rows])[name] == pytest.approx(value, abs=1e-4)
    ids = {term: f"X{i * 7 % 13:02d}" for i, term in enumerate([*PARENTS, "cell"])}
    other = ontology({ids[child]: [ids[p] for p in above] for child, above in PARENTS.items()})
    renamed = LabelTerms(other, {f"label of {label}": ids[label] for label in TYPES})
    labels = np.array([f"label of {label}" for label in LABELS])
    assert evidence(tree, labels, renamed, reference=reference)[name] == pytest.approx(value, abs=1e-4)


def test_labels_of_one_term_are_one_type_and_rare_types_are_left_out():
    labels = np.where((LABELS == "CD4") & (np.arange(len(LABELS)) % 2 == 0), "CD4 again", LABELS)
    merged = LabelTerms(TERMS.ontology, {**TERMS.by_label, "CD4 again": "CD4"})
    assert evidence(on_the_tree(), labels, merged)["scgraph_ontorwr"] == evidence(on_the_tree())["scgraph_ontorwr"]
    few = np.r_[np.flatnonzero(LABELS == "DC")[:4], np.flatnonzero(LABELS != "DC")]
    found = evidence(on_the_tree()[few], LABELS[few]).measure("scgraph_ontorwr")
    assert found.details["n_types"] == 6 and found.details["n_left_out"] == 4


def test_what_cannot_be_told_is_said():
    three = np.isin(LABELS, ["CD4", "CD8", "B"])
    with pytest.raises(NotApplicable, match="at least 4 types"):
        evidence(on_the_tree()[three], LABELS[three])["scgraph_ontorwr"]
    with pytest.raises(NotApplicable, match="scrutiny ontology fetch"):
        Evidence({"embedding": on_the_tree(), "labels": LABELS})["scgraph_ontorwr"]
    with pytest.raises(NotApplicable, match="same place"):
        evidence(np.ones((len(LABELS), 3)))["scgraph_ontorwr"]


# scGraph -------------------------------------------------------------------------------------------------------------------------


def naive_scgraph(embedding, labels, reference, batch):
    def distances(values, names):
        centroids = {}
        for name in np.unique(names):
            if (names == name).sum() >= 5:
                ordered = np.sort(values[names == name].astype(float), axis=0)
                cut = int(0.05 * len(ordered))
                centroids[name] = ordered[cut : len(ordered) - cut].mean(axis=0)
        table = {a: {b: np.linalg.norm(centroids[a] - centroids[b]) for b in centroids} for a in centroids}
        return {a: {b: table[b][a] / max(table[a].values()) for b in table} for a in table}  # of the column a

    by_batch = [distances(reference[batch == b], labels[batch == b]) for b in np.unique(batch)]
    by_batch = [one for one in by_batch if len(one) >= 4]
    whole, found = distances(embedding, labels), []
    for a in sorted(whole):
        pairs = [(np.mean([one[a][b] for one in by_batch if a in one and b in one]), whole[a][b]) for b in sorted(whole) if b != a]
        truth, here = np.array(pairs).T
        weights = 1 / truth
        covariance = np.cov(truth, here, aweights=weights)
        found.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return np.mean(found)


def test_scgraph_is_that_of_a_naive_implementation():
    tree, rng = on_the_tree(), np.random.default_rng(5)
    batch = rng.choice(["a", "b"], len(LABELS))
    other = shuffled(tree, 1) * 0.7 + tree
    found = evidence(other, reference=tree, batch=batch)["scgraph"]
    assert found == pytest.approx(naive_scgraph(other, LABELS, tree, batch), abs=1e-6)


def test_scgraph_is_1_for_the_reference_itself_and_survives_shifted_batches():
    tree, batch = on_the_tree(), np.arange(len(LABELS)) % 2
    assert evidence(tree, reference=tree)["scgraph"] == pytest.approx(1)
    shifted = tree + 10 * batch[:, None]
    assert evidence(tree, reference=shifted, batch=batch)["scgraph"] > 0.98
    assert evidence(shuffled(tree, 0), reference=tree, batch=batch)["scgraph"] < 0.5


# Clusters ------------------------------------------------------------------------------------------------------------------------


def clustered(clusters, labels=LABELS, terms=TERMS):
    return evidence(np.zeros((len(labels), 2)), labels, terms, kmeans=np.asarray(clusters))


UNRELATED = LabelTerms(ontology({name: ["root"] for name in [*TYPES, *"abcdefgh"]}), {name: name for name in TYPES})
"""Of terms that share the root alone the Lin similarity is 0."""


@pytest.mark.parametrize("seed", range(5))
def test_among_unrelated_types_they_are_the_usual_scores(seed):
    rng = np.random.default_rng(seed)
    clusters = np.where(rng.random(len(LABELS)) < 0.3, rng.integers(0, 5, len(LABELS)), np.unique(LABELS, return_inverse=True)[1])
    found = clustered(clusters, terms=UNRELATED)
    assert found["ari_ontology"] == pytest.approx(adjusted_rand_score(LABELS, clusters))
    assert found["nmi_ontology"] == pytest.approx(normalized_mutual_info_score(LABELS, clusters))


def test_merging_kin_costs_less_than_merging_others():
    codes = np.unique(LABELS, return_inverse=True)[1]

    def merged(first, second):
        return clustered(np.where(LABELS == second, TYPES.index(first), codes))

    same_sizes = merged("CD4", "CD8"), clustered(np.where(LABELS == "mono", TYPES.index("CD4"), codes))
    for name in ("ari_ontology", "nmi_ontology"):
        assert clustered(codes)[name] == pytest.approx(1)
        assert same_sizes[0][name] > same_sizes[1][name]
        plain = adjusted_rand_score if name == "ari_ontology" else normalized_mutual_info_score
        assert same_sizes[0][name] > plain(LABELS, np.where(LABELS == "CD8", "CD4", LABELS))


def test_clusters_drawn_at_random_score_0_on_average():
    codes = np.unique(LABELS, return_inverse=True)[1]
    found = [clustered(np.random.default_rng(seed).permutation(codes))["ari_ontology"] for seed in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)


# Roughness -----------------------------------------------------------------------------------------------------------------------


def test_roughness_by_hand():
    """Four cells on a line, pairs of one label: the pairs merge first and lose nothing, then all: S from 1 to 0 over the last half of x."""
    line, labels = np.array([[0.0], [1.0], [10.0], [11.5]]), np.array(["a", "a", "b", "b"])
    assert Evidence({"embedding": line, "labels": labels})["rogi"] == pytest.approx(0.25)
    # crossed labels: after one merge S = sqrt(1 - 1/2 * 1/2 - 1/2) / sqrt(1/2) = sqrt(1/2); after two 0; x = 1 - ln n / ln 4
    x = 1 - np.log([4, 3, 2, 1]) / np.log(4)
    expected = np.trapezoid(1 - np.sqrt([1, 0.5, 0, 0]), x)
    assert Evidence({"embedding": line, "labels": np.array(["a", "b", "a", "b"])})["rogi"] == pytest.approx(expected)


def test_roughness_is_that_of_cutting_the_tree_of_cells():
    from scipy.cluster.hierarchy import fcluster, linkage

    rows = np.random.default_rng(0).choice(len(LABELS), 60, replace=False)
    points, codes = on_the_tree(spread=1.5)[rows].astype(float), np.unique(LABELS[rows], return_inverse=True)[1]
    one_hot, merges = np.eye(codes.max() + 1)[codes], linkage(points, "complete")
    left = []
    for n in range(60, 0, -1):
        clusters = fcluster(merges, n, "maxclust")
        means = np.stack([one_hot[clusters == c].mean(axis=0) for c in clusters])
        left.append(np.sqrt(means.var(axis=0).sum()))
    x = 1 - np.log(np.arange(60, 0, -1)) / np.log(60)
    expected = np.trapezoid(1 - np.array(left) / left[0], x)
    assert Evidence({"embedding": points, "labels": LABELS[rows]})["rogi"] == pytest.approx(expected)


def test_roughness_of_many_cells_is_that_of_a_sample():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 2500)
    places = np.eye(3)[np.unique(labels, return_inverse=True)[1]] + rng.normal(0, 0.05, (2500, 3))
    found = Evidence({"embedding": places, "labels": labels}).measure("rogi")
    assert found.details["n_cells"] in (1999, 2000, 2001) and found.value < 0.2
