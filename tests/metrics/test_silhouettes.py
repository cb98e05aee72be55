"""Silhouettes by label and batch against scikit-learn, hand-sized cases, samples and cases that cannot be scored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.metrics import groups

METRICS = ("asw_label", "isolated_asw", "asw_batch", "asw_batch_global", "bras")


def evidence(embedding, labels, batch=None):
    named = {"embedding": np.asarray(embedding, np.float32), "labels": np.asarray(labels)}
    return Evidence(named if batch is None else {**named, "batch": np.asarray(batch)})


def random_case(seed=0, n_cells=120, n_labels=4, n_batches=3, n_dims=4):
    rng = np.random.default_rng(seed)
    labels, batch = rng.integers(0, n_labels, n_cells), rng.integers(0, n_batches, n_cells)
    centres = rng.normal(size=(n_labels, n_dims)) * 2
    return (centres[labels] + rng.normal(size=(n_cells, n_dims))).astype(np.float32), labels.astype(str), batch.astype(str)


def test_a_hand_sized_case():
    """Cells at 0, 1 | 4, 6: a = 1, 1, 2, 2 and b = 5, 4, 3.5, 5.5, so s = 0.8, 0.75, 3/7, 7/11."""
    e = evidence([[0.0], [1.0], [4.0], [6.0]], list("aabb"))
    np.testing.assert_allclose(e["silhouettes"], [0.8, 0.75, 3 / 7, 7 / 11], rtol=1e-6)
    measured = e.measure("asw_label")
    assert measured.value == pytest.approx((np.mean([0.8, 0.75, 3 / 7, 7 / 11]) + 1) / 2)
    assert measured.per_cell.mean() == pytest.approx(measured.value)


def test_silhouettes_equal_scikit_learn():
    embedding, labels, batch = random_case()
    labels[:1] = "alone"
    e = evidence(embedding, labels, batch)
    np.testing.assert_allclose(e["silhouettes"], silhouette_samples(embedding, labels), atol=1e-6)
    assert e["asw_batch_global"] == pytest.approx((silhouette_samples(embedding, batch).mean() + 1) / 2, abs=1e-6)
    within = {
        x: (1 - abs(silhouette_samples(embedding[labels == x], batch[labels == x]))).mean() for x in np.unique(labels) if x != "alone"
    }
    measured = e.measure("asw_batch")
    assert measured.details["per_label"] == pytest.approx(within, abs=1e-6)
    assert measured.value == pytest.approx(np.mean(list(within.values())), abs=1e-6)
    assert measured.details["labels_left_out"] == ["alone"]


def test_close_pairs_keep_their_digits():
    """Pairs 1e-3 apart at a distance of 100 from each other: products in float32 alone see them at 0 or at 0.3."""
    embedding = np.array([[0, 0], [1e-3, 0], [100, 0], [100, 1e-3]], np.float32)
    np.testing.assert_allclose(evidence(embedding, list("aabb"))["silhouettes"], 1 - 1e-5, atol=1e-7)


def test_identical_cells_score_0_not_noise():
    e = evidence(np.full((6, 3), 0.1), list("aaabbb"), list("xyxyxy"))
    assert (e["silhouettes"] == 0).all()
    assert (e["asw_label"], e["asw_batch"], e["asw_batch_global"], e["bras"]) == pytest.approx((0.5, 1, 0.5, 1))


def test_bras_takes_the_other_batches_pooled():
    """One label, unit vectors at 0, 90 and 180 degrees in batches x, x, y, and one more y at 180.

    Cosine distances of the first cell: a = 1 to its batch, b = 2 to y, s = 0.5; second: a = b = 1, s = 0; y: a = 0, b = 1.5, s = 1.
    """
    e = evidence([[1, 0], [0, 2], [-3, 0], [-1, 0]], list("llll"), list("xxyy"))
    assert e["bras"] == pytest.approx(np.mean([0.5, 1, 0, 0]))


def test_isolated_labels_are_those_in_the_fewest_batches():
    embedding, labels, batch = random_case()
    batch[labels == "0"] = "0"
    e = evidence(embedding, labels, batch)
    expected = (silhouette_samples(embedding, labels)[labels == "0"].mean() + 1) / 2
    assert e["isolated_asw"] == pytest.approx(expected, abs=1e-6)
    assert list(e.measure("isolated_asw").details["per_label"]) == ["0"]


class TestNotApplicable:
    def check(self, metric, message, labels, batch):
        with pytest.raises(NotApplicable, match=message):
            evidence(random_case(n_cells=len(labels))[0], labels, batch)[metric]

    def test_one_label(self):
        self.check("asw_label", "between 2 and 5 different values of 'label'; 6 cells have 1", list("aaaaaa"), list("xyxyxy"))

    def test_a_label_for_every_cell(self):
        self.check("asw_label", "6 cells have 6", list("abcdef"), list("xyxyxy"))

    def test_one_batch(self):
        self.check("asw_batch_global", "different values of 'batch'; 6 cells have 1", list("aaabbb"), list("xxxxxx"))
        self.check("isolated_asw", "at least two different values of 'batch'; all 6 cells have 'x'", list("aaabbb"), list("xxxxxx"))
        for metric in ("asw_batch", "bras"):
            self.check(metric, "none of the 2 labels has cells of two batches", list("aaabbb"), list("xxxxxx"))

    def test_every_label_in_every_batch(self):
        self.check("isolated_asw", "each of the 2 labels is in all 2 batches", list("aaabbb"), list("xyxyxy"))

    def test_batches_that_are_labels(self):
        self.check("asw_batch", "none of the 2 labels has cells of two batches", list("aaabbb"), list("xxxyyy"))

    def test_a_label_of_one_cell_a_batch_is_left_out(self):
        e = evidence(random_case(n_cells=6)[0], list("aabbbb"), list("xyxyxy"))
        assert e.measure("asw_batch").details["labels_left_out"] == ["a"]


def test_the_global_one_needs_no_labels():
    embedding, _, batch = random_case()
    alone = Evidence({"embedding": embedding, "batch": batch})
    assert alone["asw_batch_global"] == pytest.approx((silhouette_samples(embedding, batch).mean() + 1) / 2, abs=1e-6)
    with pytest.raises(NotApplicable, match="needs 'labels'"):
        alone["asw_batch"]


class TestSample:
    """Large sets are sampled: unbiased within the standard error that is given."""

    @pytest.fixture
    def sampled(self, monkeypatch):
        monkeypatch.setattr(groups, "ALL_CELLS", 1000)
        monkeypatch.setattr(groups, "SAMPLE", 400)

    @pytest.mark.parametrize("metric", ["asw_label", "isolated_asw", "asw_batch", "asw_batch_global"])
    def test_within_four_standard_errors(self, metric, monkeypatch, sampled):
        embedding, labels, batch = random_case(n_cells=2000)
        labels[:5], batch[:5] = "rare", "0"
        part = evidence(embedding, labels, batch).measure(metric)
        monkeypatch.setattr(groups, "ALL_CELLS", 5000)
        whole = evidence(embedding, labels, batch).measure(metric)
        error = part.details["standard_error"]
        assert (error > 0) == (metric != "isolated_asw"), "all 5 cells of the isolated label are measured"
        assert abs(part.value - whole.value) <= 4 * error + 1e-9
        assert part.per_cell is None
        assert 400 <= part.details["cells_measured"] <= 500

    def test_bras_takes_all_cells(self, sampled):
        assert "standard_error" not in evidence(*random_case(n_cells=2000)).measure("bras").details


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(12, 60), n_labels=st.integers(2, 4), n_batches=st.integers(2, 3))
def test_order_and_names_do_not_matter_and_bounds_hold(seed, n_cells, n_labels, n_batches):
    embedding, labels, batch = random_case(seed, n_cells, n_labels, n_batches)
    order = np.random.default_rng(seed).permutation(n_cells)
    straight = evidence(embedding, labels, batch)
    permuted = evidence(embedding[order], labels[order], batch[order])
    renamed = evidence(embedding, np.char.add("z", np.char.mod("%d", 9 - labels.astype(int))), batch.astype(int))
    for metric in METRICS:
        values = []
        for e in (straight, permuted, renamed):
            try:
                values.append(e[metric])
            except NotApplicable as reason:
                values.append(str(reason))
        if isinstance(values[0], str):
            assert all(isinstance(v, str) for v in values)
        else:
            assert 0 <= values[0] <= 1
            assert values[1:] == pytest.approx([values[0]] * 2, abs=1e-6)
