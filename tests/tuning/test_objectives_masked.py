"""Masked names, bins and classes: what is drawn, and the losses against formulas written out in float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from tiny_subjects import drawn, trainee

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import Tokens, batch_of

MANY = 400
"""Times the cells are drawn, so that shares are met to a percent."""


def many(subject, made, cells, columns):
    """Columns of the tokens of the cells, drawn so many times."""
    rng = np.random.default_rng(0)
    parts = [made.draw(cells, subject, rng).columns for _ in range(MANY)]
    return [np.concatenate([part[name] for part in parts]) for name in columns]


def of_net(subject, batch):
    with torch.no_grad():
        return subject.hidden(subject.net, batch)


def numbers(tensor):
    return tensor.detach().double().numpy()


# Names ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["geneformer", "nicheformer", "genecompass"])
def test_hidden_genes_are_masks_other_genes_or_themselves(family):
    subject, made, cells = trainee(family, "masked_rank")
    true, shown, found = many(subject, made, cells, ["true", "ids", "to_find"])
    is_gene, mask = np.isin(true, subject.gene_tokens), subject.masks["ids"]
    assert not found[~is_gene].any() and (shown == true)[~found].all()
    assert np.mean(found[is_gene]) == pytest.approx(0.15, abs=0.01)
    of_found = shown[found]
    assert np.mean(of_found == mask) == pytest.approx(0.8, abs=0.02)
    assert np.mean((of_found != mask) & (of_found != true[found])) == pytest.approx(0.1, abs=0.02)
    assert np.isin(of_found, [mask, *subject.gene_tokens]).all()


@pytest.mark.parametrize("family", ["geneformer", "nicheformer"])
def test_the_loss_of_names_is_their_mean_negative_log_probability(family):
    subject, made, cells = trainee(family, "masked_rank")
    batch = drawn(subject, made, cells)
    found, loss = batch.columns["to_find"].numpy(), made(subject, batch)
    logs = log_softmax(numbers(subject.net.logits(of_net(subject, batch))), axis=1)
    true = batch.columns["true"].numpy()
    assert loss.total.item() == pytest.approx(-logs[found, true[found]].mean(), rel=1e-5)
    assert float(loss.parts["accuracy"]) == pytest.approx((logs[found].argmax(1) == true[found]).mean())


def test_values_are_hidden_with_their_genes_and_count_four_fifths():
    """GeneCompass: 0.2 of the cross-entropy, 0.8 of the squared error; what is shown as it is keeps its value."""
    subject, made, cells = trainee("genecompass", "masked_rank")
    true, shown, found, values, given = many(subject, made, cells, ["true", "ids", "to_find", "true_values", "values"])
    gone = given != values
    assert (given[gone] == -1).all() and gone[found & (shown != true)].all() and not gone[~found].any()
    assert np.mean(gone[found]) == pytest.approx(0.9, abs=0.02)
    batch = drawn(subject, made, cells)
    hidden, found = of_net(subject, batch), batch.columns["to_find"].numpy()
    logs = log_softmax(numbers(subject.net.logits(hidden)), axis=1)[found, batch.columns["true"].numpy()[found]]
    errors = numbers(subject.net.values(hidden))[found] - batch.columns["true_values"].numpy()[found]
    assert made(subject, batch).total.item() == pytest.approx(-0.2 * logs.mean() + 0.8 * (errors**2).mean(), rel=1e-5)


# Bins -----------------------------------------------------------------------------------------------------------------------------


def test_hidden_bins():
    subject, made, cells = trainee("scgpt", "masked_bins", options={"shares": [0.25]})
    ids, true, shown, found = many(subject, made, cells, ["ids", "true", "values", "to_find"])
    is_gene = np.isin(ids, subject.gene_tokens)
    assert (shown[found] == -1).all() and (shown == true)[~found].all() and not found[~is_gene].any()
    assert np.mean(found[is_gene]) == pytest.approx(0.25, abs=0.01)


def test_each_cell_draws_one_of_the_shares():
    subject, made, cells = trainee("scgpt", "masked_bins", options={"shares": [0.01, 0.99]})
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    share = np.array([tokens.of(cell, "to_find")[1:].mean() for cell in range(tokens.n_cells)])
    assert ((share < 0.2) | (share > 0.8)).all() and share.min() < 0.2 and share.max() > 0.8


def test_the_loss_of_bins_is_that_of_both_heads():
    """The heads are those that `Scgpt.reconstruct` asks."""
    subject, made, cells = trainee("scgpt", "masked_bins")
    batch = drawn(subject, made, cells)
    found, loss = batch.columns["to_find"].numpy(), made(subject, batch)
    with torch.no_grad():
        predicted = numbers(subject.net.predict(batch))[found]
    errors = ((predicted - batch.columns["true"].numpy()[found, None]) ** 2).mean(axis=0)
    assert [float(loss.parts[part]) for part in ("context", "from_cell")] == pytest.approx(errors.tolist(), rel=1e-5)
    assert loss.total.item() == pytest.approx(errors.sum(), rel=1e-5)


# Classes --------------------------------------------------------------------------------------------------------------------------


def test_hidden_classes():
    """scBERT: 15 % of the expressed genes, nine in ten of them masked, the rest as it is."""
    subject, made, cells = trainee("scbert", "masked_classes")
    true, shown, found = many(subject, made, cells, ["true", "ids", "to_find"])
    assert (true[found] > 0).all() and (shown == true)[~found].all()
    assert np.mean(found[true > 0]) == pytest.approx(0.15, abs=0.01)
    assert np.mean(shown[found] == 6) == pytest.approx(0.9, abs=0.02)
    assert ((shown == 6) | (shown == true)).all()


def test_the_loss_of_classes_is_their_mean_negative_log_probability():
    subject, made, cells = trainee("scbert", "masked_classes")
    batch = drawn(subject, made, cells)
    found, true = batch.columns["to_find"].numpy(), batch.columns["true"].numpy()
    logs = log_softmax(numbers(subject.net.logits(of_net(subject, batch))), axis=1)
    assert logs.shape[1] == 7
    assert made(subject, batch).total.item() == pytest.approx(-logs[found, true[found]].mean(), rel=1e-5)


# Both -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "name"), [("geneformer", "masked_rank"), ("scgpt", "masked_bins"), ("scbert", "masked_classes")])
def test_a_batch_in_which_nothing_is_hidden_has_no_loss(family, name):
    subject, made, cells = trainee(family, name)
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    none = {**tokens.columns, "to_find": np.zeros_like(tokens.columns["to_find"])}
    loss = made(subject, batch_of(Tokens(tokens.lengths, none, tokens.cells))).total
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize(
    ("family", "name", "options"),
    [
        ("geneformer", "masked_rank", {"share": 0.0}),
        ("scgpt", "masked_bins", {"shares": [0.5, 1.0]}),
        ("scbert", "masked_classes", {"share": 1.5}),
        ("scgpt", "generative", {"shares": [-0.1]}),
        ("scfoundation", "masked_values", {"zeros": 0.0}),
        ("scfoundation", "read_depth", {"thinned": 2.0}),
        ("uce", "expressed", {"share": 1.0}),
    ],
)
def test_shares_that_cannot_be_are_refused(family, name, options):
    with pytest.raises(InputError, match=f"objective '?{name}.* a share of"):
        trainee(family, name, options=options)
