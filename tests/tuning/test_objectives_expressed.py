"""Expressed or not: which genes are asked for, and the loss against the formula and UCE's own head."""

import numpy as np
import pytest
import torch
from tiny_subjects import drawn, learn, trainee

from scrutiny.nets.tokens import batch_of

MANY = 100


def test_what_is_asked_for():
    """A fifth of the expressed genes, which are not shown, and about as many others."""
    subject, made, cells = trainee("uce", "expressed")
    expressed, rng = cells.counts.toarray() > 0, np.random.default_rng(0)
    draws = [made.draw(cells, subject, rng) for _ in range(MANY)]
    asked = np.stack([tokens.cells["asked"] for tokens in draws])
    assert (asked[:, ~expressed] != 1).all() and (asked[:, expressed] != 0).all()
    n_asked = [(asked == answer).sum(axis=2).mean(axis=0) for answer in (1, 0)]
    np.testing.assert_allclose(n_asked[0], 0.2 * expressed.sum(axis=1), rtol=0.15)
    np.testing.assert_allclose(n_asked[1], n_asked[0], rtol=0.15)
    token_of = subject.gene_tokens
    for cell in range(cells.n_cells):
        gone = {token_of[gene] for gene in np.flatnonzero(draws[0].cells["asked"][cell] == 1)}
        left = {token_of[gene] for gene in np.flatnonzero(expressed[cell])} - gone
        shown = set(draws[0].of(cell)) & set(subject.gene_tokens)
        assert shown and shown <= left


def bce(odds, true):
    """Mean of -ln p of what is true, p the logistic function of the log-odds."""
    return np.mean(np.log1p(np.exp(-np.where(true, odds, -odds).astype(np.float64))))


def test_uce_is_asked_by_its_own_head():
    """The log-odds of all pairs, as `Uce.reconstruct` has them, and of these the ones that are asked for."""
    subject, made, cells = trainee("uce", "expressed")
    assert made.head is None
    batch, net = drawn(subject, made, cells), subject.net
    with torch.no_grad():
        genes = net.gene_encoder(net.token_vectors(torch.from_numpy(subject.gene_tokens)))
        odds = net.log_odds(subject.cells(batch), genes).numpy()
    asked, loss = batch.cells["asked"].numpy(), made(subject, batch)
    assert loss.total.item() == pytest.approx(bce(odds[asked >= 0], asked[asked >= 0] == 1), rel=1e-5)
    assert float(loss.parts["accuracy"]) == pytest.approx(np.mean((odds > 0)[asked >= 0] == (asked[asked >= 0] == 1)))


@pytest.mark.parametrize("family", ["geneformer", "scfoundation", "scbert", "cellplm"])
def test_others_have_a_head_that_is_not_kept(family):
    subject, made, cells = trainee(family, "expressed")
    batch, head = drawn(subject, made, cells), made.head
    with torch.no_grad():
        vectors = subject.cells(batch)
        assert vectors.shape == (cells.n_cells, subject.cell_width)
        genes = head.genes.weight[subject.gene_tokens]
        odds = ((vectors @ head.cell.weight.T + head.cell.bias) @ genes.T / genes.shape[1]).numpy()
        odds += head.common.weight[subject.gene_tokens, 0].numpy()
    asked = batch.cells["asked"].numpy()
    assert made(subject, batch).total.item() == pytest.approx(bce(odds[asked >= 0], asked[asked >= 0] == 1), rel=1e-4)


def test_what_was_learnt_holds_for_other_draws():
    """Cells of two kinds have either half of the genes: the kind, told by the genes that are shown, tells the hidden ones."""
    subject, made, cells = trainee("scfoundation", "expressed")
    rng = np.random.default_rng(1)
    learn(subject, made, lambda: batch_of(made.draw(cells, subject, rng)), steps=100, rate=5e-3)
    with torch.no_grad():
        accuracy = made(subject, batch_of(made.draw(cells, subject, np.random.default_rng(99)))).parts["accuracy"]
    assert accuracy > 0.7
