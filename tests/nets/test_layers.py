"""Shared parts against PyTorch's own modules, on padded cells; both ways of attention against each other."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scrutiny.nets.layers import Block, SelfAttention, _attend_one_by_one, _attend_padded, attend, cell_max, cell_mean
from scrutiny.nets.tokens import Batch

D, HEADS, FF = 24, 4, 40
LENGTHS = (5, 1, 8, 3)
WAYS = [_attend_one_by_one, partial(_attend_padded, uniform=False)]
TOLERANCE = {"rtol": 0, "atol": 2e-6}
"""Float32, sums of up to 40 terms of order 1."""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_with(lengths):
    return Batch(tuple(lengths), {}, {}, torch.device("cpu"))


def cells(x, lengths):
    return x.split(list(lengths))


def by_the_formula(q, k, v):
    """softmax(q k / sqrt(E)) v for one cell, in float64: Vaswani et al. 2017, equation 1."""
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    return (torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("queries", "keys"), [(LENGTHS, LENGTHS), ((1, 1, 1, 1), LENGTHS), ((2, 0, 3), (4, 0, 2))])
def test_attention_is_the_formula_within_each_cell(way, queries, keys):
    q, k, v = drawn(sum(queries), 2, 6), drawn(sum(keys), 2, 6, seed=1), drawn(sum(keys), 2, 6, seed=2)
    expected = torch.cat([by_the_formula(*parts) for parts in zip(cells(q, queries), cells(k, keys), cells(v, keys), strict=True)])
    torch.testing.assert_close(way(q, k, v, queries, keys), expected.float(), **TOLERANCE)


def test_uniform_lengths_need_no_mask():
    q, k, v = (drawn(12, 2, 6, seed=seed) for seed in range(3))
    one_by_one = attend(q, k, v, (4, 4, 4))
    torch.testing.assert_close(_attend_padded(q, k, v, (4, 4, 4), (4, 4, 4), uniform=True), one_by_one, **TOLERANCE)


@pytest.mark.parametrize("way", WAYS)
def test_queries_without_keys_get_zeros(way):
    q, k = drawn(4, 2, 6), drawn(3, 2, 6)
    found = way(q, k, k, (1, 2, 1), (2, 0, 1))
    assert not found[1:3].any()
    torch.testing.assert_close(found[3], k[2], **TOLERANCE)


@pytest.mark.parametrize("way", WAYS)
def test_attention_of_cells_without_tokens(way):
    empty = torch.zeros(0, 2, 6)
    assert way(empty, empty, empty, (0, 0), (0, 0)).shape == (0, 2, 6)
    assert attend(empty, empty, empty, ()).shape == (0, 2, 6)


def filled(module, seed=3):
    """Weights drawn with a spread that makes softmax and norms count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return module.eval()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_block_is_a_transformer_encoder_layer_of_pytorch(activation):
    ours = filled(Block(D, HEADS, FF, activation=getattr(F, activation), eps=1e-6))
    theirs = nn.TransformerEncoderLayer(D, HEADS, FF, activation=activation, batch_first=True, layer_norm_eps=1e-6).eval()
    names = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "linear1.": "ff1.", "linear2.": "ff2."}
    state = ours.state_dict()
    theirs.load_state_dict(
        {name: state[next((name.replace(a, b) for a, b in names.items() if a in name), name)] for name in theirs.state_dict()}
    )
    x = drawn(sum(LENGTHS), D)
    with torch.no_grad():
        found = ours(x, LENGTHS)
        first = ours.first(x, batch_with(LENGTHS))
        for cell, (one, result) in enumerate(zip(cells(x, LENGTHS), cells(found, LENGTHS), strict=True)):
            expected = theirs(one[None])[0]
            torch.testing.assert_close(result, expected, **TOLERANCE)
            torch.testing.assert_close(first[cell], expected[0], **TOLERANCE)


def test_self_attention_is_multihead_attention_of_pytorch():
    ours = filled(SelfAttention(D, HEADS))
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True).eval()
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            "in_proj_weight": state["qkv.weight"],
            "in_proj_bias": state["qkv.bias"],
            "out_proj.weight": state["out.weight"],
            "out_proj.bias": state["out.bias"],
        }
    )
    x = drawn(7, D)
    with torch.no_grad():
        found = ours.out(attend(*ours.project(x), (7,)).flatten(1))
        torch.testing.assert_close(found, theirs(x[None], x[None], x[None], need_weights=False)[0][0], **TOLERANCE)


def test_in_bfloat16_the_ends_of_a_cell_stay_in_float32():
    layers = [filled(Block(D, HEADS, FF)) for _ in range(3)]
    lengths = (40, 1, 0, 2, 30)
    x = exact = drawn(sum(lengths), D)
    with torch.inference_mode():
        for layer in layers:
            exact = layer(exact, lengths)
        last = layers[-1].first(exact, batch_with((40, 1, 2, 30)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for layer in layers:
                x = layer(x, lengths)
            first = layers[-1].first(x, batch_with((40, 1, 2, 30)))
    off = (x.float() - exact).norm(dim=1) / exact.norm(dim=1)
    ends = torch.tensor([0, 38, 39, 40, 41, 42, 43, 71, 72])
    inner = torch.ones(len(off), dtype=bool).index_fill_(0, ends, False)
    assert off[ends].mean() < off[inner].mean() / 2
    assert ((first - last).norm(dim=1) / last.norm(dim=1)).mean() < off[inner].mean() / 2


def test_mean_and_max_of_each_cell():
    x = torch.tensor([[1.0, -5.0], [3.0, -7.0], [-2.0, 4.0]])
    batch = batch_with((2, 0, 1))
    assert cell_mean(x, batch).tolist() == [[2.0, -6.0], [0.0, 0.0], [-2.0, 4.0]]
    assert cell_max(x, batch).tolist() == [[3.0, -5.0], [0.0, 0.0], [-2.0, 4.0]]
    assert cell_mean(x.bfloat16(), batch).dtype is torch.float32
