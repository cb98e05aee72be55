"""Cross-entropy over a vocabulary, with its gradient made on the way: logits are the largest thing in a training, and are read once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_A_TIME = {"cpu": 1 << 18, "cuda": 1 << 27, "mps": 1 << 25}
"""Logits, by kind of device: what a processor keeps in its cache, what a card has room for in float32 several times."""


class Named(NamedTuple):
    """Cross-entropy (n,) float32 of the true words, and whether none was thought likelier (n,) bool."""

    losses: Tensor
    right: Tensor


def cross_entropy(logits: Tensor, true: Tensor) -> Named:
    """Of words ``true`` (n,) int64, from logits (n, V) in any precision; it is computed in float32."""
    return Named(*_CrossEntropy.apply(logits, true))


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(true), dtype=torch.float32, device=logits.device)
        right = torch.empty(len(true), dtype=torch.bool, device=logits.device)
        slopes = torch.empty_like(logits)
        n_rows = max(1, AT_A_TIME[logits.device.type] // logits.shape[1])
        for logit, word, loss, is_right, slope in zip(*(each.split(n_rows) for each in (logits, true, losses, right, slopes)), strict=True):
            log_p = torch.log_softmax(logit.float(), 1)
            of_true = log_p.gather(1, word[:, None])
            loss.copy_(-of_true[:, 0])
            is_right.copy_(of_true[:, 0] >= log_p.amax(1))
            slope.copy_(log_p.exp_().scatter_add_(1, word[:, None], torch.full_like(of_true, -1.0)))
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grad[:, None].to(slopes.dtype), None
