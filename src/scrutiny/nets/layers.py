"""Parts that the architectures share. All of them work on tokens laid end to end, (N, D); only attention knows where cells begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tokens import Batch

Activation = Callable[[Tensor], Tensor]
SPARE = 8
"""Columns by which heads grow where tokens attend to themselves too; accelerators like multiples of 8."""
NEVER = -1e4
"""Logit of what is not attended to: exp(-1e4) is 0, and 0 times it is a number."""


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], key_lengths: Sequence[int] | None = None) -> Tensor:
    """Softmax attention within each cell: q (Nq, H, E), k and v (Nk, H, E) -> (Nq, H, E). Queries of a cell without keys get zeros.

    Parameters
    ----------
    lengths
        Queries of each cell.
    key_lengths
        Keys of each cell where they are not as many: one query a cell for a last layer of which only the first token is wanted.
    """
    same = key_lengths is None
    key_lengths = lengths if key_lengths is None else key_lengths
    if q.device.type == "cpu":
        return _attend_one_by_one(q, k, v, lengths, key_lengths)
    return _attend_padded(q, k, v, lengths, key_lengths, uniform=same and len(set(lengths)) == 1)


def _attend_one_by_one(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], key_lengths: Sequence[int]) -> Tensor:
    """Cell after cell: nothing is padded and no mask is needed. Right for processors, where a call costs little.

    The cells are split off and joined at once: the way back of a slice would touch the tokens of all cells for each of them. In training
    it is done in float32, whose way back is up to three times as fast on processors as that of bfloat16.
    """
    if q.requires_grad and q.dtype is not torch.float32:
        with torch.autocast(q.device.type, enabled=False):
            return _attend_one_by_one(q.float(), k.float(), v.float(), lengths, key_lengths)
    parts = zip(q.split(list(lengths)), k.split(list(key_lengths)), v.split(list(key_lengths)), strict=True)
    return torch.cat([_attend_one(*part) for part in parts]) if len(lengths) else torch.zeros_like(q)


def _attend_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(T, H, E), (S, H, E), (S, H, E) -> (T, H, E)."""
    if not len(q) or not len(k):
        return torch.zeros_like(q)
    query, key, value = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))  # (1, H, T, E)
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def _attend_padded(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], key_lengths: Sequence[int], *, uniform: bool) -> Tensor:
    """All cells of a batch in one call, padded to the longest: right for accelerators, where each call costs a launch."""
    query, key, value = (_pad(x, n) for x, n in ((q, lengths), (k, key_lengths), (v, key_lengths)))  # (B, H, T, E)
    some = [max(m, 1) for m in key_lengths]  # a cell without keys attends to the zeros of the padding
    mask = None if uniform else _is_real(some, key.shape[2], q.device)[:, None, None, :]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)  # (B, T, H, E)
    return out[_is_real(lengths, out.shape[1], q.device)]


def _pad(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """(N, H, E) -> (B, H, longest, E)."""
    out = x.new_zeros(len(lengths), max(lengths), *x.shape[1:])
    out[_is_real(lengths, max(lengths), x.device)] = x
    return out.transpose(1, 2)


def _is_real(lengths: Sequence[int], longest: int, device: torch.device) -> Tensor:
    """(B, longest) bool."""
    return torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]


class Keys(NamedTuple):
    """The tokens that the tokens of a cell attend to, where they are not all of them."""

    where: Tensor
    """(Nk,) int64, cell after cell."""
    lengths: Sequence[int]
    """How many of each cell."""
    itself: Tensor | None = None
    """(N,) bool: tokens that are none of these, but also attend to themselves."""


def attend_itself_too(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], keys: Keys) -> Tensor:
    """As `attend` to the keys of each cell and, for the tokens ``keys.itself``, to themselves: q, k, v (N, H, E) -> (N, H, E).

    What such a token attends to differs from token to token, and yet neither a mask (T, T) nor padding is needed. Each cell gets one key
    more, whose logit every query brings along: in a column of their own the queries have the product with the token's own key, this one
    key has 1, and all others 0. What comes out of the same column of the values is the weight of that key, by which the token's own
    value is added.
    """
    width, wide = q.shape[2], q.shape[2] + SPARE
    own = (q.float() * k.float()).sum(2, keepdim=True) / math.sqrt(width)  # (N, H, 1) logits
    own = torch.where(keys.itself[:, None, None], own, NEVER)
    queries = torch.cat([q * math.sqrt(wide / width), (own * math.sqrt(wide)).to(q.dtype)], dim=2)  # attention divides by sqrt(wide)
    added = F.pad(q.new_ones(1, q.shape[1], 1), (width, SPARE - 1))  # (1, H, E')
    n_keys = torch.tensor(keys.lengths, device=q.device)
    is_added = torch.zeros(len(keys.where) + len(n_keys), dtype=torch.bool, device=q.device)
    is_added[torch.cumsum(n_keys + 1, 0) - 1] = True  # after the others of its cell
    where = torch.full_like(is_added, len(q), dtype=torch.int64).masked_scatter(~is_added, keys.where)
    k_more, v_more = (torch.cat([F.pad(x, (0, SPARE)), added])[where] for x in (k, v))  # (Nk + B, H, E') each
    out = attend(F.pad(queries, (0, SPARE - 1)), k_more, v_more, lengths, [n + 1 for n in keys.lengths])
    return out[..., :width] + out[..., width : width + 1] * v


QUERIES, KEYS_AND_VALUES, ALL_THREE = range(1), range(1, 3), range(3)


class QueriesKeysValues(nn.Linear):
    """One matrix for queries, keys and values, in this order, some of which may be asked for alone: (N, D) -> (N, n D)."""

    def forward(self, x: Tensor, parts: range = ALL_THREE) -> Tensor:
        if parts == ALL_THREE:
            return super().forward(x)
        n = len(self.weight) // 3
        rows = slice(parts.start * n, parts.stop * n)
        return F.linear(x, self.weight[rows], self.bias[rows])


class SelfAttention(nn.Module):
    """Multi-head attention."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = QueriesKeysValues(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (N, H, E) each."""
        q, k, v = self.qkv(x).unflatten(1, (3, self.n_heads, -1)).unbind(1)
        return q, k, v

    def project_first(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """As `project`, with the queries (B, H, E) of the first token of each cell only."""
        q = self.qkv(x[batch.start], QUERIES).unflatten(1, (self.n_heads, -1))  # (B, H, E)
        k, v = self.qkv(x, KEYS_AND_VALUES).unflatten(1, (2, self.n_heads, -1)).unbind(1)  # (N, H, E) each
        return q, k, v


class Block(nn.Module):
    """A transformer layer normalised after each residual, as in Vaswani et al. 2017 and `torch.nn.TransformerEncoderLayer`.

    Where matrix products are in bfloat16 (autocast, nothing to be trained), the tokens at the ends of each cell are computed once more
    in float32: models take the vector of a cell from them, and unlike a mean over all tokens it does not average the rounding out.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, *, activation: Activation = F.relu, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, n_heads)
        self.norm1 = nn.LayerNorm(d_model, eps=eps)
        self.ff1 = nn.Linear(d_model, d_ff)
        self.ff2 = nn.Linear(d_ff, d_model)
        self.norm2 = nn.LayerNorm(d_model, eps=eps)
        self.activation = activation

    def forward(self, x: Tensor, lengths: Sequence[int], keys: Keys | None = None) -> Tensor:
        """(N, D) -> (N, D)."""
        q, k, v = self.attention.project(x)
        if keys is not None and keys.itself is not None:  # in training only: no cell is read from what comes out
            return self.finish(x, attend_itself_too(q, k, v, lengths, keys))
        if keys is not None:
            k, v = k[keys.where], v[keys.where]
        key_lengths = lengths if keys is None else keys.lengths
        out = self.finish(x, attend(q, k, v, lengths, None if keys is None else keys.lengths))
        if _is_reduced(x):
            ends = _ends(lengths, x.device)
            out[ends.where] = self._in_float32(x[ends.where], q[ends.where], k, v, ends.lengths, key_lengths)
        return out

    def first(self, x: Tensor, batch: Batch) -> Tensor:
        """What `forward` gives for the first token of each cell: (N, D) -> (B, D). Every cell must have a token."""
        q, k, v = self.attention.project_first(x, batch)
        one_each = [1] * batch.n_cells
        if _is_reduced(x):
            return self._in_float32(x[batch.start], q, k, v, one_each, batch.lengths)
        return self.finish(x[batch.start], attend(q, k, v, one_each, batch.lengths))

    def _in_float32(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], key_lengths: Sequence[int]) -> Tensor:
        """The layer for some tokens (n, D) of each cell, given the queries (n, H, E) and the keys and values of all."""
        with torch.autocast(x.device.type, enabled=False):
            return self.finish(x.float(), attend(q.float(), k.float(), v.float(), lengths, key_lengths))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """From what each token (..., D) has gathered, (..., H, E), to its vector after the layer (..., D)."""
        x = self.norm1(x + self.attention.out(attended.flatten(-2)))
        return self.norm2(x + self.ff2(self.activation(self.ff1(x))))


def _is_reduced(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type) and not torch.is_grad_enabled()


def _ends(lengths: Sequence[int], device: torch.device) -> Keys:
    """The first and the last two tokens of each cell, each once: those that models read a cell from."""
    where: list[int] = []
    begin = 0
    for n in lengths:
        where += [begin + place for place in sorted({0, n - 2, n - 1} & set(range(n)))]
        begin += n
    return Keys(torch.tensor(where, dtype=torch.int64, device=device), [min(n, 3) for n in lengths])


def cell_mean(x: Tensor, batch: Batch) -> Tensor:
    """Mean over the tokens of each cell: (N, D) -> (B, D). A cell without tokens gets zeros."""
    total = x.new_zeros(batch.n_cells, x.shape[1], dtype=torch.float32).index_add_(0, batch.cell, x.float())
    return total / batch.length.clamp(min=1)[:, None]


def cell_max(x: Tensor, batch: Batch) -> Tensor:
    """Largest value over the tokens of each cell: (N, D) -> (B, D). A cell without tokens gets zeros."""
    index = batch.cell[:, None].expand(-1, x.shape[1])
    return x.new_zeros(batch.n_cells, x.shape[1]).scatter_reduce_(0, index, x, "amax", include_self=False)
