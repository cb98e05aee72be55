import numpy as np
import pytest
import toys  # noqa: F401 - registers the metrics

from scrutiny.core.evidence import Evidence
from scrutiny.engine.resample import N_FOLDS, deal, replicates

IDS = np.array([f"c{i}" for i in range(53)])
LABELS = np.array(["a"] * 30 + ["b"] * 20 + ["rare"] * 3)


def test_every_cell_is_held_out_once_in_each_repeat_and_labels_are_spread():
    folds = deal(LABELS, IDS, repeats=4).folds
    assert folds.shape == (4, 53) and set(np.unique(folds)) == set(range(N_FOLDS))
    for label, n in (("a", 30), ("b", 20)):
        counts = [[(row[LABELS == label] == fold).sum() for fold in range(N_FOLDS)] for row in folds]
        assert np.ptp(counts) <= 1 and np.sum(counts) == 4 * n


def test_repeats_differ_and_the_same_cells_give_the_same_folds():
    folds = deal(LABELS, IDS, repeats=2).folds
    assert (folds[0] != folds[1]).any()
    np.testing.assert_array_equal(folds, deal(LABELS, IDS, repeats=2).folds)
    assert (deal(LABELS, IDS[::-1], repeats=1).folds != folds[:1]).any()


def test_a_replicate_is_the_metric_on_the_cells_outside_of_a_fold():
    evidence = Evidence({"embedding": np.random.default_rng(0).normal(size=(53, 2)), "labels": LABELS})
    found = replicates(evidence, "toy/separation", deal(LABELS, IDS, repeats=3))
    assert len(found.kept) == len(found.held) == 15 and found.n_folds == N_FOLDS and "3 x 5" in found.scheme
    rows = deal(LABELS, IDS, repeats=3).folds[1] != 2
    by_hand = toys.separation.function(evidence.given["embedding"][rows], LABELS[rows])
    assert found.kept[7] == pytest.approx(by_hand)


@pytest.mark.parametrize("metric", ["toy/broken", "toy/nan", "toy/lacking"])
def test_where_a_part_has_no_value_there_is_none(metric):
    evidence = Evidence({"embedding": np.ones((53, 2)), "labels": LABELS})
    assert set(replicates(evidence, metric, deal(LABELS, IDS, repeats=1)).kept) == {None}


def test_whole_donors_are_dealt_where_there_are_six():
    donors = np.array([f"d{i % 7}" for i in range(len(IDS))])
    dealt = deal(LABELS, IDS, repeats=3, donors=donors)
    assert dealt.scheme == "3 x 5 folds of whole donors (7)"
    for folds in dealt.folds:
        assert all(len(set(folds[donors == donor])) == 1 for donor in set(donors))
        assert set(folds) == set(range(5))
    few = deal(LABELS, IDS, repeats=3, donors=np.array([f"d{i % 5}" for i in range(len(IDS))]))
    np.testing.assert_array_equal(few.folds, deal(LABELS, IDS, repeats=3).folds)
