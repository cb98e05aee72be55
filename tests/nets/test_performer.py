"""FAVOR+ against its formula written out, against softmax attention, and in bounded memory."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scrutiny.nets import performer
from scrutiny.nets.performer import EPSILON, FavorAttention, favor

HEADS, WIDTH = 3, 8


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotations(n_features: int, width: int) -> torch.Tensor:
    attention = FavorAttention(4, 1, width, n_features, bias=True)
    with torch.no_grad():
        attention.reset(torch.Generator().manual_seed(1))
    return attention.projection


def by_the_formula(q, k, v, projection, top=None):
    """Equations 5 and 7 of Choromanski et al. for one cell, in float64, with the maxima and the epsilon of the published models."""
    q, k, v, w = (x.double() for x in (q, k, v, projection))
    q, k = q * q.shape[-1] ** -0.25, k * k.shape[-1] ** -0.25
    logs_q, logs_k = torch.einsum("the,me->thm", q, w), torch.einsum("the,me->thm", k, w)
    top = logs_k.amax() if top is None else top
    phi_q = torch.exp(logs_q - q.square().sum(-1, keepdim=True) / 2 - logs_q.amax(-1, keepdim=True)) + EPSILON
    phi_k = torch.exp(logs_k - k.square().sum(-1, keepdim=True) / 2 - top) + EPSILON
    weights = torch.einsum("thm,shm->ths", phi_q, phi_k)
    return torch.einsum("ths,she->the", weights / weights.sum(-1, keepdim=True), v)


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@pytest.mark.parametrize("coupled", [False, True])
def test_it_is_the_formula_for_each_cell(monkeypatch, at_once, coupled):
    monkeypatch.setitem(performer.FEATURES_AT_ONCE, "cpu", at_once)
    lengths = [7, 0, 1, 12]
    q, k, v = (drawn(20, HEADS, WIDTH, seed=seed) for seed in range(3))
    projection = rotations(20, WIDTH)
    top = torch.einsum("the,me->thm", k * WIDTH**-0.25, projection).amax().double() if coupled else None
    parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    expected = torch.cat([by_the_formula(*part, projection, top) for part in parts if len(part[0])])
    assert torch.allclose(favor(q, k, v, projection, lengths, coupled=coupled).double(), expected, atol=1e-5)


def test_many_features_come_close_to_softmax_attention():
    q, k, v = (drawn(30, HEADS, WIDTH, seed=seed) * scale for seed, scale in enumerate((0.5, 0.5, 1)))  # so small that epsilon matters not
    exact = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(0, 1) for x in (q, k, v))).transpose(0, 1)
    off = [float((favor(q, k, v, rotations(n, WIDTH), [30]) - exact).square().mean().sqrt() / exact.std()) for n in (64, 8192)]
    assert off[1] < 0.1 < off[0]


def test_cells_without_tokens_are_no_trouble():
    none = torch.empty(0, HEADS, WIDTH)
    for coupled in (False, True):
        assert favor(none, none, none, rotations(20, WIDTH), [0, 0], coupled=coupled).shape == (0, HEADS, WIDTH)


def test_the_random_matrix_is_orthogonal_in_blocks_and_as_long_as_normal_vectors():
    projection = rotations(2 * 64 + 10, 64)
    for block in projection.split(64):
        products = block @ block.T
        assert torch.allclose(products, torch.diag(products.diagonal()), atol=1e-3)
    assert float(projection.square().sum(1).mean()) == pytest.approx(64, rel=0.05)


class Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation gave."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            self.n = max(self.n, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return out


def test_nothing_grows_faster_than_the_tokens(monkeypatch):
    monkeypatch.setitem(performer.FEATURES_AT_ONCE, "cpu", 1 << 14)
    n = 20_000
    q = drawn(n, HEADS, WIDTH)
    with torch.inference_mode(), Largest() as largest:
        favor(q, q, q, rotations(256, WIDTH), [n])
    assert largest.n <= max(q.numel(), torch.get_num_threads() << 14)  # all features would be n * HEADS * 256 numbers


def test_it_stays_in_float32_under_autocast():
    q, projection = drawn(40, HEADS, WIDTH), rotations(20, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = favor(q, q, q, projection, [40])
    assert torch.equal(found, favor(q, q, q, projection, [40])) and math.isfinite(float(found.sum()))
