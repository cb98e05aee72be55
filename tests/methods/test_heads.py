"""Heads against computations of their own kind made here, and planted labels."""

import numpy as np
import pytest

from scrutiny.core.registry import HEADS, METHODS
from scrutiny.methods.annotation.classifiers import LogisticHead
from scrutiny.methods.annotation.heads import ClusterTransfer, NearestCells, NearestCentroid
from scrutiny.methods.annotation.reading import ReadsEmbedding
from scrutiny.metrics.logistic import fit_logistic

NAMES = [name for name in HEADS.names() if issubclass(HEADS.get(name), ReadsEmbedding)]
QUICK = {"mlp": {"width": 8, "steps": 1000}, "forest": {"trees": 20}, "boosting": {"rounds": 10}}


def planted(n_cells=150, n_labels=3, gap=4.0, seed=0):
    """Groups at the corners of a simplex, ``gap`` standard deviations apart; names that do not sort as the codes do."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_labels, n_cells)
    vectors = rng.normal(size=(n_cells, 5)) + gap / np.sqrt(2) * np.eye(n_labels, 5)[codes]
    return vectors.astype(np.float32), np.array(["T cell", "B cell", "NK"])[:n_labels][codes]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_labels", [2, 3])
def test_planted_labels_are_told_with_probabilities(name, n_labels):
    vectors, labels = planted(n_labels=n_labels)
    query, truth = planted(n_labels=n_labels, seed=1)
    head = HEADS.get(name)(**QUICK.get(name, {})).fit(vectors, labels, seed=0)
    found = np.asarray(head.probabilities(query))
    assert found.shape == (150, n_labels) and (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (np.unique(labels)[found.argmax(axis=1)] == truth).mean() > 0.85
    assert isinstance(head.n_trainable, int) and head.n_trainable >= 0


@pytest.mark.parametrize("name", NAMES)
def test_one_cell_a_label_is_enough(name):
    vectors, labels = np.eye(3, 4, dtype=np.float32) * 10, np.array(["a", "b", "c"])
    found = HEADS.get(name)(**QUICK.get(name, {})).fit(vectors, labels, seed=0).probabilities(vectors)
    np.testing.assert_allclose(np.asarray(found).sum(axis=1), 1, atol=1e-6)


def test_the_centroid_is_that_of_scikit_learn_and_its_temperature_the_likeliest():
    from sklearn.neighbors import NearestCentroid as Theirs

    vectors, labels = planted(gap=2.0)
    query, _ = planted(gap=2.0, seed=1)
    head = NearestCentroid().fit(vectors, labels, seed=0)
    found = head.probabilities(query)
    assert (np.unique(labels)[found.argmax(axis=1)] == Theirs().fit(vectors, labels).predict(query)).all()

    names = np.unique(labels)
    left_out = np.array(
        [
            [np.square(v - vectors[(labels == name) & (np.arange(len(labels)) != i)].mean(axis=0)).sum() for name in names]
            for i, v in enumerate(vectors)
        ]
    )

    def likelihood(t):
        shares = np.exp(-left_out / t)
        return np.log((shares / shares.sum(axis=1, keepdims=True))[np.arange(len(labels)), np.searchsorted(names, labels)]).sum()

    best = likelihood(head._temperature)
    assert all(likelihood(head._temperature * factor) < best for factor in (0.9, 1.1)), "the other cells' likelihood is highest there"


def test_the_vote_is_counted_by_hand():
    vectors = np.array([[0.0], [1.0], [2.0], [8.0], [8.5], [9.0]], np.float32)
    found = NearestCells(k=3).fit(vectors, np.array(["b", "a", "b", "a", "a", "b"]), seed=0).probabilities(np.array([[0.5]], np.float32))
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3]])


def test_of_few_labelled_cells_not_all_vote():
    """Four cells of two labels: two vote, whatever k, so the far ones of another label do not outvote the near ones."""
    vectors, labels = np.array([[0.0], [1.0], [8.0], [9.0]], np.float32), np.array(["b", "b", "a", "a"])
    found = NearestCells().fit(vectors, labels, seed=0).probabilities(np.array([[0.5], [8.6]], np.float32))
    np.testing.assert_allclose(found, [[0, 1], [1, 0]])


def test_a_cluster_is_told_one_label_also_where_a_cell_alone_would_be_told_another():
    """Of the query one cell of the group A lies next to a training cell of B: alone it is told B, in its cluster A."""
    rng = np.random.default_rng(0)
    train = np.concatenate([rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) + 20, [[0.0, 0.0, 5.0]] * 20]).astype(np.float32)
    labels = np.repeat(["A", "C", "B"], [40, 40, 20])
    query = np.concatenate([rng.normal(size=(40, 3)), [[0.0, 0.0, 3.2]], rng.normal(size=(40, 3)) + 20]).astype(np.float32)
    told = {}
    for head in (NearestCells(), ClusterTransfer(resolution=0.2)):
        found = head.fit(train, labels, seed=0).probabilities(query)
        told[type(head)] = np.array(["A", "B", "C"])[found.argmax(axis=1)]
    assert told[NearestCells][40] == "B"
    assert (told[ClusterTransfer][:41] == "A").all() and (told[ClusterTransfer][41:] == "C").all()
    assert len(np.unique(found[:41], axis=0)) == 1, "all cells of a cluster are told the same"


def test_the_number_of_learnt_numbers_is_counted_by_hand():
    vectors, labels = planted()
    counted = {name: HEADS.get(name)(**QUICK.get(name, {})).fit(vectors, labels, seed=0).n_trainable for name in NAMES}
    assert counted["knn"] == counted["cluster"] == 0
    assert counted["centroid"] == 3 * 5 + 1
    assert counted["logreg"] == 3 * (5 + 1)
    assert counted["mlp"] == (5 + 1) * 8 + (8 + 1) * 3


def test_what_needs_the_whole_query_says_so():
    assert METHODS.get("hvg_pca+cluster").card.together and not METHODS.get("hvg_pca+knn").card.together


@pytest.mark.parametrize(("n_cells", "scale"), [(9, "all"), (10, "each")])
def test_the_probe_of_fewer_cells_than_dimensions_keeps_their_proportions(n_cells, scale):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(n_cells, 10)) * np.linspace(5, 0.1, 10)).astype(np.float32)
    labels = np.where(np.arange(n_cells) % 2, "a", "b")
    told = LogisticHead().fit(vectors, labels, seed=0).probabilities(vectors)
    wanted = fit_logistic(vectors, np.unique(labels, return_inverse=True)[1], scale=scale).probabilities(vectors)
    assert np.allclose(told, wanted)
