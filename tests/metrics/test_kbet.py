"""kBET against scipy's chi-square test, and the properties that a score per label must have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.metrics.categories import categories
from scrutiny.metrics.kbet import accepts
from scrutiny.metrics.neighbors import nearest


def evidence(embedding, labels, batch):
    return Evidence({"embedding": np.asarray(embedding, np.float32), "labels": np.asarray(labels), "batch": np.asarray(batch)})


def mixed_case(seed=0, n_cells=400, n_labels=3, shift=0.0):
    rng = np.random.default_rng(seed)
    labels, batch = rng.integers(0, n_labels, n_cells), rng.integers(0, 2, n_cells)
    embedding = 10 * np.eye(n_labels)[labels] + rng.normal(size=(n_cells, n_labels)) + shift * batch[:, None]
    return embedding.astype(np.float32), labels.astype(str), batch.astype(str)


def test_every_cell_is_tested_as_scipy_does():
    embedding, _, batch = mixed_case(shift=0.5)
    of = categories(batch)
    others = nearest(embedding, 49).indices
    accepted = accepts(others, of)
    for cell in range(0, 400, 20):
        observed = np.bincount(of.codes[[cell, *others[cell]]], minlength=2)
        assert accepted[cell] == (chisquare(observed, 50 * of.sizes / 400).pvalue >= 0.05)
    assert evidence(embedding, batch, batch)["kbet"] == pytest.approx(accepted.mean())


@pytest.mark.parametrize("metric", ["kbet", "kbet_label"])
def test_mixed_batches_are_accepted_and_separate_ones_are_not(metric):
    assert evidence(*mixed_case())[metric] > 0.9
    assert evidence(*mixed_case(shift=50))[metric] == 0


def test_unequal_shares_of_labels_are_not_held_against_kbet_label():
    """Label a is in batch x mostly, label b in batch y, both mixed within themselves: only the global test objects."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 300)
    batch = np.where(rng.random(600) < np.where(labels == "a", 0.8, 0.2), "x", "y")
    e = evidence(rng.normal(size=(600, 3)) + 50 * (labels == "b")[:, None], labels, batch)
    assert e["kbet"] < 0.1
    assert e["kbet_label"] > 0.9


def test_a_label_is_judged_by_itself():
    """scib-metrics lowers the number of diffusion components for all labels after a small one; ours must not depend on the others."""
    embedding, labels, batch = mixed_case(shift=0.7)
    alone = {x: evidence(embedding[labels == x], labels[labels == x], batch[labels == x])["kbet_label"] for x in "012"}
    small = np.arange(12)
    with_small = evidence(
        np.concatenate([embedding[small] - 99, embedding]), np.append(["0-small"] * 12, labels), np.append(batch[small], batch)
    ).measure("kbet_label")
    assert with_small.details["per_label"] == alone
    assert with_small.details["labels_left_out"] == ["0-small"]
    assert with_small.value == pytest.approx(np.mean(list(alone.values())))


def test_a_label_in_two_far_pieces_is_not_set_to_0():
    embedding, labels, batch = mixed_case(n_labels=1)
    embedding[::2] += 1000
    assert evidence(embedding, labels, batch)["kbet_label"] > 0.9


class TestNotApplicable:
    def test_one_batch(self):
        embedding, labels, batch = mixed_case()
        for metric in ("kbet", "kbet_label"):
            with pytest.raises(NotApplicable, match="different values of 'batch'"):
                evidence(embedding, labels, np.full_like(batch, "x"))[metric]

    def test_fewer_than_100_cells(self):
        with pytest.raises(NotApplicable, match="neighbourhood of 50 cells says nothing among 99 cells; needs 100"):
            evidence(*mixed_case(n_cells=99))["kbet"]

    def test_batches_that_are_labels(self):
        embedding, labels, _ = mixed_case()
        with pytest.raises(NotApplicable, match="none of the 3 labels has cells of two batches and at least 20 cells"):
            evidence(embedding, labels, labels)["kbet_label"]

    def test_small_labels(self):
        with pytest.raises(NotApplicable, match="at least 20 cells"):
            evidence(*mixed_case(n_cells=30))["kbet_label"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(0, 3))
def test_order_and_names_do_not_matter_and_bounds_hold(seed, shift):
    embedding, labels, batch = mixed_case(seed, n_cells=150, shift=shift)
    order = np.random.default_rng(seed).permutation(150)
    straight = evidence(embedding, labels, batch)
    others = [
        evidence(embedding[order], labels[order], batch[order]),
        evidence(embedding, 9 - labels.astype(int), np.char.add("b", batch)),
    ]
    for metric in ("kbet", "kbet_label"):
        assert 0 <= straight[metric] <= 1
        assert [e[metric] for e in others] == pytest.approx([straight[metric]] * 2)
