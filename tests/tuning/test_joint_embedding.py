"""Joint-embedding prediction: what is seen and what is predicted, the slow copy step by step, and planted types that become separable."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import accuracy_of_types, planted
from tiny_subjects import drawn, learn, trainee

from scrutiny.nets.layers import cell_mean
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.objectives.joint_embedding import spread, standardised


def prepared(family="scgpt", **options):
    subject, made, _ = trainee(family, "joint_embedding", options=options)
    cells, types = planted()
    return subject, made, cells.take(np.arange(24)), types[:24]


def test_the_loss_against_its_formula():
    """1 - cosine between what is predicted from the genes that are seen and the mean latent of the hidden ones, seen from its study."""
    subject, made, cells, _ = prepared()
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    with torch.no_grad():
        for weight in made.target.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))  # not the net any more
        loss = made(subject, batch_of(tokens))
        targets, predicted, vectors = [], [], []
        for i in range(cells.n_cells):  # one by one, and what is seen made anew
            one, hidden = tokens.take([i]), tokens.of(i, "to_find")
            states = subject.hidden(made.target, batch_of(one)).double().numpy()
            targets.append(states[hidden].mean(0))
            seen = replace(one, lengths=np.array([(~hidden).sum()]), columns={k: v[~hidden] for k, v in one.columns.items()})
            vectors.append(subject.hidden(subject.net, batch_of(seen)).mean(0))
            predicted.append(made.predictor(vectors[-1]).double().numpy())
    targets, predicted, vectors = np.array(targets), np.array(predicted), torch.stack(vectors).numpy()
    for study in np.unique(cells.studies):
        targets[cells.studies == study] -= targets[cells.studies == study].mean(0)
    targets /= targets.std(0) + 1e-4
    cosines = (predicted * targets).sum(1) / np.linalg.norm(predicted, axis=1) / np.linalg.norm(targets, axis=1)
    assert loss.total.item() == pytest.approx(1 - cosines.mean(), rel=1e-4)
    apart = np.linalg.norm(vectors.std(0)) / np.linalg.norm(vectors, axis=1).mean()
    assert loss.parts["spread"].item() == pytest.approx(apart, rel=1e-4)


def test_what_is_hidden():
    """Of each cell about the share of its genes, and never <cls>."""
    subject, made, cells, _ = prepared(share=0.3)
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    hidden = tokens.columns["to_find"]
    assert hidden.mean() == pytest.approx(0.3, abs=0.03) and not hidden[tokens.offsets[:-1]].any()
    n_seen = [(~tokens.of(i, "to_find")).sum() for i in range(cells.n_cells)]
    assert tokens.cells["n_seen"].tolist() == n_seen
    assert len(np.unique(tokens.cells["study"])) == 3


def test_hidden_genes_and_values_do_not_leak():
    """With other hidden genes and values the prediction is the same to the bit; only the target is another one."""
    subject, made, cells, _ = prepared()
    batch = drawn(subject, made, cells)
    hidden = batch.columns["to_find"]
    columns = {**batch.columns, "values": batch.columns["values"].clone(), "ids": batch.columns["ids"].clone()}
    columns["values"][hidden] = 51 - columns["values"][hidden]
    columns["ids"][hidden] = columns["ids"][hidden].flip(0)
    predicted = []
    made.predictor.register_forward_hook(lambda module, given, out: predicted.append((given[0].clone(), out.clone())))
    with torch.no_grad():
        losses = [made(subject, one).total for one in (batch, replace(batch, columns=columns))]
    assert all(torch.equal(a, b) for a, b in zip(*predicted, strict=True))
    assert losses[0] != losses[1]


def test_the_slow_copy_is_a_moving_average():
    """With the momentum m, k steps early in training leave m^k of what the copy was."""
    subject, made, _, _ = prepared(momentum=0.9)
    before = [weight.clone() for weight in made.target.parameters()]
    with torch.no_grad():
        for weight in subject.net.parameters():
            weight += 1
    for _ in range(5):
        made.after_step(subject, 0.0)
    left = 0.9**5
    for slow, old, fast in zip(made.target.parameters(), before, subject.net.parameters(), strict=True):
        torch.testing.assert_close(slow, left * old + (1 - left) * fast, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 0.9), (1 / 3, 0.925), (0.5, 0.95), (2 / 3, 0.975), (1.0, 1.0), (1.2, 1.0)])
def test_the_momentum_rises_to_1_along_a_cosine(progress, kept):
    subject, made, _, _ = prepared(momentum=0.9)
    with torch.no_grad():
        for weight in made.target.parameters():
            weight.zero_()
        for weight in subject.net.parameters():
            weight.fill_(1)
    made.after_step(subject, progress)
    assert float(next(made.target.parameters()).flatten()[0]) == pytest.approx(1 - kept, abs=1e-6)


def test_no_gradient_reaches_the_copy_and_the_copy_no_gradient():
    """The copy learns by following alone, and what the net learns does not depend on how the copy came to its target."""
    subject, made, cells, _ = prepared()
    assert not any(weight.requires_grad for weight in made.target.parameters())
    assert all(a is not b for a, b in zip(made.target.parameters(), subject.net.parameters(), strict=True))
    before = copy.deepcopy(made.target.state_dict())
    made(subject, drawn(subject, made, cells)).total.backward()
    assert all(weight.grad is None for weight in made.target.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in made.target.state_dict().items())


def test_standardised_by_hand():
    """Studies {0, 2}, mean 1, and {10, 14}, mean 12; deviations -1, 1, -2, 2 of standard deviation sqrt(2.5). No spread gives 0."""
    values = torch.tensor([[0.0, 7.0], [2.0, 7.0], [10.0, 7.0], [14.0, 7.0]])
    found = standardised(values, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(found[:, 0], torch.tensor([-1.0, 1.0, -2.0, 2.0]) / 2.5**0.5, rtol=1e-3, atol=0)
    assert not found[:, 1].any()
    assert not standardised(values, torch.arange(4)).any()  # each alone


def test_a_collapsed_copy_gives_no_target_that_can_be_met():
    subject, made, cells, _ = prepared()
    batch = drawn(subject, made, cells)
    flat = replace(subject, hidden=lambda net, batch: torch.ones(batch.n_tokens, subject.width))
    loss = made(flat, batch)
    assert loss.total == 1 and loss.parts["spread"] == 0


def test_spread_by_hand():
    """At right angles and of length 1: each of two dimensions has a standard deviation of 0.5."""
    assert spread(torch.eye(2)) == pytest.approx(0.5**0.5)
    assert spread(torch.ones(3, 2)) == 0


@pytest.mark.parametrize("family", ["scgpt", "geneformer"])
def test_planted_types_become_separable(family):
    """In the mean over tokens, which is what is trained, of cells whose types the untrained net hardly tells apart."""
    subject, made, _ = trainee(family, "joint_embedding")
    cells, types = planted(up=2.5, down=0.4) if family == "scgpt" else planted(up=2.0, down=0.5)
    pooled = replace(subject, cells=lambda batch: cell_mean(subject.hidden(subject.net, batch), batch))
    before = accuracy_of_types(pooled, cells, types)
    rng = np.random.default_rng(0)
    fixed = drawn(subject, made, cells)
    with torch.no_grad():
        first = made(subject, fixed)
    learn(subject, made, lambda: batch_of(made.draw(cells.take(rng.permutation(120)[:40]), subject, rng)), steps=60, rate=5e-3)
    with torch.no_grad():
        last = made(subject, fixed)
    assert last.total < 0.95 * first.total and last.parts["spread"] > first.parts["spread"]
    assert accuracy_of_types(pooled, cells, types) > before + 0.05
