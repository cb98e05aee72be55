"""Contrastive learning: views by hand, the loss against a dense computation, and planted types that become separable."""

import numpy as np
import pytest
import torch
from planted import accuracy_of_types, planted
from scipy import sparse
from tiny_subjects import drawn, learn, trainee

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import batch_of


def nt_xent(vectors, temperature):
    """Mean over views of -ln(exp(s(view, its other) / T) / sum over all other views), as Chen et al. 2020 write it, one by one."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    n = len(vectors) // 2
    losses, found = [], []
    for i, vector in enumerate(vectors):
        others = [j for j in range(2 * n) if j != i]
        similar = {j: np.exp(vector @ vectors[j] / temperature) for j in others}
        partner = (i + n) % (2 * n)
        losses.append(-np.log(similar[partner] / sum(similar.values())))
        found.append(max(similar, key=similar.get) == partner)
    return np.mean(losses), np.mean(found)


@pytest.mark.parametrize("family", ["geneformer", "scimilarity"])
def test_the_loss_and_its_parts(family):
    subject, made, cells = trainee(family, "contrastive", options={"temperature": 0.3})
    batch = drawn(subject, made, cells)
    with torch.no_grad():
        loss, vectors = made(subject, batch), made.projection(subject.cells(batch)).double().numpy()
    expected, found = nt_xent(vectors, 0.3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors.shape == (2 * cells.n_cells, 64)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    if family == "scimilarity":  # elsewhere cosines before training are so much alike that rounding decides
        assert loss.parts["accuracy"].item() == pytest.approx(found)
    assert loss.parts["alignment"].item() == pytest.approx((unit[:8] * unit[8:]).sum(1).mean(), rel=1e-5)


def test_views_that_are_found_and_views_that_are_not():
    """Vectors given by hand: both views of a cell the same, cells at right angles; and all the same, where chance is 1 of 2 n - 1."""
    subject, made, cells = trainee("geneformer", "contrastive")
    batch = drawn(subject, made, cells.take(np.arange(4)))
    made.projection = torch.nn.Identity()
    apart = made(with_cells(subject, torch.eye(4).repeat(2, 1)), batch)
    assert apart.total.item() == pytest.approx(np.log(1 + 6 * np.exp(-10.0)), rel=1e-3)
    assert apart.parts["accuracy"] == 1 and apart.parts["alignment"] == 1
    collapsed = made(with_cells(subject, torch.ones(8, 4)), batch)
    assert collapsed.total.item() == pytest.approx(np.log(7), rel=1e-5)


def with_cells(subject, vectors):
    return type(subject)(**{**vars(subject), "cells": lambda batch: vectors})


def test_what_a_view_keeps():
    """Depths from 0.4 to 1, mean 0.7; a quarter of the genes gone; totals as deep as the view; nothing above what was counted."""
    subject, made, cells = trainee("geneformer", "contrastive", options={"least_depth": 0.4, "dropped": 0.25})
    deep = cells._replace(counts=sparse.csr_matrix(np.full((2_000, 110), 100.0, np.float32)), totals=np.full(2_000, 20_000.0))
    deep = deep._replace(ids=np.arange(2_000).astype(str), ontology=np.full(2_000, ""), studies=np.full(2_000, ""))
    view = made.view(deep, 0, np.random.default_rng(0))
    counts = view.counts.toarray()
    kept = view.totals / 20_000
    assert 0.4 <= kept.min() < 0.41 and 0.99 < kept.max() <= 1 and kept.mean() == pytest.approx(0.7, abs=0.01)
    assert (counts > 0).mean() == pytest.approx(0.75, abs=0.01)
    shown = np.array([row[row > 0].mean() for row in counts])
    np.testing.assert_allclose(shown, 100 * kept, atol=3)
    assert counts.max() <= 100 and view.counts.dtype == np.float32 and (view.counts.data > 0).all()


def test_two_views_of_a_cell_are_two_draws():
    subject, made, cells = trainee("scgpt", "contrastive")
    batch = made.draw(cells, subject, np.random.default_rng(0))
    assert batch.n_cells == 2 * cells.n_cells
    assert any(set(batch.of(i)) != set(batch.of(i + 8)) for i in range(8))
    ids = made.view(cells, 1, np.random.default_rng(0)).ids
    assert ids[0] == f"{cells.ids[0]}/1"  # what a family draws by id, such as which genes of a long cell are shown, is another draw


def test_a_cell_that_would_lose_everything_is_shown_as_it_is():
    subject, made, cells = trainee("geneformer", "contrastive", options={"least_depth": 1e-9, "dropped": 0.99})
    view = made.view(cells, 0, np.random.default_rng(0))
    n_left = np.diff(view.counts.indptr)
    assert (n_left > 0).all()
    whole = n_left == np.diff(cells.counts.indptr)
    assert whole.any() and np.array_equal(view.counts[whole].toarray(), cells.counts[whole].toarray())
    np.testing.assert_array_equal(view.totals[whole], cells.totals[whole])


def test_options_and_counts_that_cannot_be():
    for options in ({"least_depth": 0.0}, {"least_depth": 1.5}, {"dropped": 1.0}, {"temperature": 0.0}, {"width": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            trainee("geneformer", "contrastive", options=options)
    subject, made, cells = trainee("geneformer", "contrastive")
    with pytest.raises(InputError, match="no whole numbers"):
        made.draw(cells._replace(counts=cells.counts * 0.5), subject, np.random.default_rng(0))


@pytest.mark.parametrize("family", ["geneformer", "scimilarity"])
def test_planted_types_become_separable(family):
    subject, made, _ = trainee(family, "contrastive")
    cells, types = planted()
    before = accuracy_of_types(subject, cells, types)
    rng = np.random.default_rng(0)
    losses = learn(subject, made, lambda: batch_of(made.draw(cells.take(rng.permutation(120)[:24]), subject, rng)), steps=30, rate=1e-2)
    after = accuracy_of_types(subject, cells, types)
    assert losses[-1] < losses[0] and after > max(before + 0.05, 0.95)
