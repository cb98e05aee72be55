"""Label transfer: who is held out, who sees which labels, and that labels of training cells can be used."""

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.data.synth import planted
from scrutiny.methods.linear import HvgPca
from scrutiny.tasks.transfer import LabelTransfer, held_out_batch, random_training_rows

CELLS = planted(200, 60, n_batches=3, label_effect=1.0)


def posed(data, seed=0):
    return LabelTransfer().pose(data, np.random.default_rng(seed))


def test_the_batch_nearest_to_30_percent_is_held_out():
    batches = np.repeat(["small", "middle", "large"], [10, 30, 60])
    labels = np.tile(["t", "b"], 50)
    assert held_out_batch(labels, batches) == "middle"


def test_a_batch_that_shares_no_labels_is_not_held_out():
    batches = np.repeat(["small", "middle", "large"], [10, 30, 60])
    labels = np.where(batches == "middle", "only here", np.tile(["t", "b"], 50))
    assert held_out_batch(labels, batches) == "small"
    assert held_out_batch(batches, batches) is None


def test_training_cells_keep_their_labels_and_the_query_loses_all():
    problem = posed(CELLS)
    name = held_out_batch(CELLS.role("label"), CELLS.role("batch"))
    held = CELLS.role("batch") == name
    np.testing.assert_array_equal(problem.truth["train_rows"], ~held)
    np.testing.assert_array_equal(problem.train.cell_ids, CELLS.cell_ids[~held])
    np.testing.assert_array_equal(problem.train.role("label"), CELLS.role("label")[~held])
    np.testing.assert_array_equal(problem.query.cell_ids, CELLS.cell_ids)
    assert not problem.query.has("label")
    assert f"'{name}' was held out" in problem.query.notes[-1]


def test_one_batch_means_a_random_split_that_warns():
    problem = posed(CELLS.with_roles(batch=None))
    train_rows, labels = problem.truth["train_rows"], CELLS.role("label")
    for label in np.unique(labels):
        assert train_rows[labels == label].mean() == pytest.approx(0.7, abs=0.02)
    assert "promise more than a new batch will keep" in problem.query.notes[-1]
    assert not np.array_equal(train_rows, posed(CELLS.with_roles(batch=None), seed=1).truth["train_rows"])


def test_a_random_split_does_not_follow_the_order_of_the_file():
    rows = np.random.default_rng(5).permutation(CELLS.n_cells)
    labels, ids = CELLS.role("label"), CELLS.cell_ids
    first = random_training_rows(labels, ids, np.random.default_rng(0))
    second = random_training_rows(labels[rows], ids[rows], np.random.default_rng(0))
    np.testing.assert_array_equal(first[rows], second)


def test_only_held_out_cells_are_scored():
    """Wrong vectors for training cells would teach the classifier wrongly; wrong ones for held-out cells cannot be recognised."""
    problem = posed(CELLS)
    output = HvgPca().fit(problem.train, seed=0).embed(problem.query)
    evidence = Evidence(LabelTransfer().evidence(output, problem))
    assert evidence["probe_logreg_macro_f1"] > 0.95
    assert (evidence["logreg_predictions"] != "").sum() == (~problem.truth["train_rows"]).sum()


def test_one_label_is_not_applicable():
    with pytest.raises(NotApplicable, match="one label"):
        posed(planted(20, 10, n_labels=1))
