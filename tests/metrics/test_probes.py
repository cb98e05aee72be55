"""Folds, predictions and scores of the probes: hand-sized cases, planted truth, what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import DERIVED, METRICS
from scrutiny.metrics.probes import macro_f1

PROBES = ("probe_knn_accuracy", "probe_knn_macro_f1", "probe_logreg_accuracy", "probe_logreg_macro_f1")


def folds_of(labels, batch=None, train_rows=None):
    given = {"labels": np.array(list(labels))}
    given |= {} if batch is None else {"batch": np.array(list(batch))}
    given |= {} if train_rows is None else {"train_rows": np.array(train_rows)}
    return Evidence(given)["probe_folds"]


def planted(seed=0, n_cells=200, noise=1.0, n_batches=1, shift=0.0):
    """Three labels apart along three axes; batches are moved along a fourth, on which the labels do not differ."""
    rng = np.random.default_rng(seed)
    labels, batch = np.arange(n_cells) % 3, rng.integers(0, n_batches, n_cells)
    embedding = np.column_stack([6.0 * np.eye(3)[labels], shift * batch]) + noise * rng.normal(size=(n_cells, 4))
    return {"embedding": embedding.astype(np.float32), "labels": labels.astype(str), "batch": batch.astype(str)}


def test_without_batches_the_folds_are_stratified():
    labels = np.array(list("aaaaaaaaaabbbbbbbbbb"))
    folds = folds_of(labels)
    assert folds.dtype == np.int8
    for label in "ab":
        assert np.bincount(folds[labels == label]).tolist() == [2] * 5


def test_stratified_folds_are_those_of_scikit_learn_with_seed_0():
    labels = np.random.default_rng(3).choice(list("abc"), 100)
    expected = np.empty(100, int)
    for fold, (_, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)):
        expected[test] = fold
    np.testing.assert_array_equal(folds_of(labels), expected)
    np.testing.assert_array_equal(folds_of(labels, "1" * 100), expected, err_msg="one batch cannot be left out")


def test_batches_that_share_labels_are_left_out_one_by_one():
    folds = folds_of("aabbaabbab", "xxxxyyyyzz")
    assert len(np.unique(folds)) == 3
    for batch in (slice(0, 4), slice(4, 8), slice(8, 10)):
        assert len(np.unique(folds[batch])) == 1


def test_integer_batches_are_batches():
    labels = np.array(list("aabbaabb"))
    as_numbers = Evidence({"labels": labels, "batch": np.array([1, 1, 1, 1, 0, 0, 0, 0])})["probe_folds"]
    np.testing.assert_array_equal(as_numbers, folds_of("aabbaabb", "11110000"))


@pytest.mark.parametrize(
    ("labels", "batch"),
    [
        pytest.param("aaaaabbbbb", "xxxxxyyyyy", id="each label has its batch"),
        pytest.param("aaaaaaabbb", "xxxyyyyyyy", id="one label is shared"),
        pytest.param("ababccccdddd", "xxyyxxxxyyyy", id="four of twelve cells are of shared labels"),
        pytest.param("ababababab", "xxxxxxxxxx", id="one batch"),
    ],
)
def test_batches_that_share_too_little_are_not_left_out(labels, batch):
    np.testing.assert_array_equal(folds_of(labels, batch), folds_of(labels))


def test_a_label_of_one_batch_trains_but_is_not_scored():
    labels, batch = np.array(list("aabbcaabb")), np.array(list("xxxxxyyyy"))
    folds = folds_of(labels, batch)
    assert folds[4] == -1
    assert (np.delete(folds, 4) >= 0).all()
    embedding = np.eye(3)[[0, 0, 1, 1, 2, 0, 0, 1, 1]].astype(np.float32)
    measured = Evidence({"embedding": embedding, "labels": labels, "batch": batch}).measure("probe_logreg_macro_f1")
    assert measured.value == 1.0
    assert measured.details == {"folds": "batches left out", "n_folds": 2, "cells_scored": 8, "labels_not_scored": ["c"]}


def test_a_label_of_one_cell_is_not_scored_in_stratified_folds_either():
    labels = np.array(list("aaaaabbbbbc"))
    assert folds_of(labels)[-1] == -1


def test_many_batches_share_ten_folds_of_whole_batches():
    rng = np.random.default_rng(0)
    batch, labels = rng.integers(0, 200, 4000).astype(str), rng.choice(["a", "b"], 4000)
    folds = Evidence({"labels": labels, "batch": batch})["probe_folds"]
    assert np.unique(folds).tolist() == list(range(10))
    assert all(len(np.unique(folds[batch == b])) == 1 for b in np.unique(batch))
    assert np.ptp(np.bincount(folds)) <= 40


def test_the_training_cells_of_the_task_are_the_only_ones_to_train():
    train = [True, True, True, True, False, False, False, False]
    assert folds_of("aabbabab", "xyxyxyxy", train).tolist() == [-1] * 4 + [0] * 4
    assert folds_of("aabbabac", None, train).tolist() == [-1] * 4 + [0, 0, 0, -2]
    e = Evidence({**planted(n_cells=60), "train_rows": np.arange(60) < 30})
    assert e.measure("probe_knn_accuracy").details["folds"] == "cells held out by the task"
    assert (e["knn_predictions"][:30] == "").all()


def test_a_type_that_only_held_out_cells_have_does_not_train_the_probe():
    """Five cells of a new type lie on a held-out cell of a known one; were they trained on, it would be called new."""
    embedding = np.array([[0.0], [0.1], [9], [9.1], [5]] + [[5.0]] * 5 + [[0.2]])
    labels = np.array(["A", "A", "B", "B", "B"] + ["new"] * 5 + ["A"])
    e = Evidence({"embedding": embedding, "labels": labels, "train_rows": np.arange(11) < 4})
    assert e["probe_folds"].tolist() == [-1] * 4 + [0] + [-2] * 5 + [0]
    assert "new" not in e["knn_predictions"] and "new" not in e["logreg_predictions"]


@pytest.mark.parametrize(
    ("labels", "train"), [("aaaa", None), ("abcd", None), ("aabb", [True] * 4), ("aabb", [False] * 4), ("aaaabb", [True] * 3 + [False] * 3)]
)
def test_what_cannot_be_probed_is_not_applicable(labels, train):
    with pytest.raises(NotApplicable):
        folds_of(labels, None, train)


@pytest.mark.parametrize("name", PROBES)
def test_planted_labels_are_read_and_shuffled_ones_are_not(name):
    given = planted()
    assert Evidence(given)[name] > 0.97
    assert Evidence({**given, "labels": np.random.default_rng(1).permutation(given["labels"])})[name] < 0.5


def test_leaving_batches_out_shows_a_batch_effect_that_random_folds_hide():
    """The label can be told within a batch, but from one batch to the other its sign changes."""
    rng = np.random.default_rng(0)
    labels, batch = np.arange(200) % 2, np.arange(200) // 100
    embedding = (np.where(labels == batch, 5.0, -5.0)[:, None] * [1, 0] + np.column_stack([np.zeros(200), 20.0 * batch])).astype(np.float32)
    given = {"embedding": embedding + rng.normal(size=(200, 2)).astype(np.float32), "labels": labels.astype(str)}
    assert Evidence(given)["probe_knn_accuracy"] == 1.0
    assert Evidence({**given, "batch": batch.astype(str)})["probe_knn_accuracy"] == 0.0


def test_predictions_equal_scikit_learn():
    given = planted(noise=4.0)
    e = Evidence(given)
    folds, embedding, labels = e["probe_folds"], given["embedding"].astype(float), given["labels"]
    for fold in range(5):
        test = folds == fold
        knn = KNeighborsClassifier(15).fit(embedding[~test], labels[~test])
        scaler = StandardScaler().fit(embedding[~test])
        logreg = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(embedding[~test]), labels[~test])
        np.testing.assert_array_equal(e["knn_predictions"][test], knn.predict(embedding[test]))
        np.testing.assert_array_equal(e["logreg_predictions"][test], logreg.predict(scaler.transform(embedding[test])))
    assert e["probe_knn_accuracy"] == accuracy_score(labels, e["knn_predictions"])
    assert e["probe_logreg_macro_f1"] == pytest.approx(f1_score(labels, e["logreg_predictions"], average="macro"))


def test_a_tie_goes_to_the_label_that_sorts_first():
    """14 training cells at one place, seven of each label."""
    given = {"embedding": np.zeros((16, 1), np.float32), "labels": np.array(["b", "a"] * 8), "train_rows": np.arange(16) < 14}
    assert Evidence(given)["knn_predictions"][14:].tolist() == ["a", "a"]


def test_accuracy_is_the_mean_over_the_cells_that_count():
    given = planted(noise=4.0, n_cells=90) | {"train_rows": np.arange(90) < 40}
    measured = Evidence(given).measure("probe_knn_accuracy")
    assert np.isnan(measured.per_cell[:40]).all()
    assert measured.value == np.nanmean(measured.per_cell) == pytest.approx(measured.per_cell[40:].mean())


def test_a_part_scores_the_predictions_that_were_made_once():
    e = Evidence(planted(noise=4.0))
    whole = e.measure("probe_logreg_accuracy")
    rows = np.arange(0, 200, 3)
    part = e.part(rows)
    np.testing.assert_array_equal(part["logreg_predictions"], e["logreg_predictions"][rows])
    assert part["probe_logreg_accuracy"] == pytest.approx(whole.per_cell[rows].mean())


def test_a_part_without_any_predicted_cell_is_not_applicable():
    e = Evidence({**planted(), "train_rows": np.arange(200) < 100})
    e["probe_knn_accuracy"]
    with pytest.raises(NotApplicable, match="only train"):
        e.part(np.arange(50))["probe_knn_accuracy"]


@pytest.mark.parametrize("name", ["knn_predictions", "logreg_predictions"])
def test_threads_and_label_names_change_nothing(name):
    given = planted(noise=5.0, n_cells=150)
    with threadpool_limits(1):
        one = Evidence(given)[name]
    with threadpool_limits(3):
        np.testing.assert_array_equal(Evidence(given)[name], one)
    renamed = Evidence({**given, "labels": np.char.add("type ", given["labels"])})[name]
    np.testing.assert_array_equal(renamed, np.char.add("type ", one))


labelled = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=40)


@given(labelled)
@settings(max_examples=200, deadline=None)
def test_macro_f1_equals_scikit_learn(pairs):
    truth, guess = (np.array(column) for column in zip(*pairs))
    of_truth = f1_score(truth, guess, average="macro", labels=np.unique(truth), zero_division=0)
    assert macro_f1(truth, guess) == pytest.approx(of_truth)
    either = np.union1d(truth, guess)
    assert macro_f1(truth, guess, of=either) == pytest.approx(f1_score(truth, guess, average="macro", labels=either, zero_division=0))


def test_macro_f1_by_hand():
    """a: 2 hits of 3, 1 wrong guess: 4/6. b: 1 hit of 1, 1 wrong guess: 2/3. c is never guessed: 0."""
    assert macro_f1(np.array(list("aaabc")), np.array(list("aabba"))) == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)


def test_cheap_scores_afford_many_deals_and_predictions_are_cut():
    assert [METRICS.get(name).card.repeats for name in PROBES] == [1, 20, 1, 20]
    assert all(DERIVED.get(name).rowwise for name in ("probe_folds", "knn_predictions", "logreg_predictions"))
