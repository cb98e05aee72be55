import numpy as np
import pytest
import torch

from scrutiny.nets import places
from scrutiny.nets.places import expected_places
from scrutiny.nets.tokens import Tokens, batch_of


def by_hand(logits, ids):
    """Expected places from all logits (n, V) in float64, as the docstring says it."""
    chances = np.exp(logits[:, ids].astype(np.float64))
    chances /= chances.sum(1, keepdims=True)
    return ((np.arange(len(ids)) + 0.5) / len(ids)) @ (chances / chances.sum(0))


def expected(logits, lengths, ids, is_ranked=None):
    """With hidden states that are the logits over the vocabulary themselves."""
    batch = batch_of(Tokens(np.array(lengths), {"ids": np.asarray(ids)}))
    ranked = torch.ones(len(ids), dtype=torch.bool) if is_ranked is None else torch.tensor(is_ranked)
    states = torch.tensor(np.asarray(logits), dtype=torch.float32)
    return expected_places(states, batch, ranked, batch.columns["ids"], lambda some, which: some[:, which]).numpy()


def test_a_hand_sized_cell():
    """Two genes: at the first place the odds of gene 0 are 3 to 1, at the second 1 to 1."""
    logits = np.log([[3.0, 1.0], [1.0, 1.0]])
    wanted = [(0.25 * 3 / 4 + 0.75 * 1 / 2) / (3 / 4 + 1 / 2), (0.25 * 1 / 4 + 0.75 * 1 / 2) / (1 / 4 + 1 / 2)]
    np.testing.assert_allclose(expected(logits, [2], [0, 1]), wanted, rtol=1e-6)


def test_one_that_is_sure_gives_the_true_places_and_one_that_knows_nothing_the_middle():
    sure = np.where(np.eye(4, dtype=bool), 60.0, 0.0)
    np.testing.assert_allclose(expected(sure, [4], [0, 1, 2, 3]), [0.125, 0.375, 0.625, 0.875], rtol=1e-6)
    np.testing.assert_allclose(expected(np.zeros((4, 4)), [4], [0, 1, 2, 3]), 0.5, rtol=1e-6)


def test_cells_are_apart_and_tokens_that_are_not_ranked_have_no_place(monkeypatch):
    """In pieces of two places, so that a cell is put together from several."""
    monkeypatch.setattr(places, "PLACES_AT_A_TIME", 2)
    rng = np.random.default_rng(0)
    logits, ids = rng.normal(size=(12, 9)) * 3, np.array([8, 3, 1, 4, 0, 6, 8, 2, 5, 0, 7, 6])
    ranked = [False, *[True] * 5, False, *[True] * 4, False]
    found = expected(logits, [6, 0, 6], ids, ranked)
    assert found[0] == found[6] == found[11] == 0
    np.testing.assert_allclose(found[1:6], by_hand(logits[1:6], ids[1:6]), rtol=1e-5)
    np.testing.assert_allclose(found[7:11], by_hand(logits[7:11], ids[7:11]), rtol=1e-5)


@pytest.mark.parametrize("shift", [-300.0, 0.0])
def test_chances_below_the_smallest_number_still_tell_a_place(shift):
    """Gene 1 is all but impossible everywhere, and least so at the last place."""
    logits = np.array([[0.0, shift - 9, 0.0], [0.0, shift - 9, 0.0], [0.0, shift, 0.0]])
    found = expected(logits, [3], [0, 1, 2])
    assert np.isfinite(found).all() and found[1] > 0.8 > 0.55 > found[0]
