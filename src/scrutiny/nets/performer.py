"""Performers: attention whose cost grows with the number of tokens, not with its square. scBERT, and the decoder of scFoundation.

FAVOR+ (Choromanski et al. 2021, "Rethinking Attention with Performers", arXiv 2009.14794): with x scaled by E^(-1/4) and rows w of a
random matrix, the softmax kernel exp(q.k / sqrt(E)) is the mean of phi(q) phi(k) over the features phi(x) = exp(w.x - |x|^2 / 2). The
published models take from w.x the largest value of the query, and of all keys of a forward pass, before exp, and add `EPSILON` after it.
That maximum is why cells which are run together there change each other: ``coupled``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-4
"""Added to every feature: no query is without any key."""
FEATURES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26, "mps": 1 << 24}
"""Features held at a time, by kind of device; on processors for each thread, as many as stay in its cache."""


class KeySums(NamedTuple):
    """All that queries need to know of the keys and values of a cell.

    ``values`` (H, M, E + 1): values, and a 1 for the normaliser, summed with the weights exp(w.k - |k|^2 / 2 - ``top``);
    ``plain`` (H, 1, E + 1): the same summed without weights; ``top``: largest w.k of all heads.
    """

    values: Tensor
    plain: Tensor
    top: Tensor


def favor(q: Tensor, k: Tensor, v: Tensor, projection: Tensor, lengths: Sequence[int], *, coupled: bool = False) -> Tensor:
    """Attention within each cell, approximated by random features: q, k, v (N, H, E) and projection (M, E) -> (N, H, E).

    No array of (T, T) or (T, H, M) is ever made. The kernel stands in for a softmax, so it stays in float32 under autocast.

    Parameters
    ----------
    coupled
        Take the key maximum over all cells, as the official code does, instead of each cell's own.
    """
    with torch.autocast(q.device.type, enabled=False):
        w = projection.float() * projection.shape[1] ** -0.25
        cells = [cell for cell in zip(*(x.float().split(list(lengths)) for x in (q, k, v)), strict=True) if len(cell[0])]
        sums = [_sum_keys(keys, values, w) for _, keys, values in cells]
        if coupled and sums:
            top = torch.stack([of_cell.top for of_cell in sums]).amax()
            sums = [_shifted(of_cell, top) for of_cell in sums]
        parts = [_ask(queries, of_cell, w) for (queries, _, _), of_cell in zip(cells, sums, strict=True)]
        return torch.cat(parts) if parts else torch.empty_like(q)


def _sum_keys(k: Tensor, v: Tensor, w: Tensor) -> KeySums:
    """Keys and values (T, H, E) of one cell. The maximum is kept as it grows, so that features are computed once."""
    n_heads, width = v.shape[1:]
    sums = KeySums(v.new_zeros(n_heads, len(w), width + 1), v.new_zeros(n_heads, 1, width + 1), v.new_full((), -math.inf))
    n = _tokens_at_once(n_heads * len(w), k.device)
    for keys, values in zip(k.split(n), v.split(n), strict=True):
        values = F.pad(values, (0, 1), value=1.0).transpose(0, 1)  # (H, t, E + 1)
        logs, half_norms = _logs(keys, w)
        old = _shifted(sums, torch.maximum(sums.top, logs.detach().amax()))
        features = logs.sub_(half_norms + old.top).exp_().permute(1, 2, 0)  # (H, M, t)
        sums = KeySums(torch.baddbmm(old.values, features, values), old.plain + values.sum(1, keepdim=True), old.top)
    return sums


def _shifted(sums: KeySums, top: Tensor) -> KeySums:
    """The same sums with weights relative to another, larger maximum."""
    return KeySums(sums.values * torch.exp(sums.top - top), sums.plain, top)


def _ask(q: Tensor, sums: KeySums, w: Tensor) -> Tensor:
    """Queries (T, H, E) of one cell -> (T, H, E)."""
    keys = sums.values + EPSILON * sums.plain  # (H, M, E + 1)
    rest = EPSILON * keys.sum(1, keepdim=True)  # (H, 1, E + 1)
    out = torch.empty_like(q)
    n = _tokens_at_once(q.shape[1] * len(w), q.device)
    for start in range(0, len(q), n):
        logs, half_norms = _logs(q[start : start + n], w)
        features = logs.sub_(half_norms + logs.detach().amax(-1, keepdim=True)).exp_().transpose(0, 1)  # (H, t, M)
        found = torch.baddbmm(rest, features, keys)  # (H, t, E + 1)
        out[start : start + n] = (found[..., :-1] / found[..., -1:]).transpose(0, 1)
    return out


def _logs(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """w.x (t, H, M) and |x|^2 / 2 (t, H, 1), where ``w`` (M, E) has the scale of x already."""
    return x @ w.T, x.square().sum(-1, keepdim=True) / (2 * math.sqrt(x.shape[-1]))


def n_features_of(d_head: int) -> int:
    """Random features of a head of width E in the published models: E ln E."""
    return int(d_head * math.log(d_head))


def _tokens_at_once(n_features: int, device: torch.device) -> int:
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    return max(1, n_threads * FEATURES_AT_ONCE[device.type] // n_features)


class FavorAttention(nn.Module):
    """Multi-head attention by `favor`; the heads together need not be as wide as the tokens.

    The random matrix is part of the trained weights: with another one the same weights give other outputs.
    """

    def __init__(self, d_model: int, n_heads: int, d_head: int, n_features: int, *, bias: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * n_heads * d_head, bias=bias)
        self.out = nn.Linear(n_heads * d_head, d_model)
        self.projection: Tensor
        self.register_buffer("projection", torch.empty(n_features, d_head))

    def reset(self, generator: torch.Generator) -> None:
        """Draw the random matrix: rows orthogonal within blocks of E, each as long as a normal vector (section 2.4 of the paper)."""
        n_features, d_head = self.projection.shape
        blocks = [_rotation(d_head, generator) for _ in range(math.ceil(n_features / d_head))]
        lengths = torch.randn(n_features, d_head, generator=generator).norm(dim=1, keepdim=True)
        self.projection.copy_(torch.cat(blocks)[:n_features] * lengths)

    def forward(self, x: Tensor, lengths: Sequence[int], *, coupled: bool = False) -> Tensor:
        """(N, D) -> (N, D)."""
        q, k, v = self.qkv(x).unflatten(1, (3, self.n_heads, -1)).unbind(1)  # (N, H, E) each
        return self.out(favor(q, k, v, self.projection, lengths, coupled=coupled).flatten(1))


def _rotation(n: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n, generator=generator)).Q


class PerformerBlock(nn.Module):
    """A layer normalised before each residual: `FavorAttention`, then two dense layers with GELU, four times as wide inside."""

    def __init__(self, d_model: int, n_heads: int, d_head: int, n_features: int, *, bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = FavorAttention(d_model, n_heads, d_head, n_features, bias=bias)
        self.norm2 = nn.LayerNorm(d_model)
        self.ff1 = nn.Linear(d_model, 4 * d_model)
        self.ff2 = nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor, lengths: Sequence[int], *, coupled: bool = False) -> Tensor:
        """(N, D) -> (N, D)."""
        x = x + self.attention(self.norm1(x), lengths, coupled=coupled)
        return x + self.ff2(F.gelu(self.ff1(self.norm2(x))))


def block_names(official: str, ours: str) -> tuple[tuple[str, str], ...]:
    """How the blocks under a prefix (regular expression) of the official name are called under a prefix of ours; see `NameMap`."""
    attention, dense = rf"{official}\.(\d+)\.0", rf"{official}\.(\d+)\.1"
    parts = (rf"{attention}\.fn\.to_{part}\.(weight|bias)" for part in "qkv")
    return (
        (rf"{attention}\.norm\.(weight|bias)", rf"{ours}.\1.norm1.\2"),
        (rf"{attention}\.fn\.fast_attention\.projection_matrix", rf"{ours}.\1.attention.projection"),
        *((pattern, rf"{ours}.\1.attention.qkv.\2#{place}") for place, pattern in enumerate(parts)),
        (rf"{attention}\.fn\.to_out\.(weight|bias)", rf"{ours}.\1.attention.out.\2"),
        (rf"{dense}\.norm\.(weight|bias)", rf"{ours}.\1.norm2.\2"),
        (rf"{dense}\.fn\.fn\.w([12])\.(weight|bias)", rf"{ours}.\1.ff\2.\3"),
    )
