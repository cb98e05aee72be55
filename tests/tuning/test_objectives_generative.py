"""Generation: attention to the known genes and to oneself against a mask written out, and both passes against dense layers."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_subjects import drawn, trainee

from scrutiny.nets import layers
from scrutiny.nets.layers import Block, Keys, attend_itself_too
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.loop import recompute_layers

LENGTHS = (5, 1, 8, 3)
N = sum(LENGTHS)
CELL = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
FIRST = torch.tensor([0, 5, 6, 14])


def some_generated(seed=0):
    """Which tokens (N,) are to be generated: never the first of a cell, and all others of the last cell."""
    generated = torch.rand(N, generator=torch.Generator().manual_seed(seed)) < 0.5
    generated[14:], generated[FIRST] = True, False
    return generated


def keys_of(generated, cell, n_cells):
    known = torch.nonzero(~generated).squeeze(1)
    return Keys(known, torch.bincount(cell[known], minlength=n_cells).tolist(), itself=generated)


def allowed(generated, cell):
    """(N, N) bool: what each token attends to."""
    return (cell[:, None] == cell) & (~generated | torch.eye(len(cell), dtype=torch.bool))


def by_mask(q, k, v, mask):
    """Softmax attention with a mask, (N, H, E) each: Vaswani et al. 2017, equation 1."""
    scores = torch.einsum("qhe,khe->hqk", q, k) / math.sqrt(q.shape[2])
    return torch.einsum("hqk,khe->qhe", scores.masked_fill(~mask, -math.inf).softmax(2), v)


@pytest.mark.parametrize("way", ["one by one", "padded"])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_attention_is_that_of_the_mask_and_so_are_its_gradients(way, scale, monkeypatch):
    if way == "padded":
        padded = partial(layers._attend_padded, uniform=False)
        monkeypatch.setattr(layers, "_attend_one_by_one", lambda q, k, v, lengths, key_lengths: padded(q, k, v, lengths, key_lengths))
    generated, generator = some_generated(), torch.Generator().manual_seed(1)
    exact = [(scale * torch.randn(N, 2, 6, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(3)]
    ours = [x.detach().float().requires_grad_() for x in exact]
    found = attend_itself_too(*ours, LENGTHS, keys_of(generated, CELL, len(LENGTHS)))
    expected = by_mask(*exact, allowed(generated, CELL))
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=scale * 1e-5)
    weights = torch.randn(N, 2, 6, generator=generator, dtype=torch.float64)
    (found * weights.float()).sum().backward(), (expected * weights).sum().backward()
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.grad, other.grad.float(), rtol=1e-3, atol=scale**3 * 1e-5)


def test_what_is_generated_changes_nothing_else():
    generated, block = some_generated(), Block(12, 2, 20)
    keys, x = keys_of(generated, CELL, len(LENGTHS)), torch.randn(N, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = block(x, LENGTHS, keys)
        one = int(torch.nonzero(generated)[1])
        x[one] += 1.0
        changed = (block(x, LENGTHS, keys) - before).abs().amax(1) > 0
    assert changed.nonzero().squeeze(1).tolist() == [one]


def dense_layer(block, x, mask):
    """A layer of scGPT, (N, D) -> (N, D), with a mask over all tokens of the batch."""
    d = x.shape[1]
    q, k, v = F.linear(x, block.attention.qkv.weight, block.attention.qkv.bias).split(d, dim=1)
    attended = by_mask(*(part.unflatten(1, (block.attention.n_heads, -1)) for part in (q, k, v)), mask).flatten(1)
    x = F.layer_norm(x + block.attention.out(attended), (d,), block.norm1.weight, block.norm1.bias)
    return F.layer_norm(x + block.ff2(torch.relu(block.ff1(x))), (d,), block.norm2.weight, block.norm2.bias)


def test_the_loss_is_that_of_both_passes_through_dense_layers():
    subject, made, cells = trainee("scgpt", "generative")
    net, batch = subject.net.double(), drawn(subject, made.double(), cells)
    ids, values, generated = (batch.columns[name] for name in ("ids", "values", "generated"))
    mask, true = allowed(generated, batch.cell), values[generated].double()
    x = net.embed_genes(ids) + torch.where(generated[:, None], made.flag, net.values(values.double()))

    def through(x):
        for block in net.layers:
            x = dense_layer(block, x, mask)
        return x

    hidden = through(x)
    vectors = hidden[batch.start].detach()
    again = x.clone()
    again[batch.start] = vectors
    queries = torch.sigmoid(net.cell_head.query(net.embed_genes(ids[generated])))
    found = {
        "context": net.context_head(hidden[generated]).squeeze(1),
        "from_cell": (queries @ net.cell_head.turn.weight.T * hidden[batch.start][batch.cell[generated]]).sum(1),
        "second_pass": net.context_head(through(again)[generated]).squeeze(1),
    }
    errors = {name: ((predicted - true) ** 2).mean() for name, predicted in found.items()}
    subject.net.float(), made.float()
    loss = made(subject, batch)
    for name, error in errors.items():
        assert float(loss.parts[name]) == pytest.approx(error.item(), rel=1e-4)
    assert loss.total.item() == pytest.approx(sum(error.item() for error in errors.values()), rel=1e-4)


def test_the_vector_of_the_cell_is_given_to_the_second_pass_and_not_trained_by_it():
    subject, made, cells = trainee("scgpt", "generative")
    batch, entered = drawn(subject, made, cells), []
    hook = subject.net.layers[0].register_forward_pre_hook(lambda module, given: entered.append(given[0]))
    made(subject, batch)
    hook.remove()
    first, second = entered
    is_first = batch.position == 0
    assert torch.equal(first[~is_first], second[~is_first])
    (gradient,) = torch.autograd.grad(second[is_first].sum(), first, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_known_genes_have_their_values_and_the_others_only_a_flag():
    subject, made, cells = trainee("scgpt", "generative", options={"shares": [0.5]})
    tokens = made.draw(cells, subject, np.random.default_rng(0))
    generated, is_gene = tokens.columns["generated"], np.isin(tokens.columns["ids"], subject.gene_tokens)
    assert not generated[~is_gene].any() and generated[is_gene].mean() == pytest.approx(0.5, abs=0.1)
    other = {**tokens.columns, "values": np.where(generated, 3.0, tokens.columns["values"]).astype(np.float32)}
    entered = []
    hook = subject.net.layers[0].register_forward_pre_hook(lambda module, given: entered.append(given[0]))
    for columns in (tokens.columns, other):
        made(subject, batch_of(type(tokens)(tokens.lengths, columns, tokens.cells)))
    hook.remove()
    assert torch.equal(entered[0], entered[2]), "the values that are to be generated do not enter"


def test_layers_may_be_computed_again_on_the_way_back():
    """As `Training.checkpointing` does: the same loss and gradients."""
    gradients = []
    for again in (False, True):
        subject, made, cells = trainee("scgpt", "generative")
        if again:
            recompute_layers(subject.net)
        made(subject, drawn(subject, made, cells)).total.backward()
        gradients.append([weight.grad for weight in subject.net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
