"""Random weights for the untrained twins: seeded, without a look at the global generator."""

from __future__ import annotations

import math

import torch
from torch import nn


def randomise(net: nn.Module, seed: int) -> None:
    """Give a net without storage the weights that PyTorch would start from, or normal ones where the net names ``initial_std``.

    Modules are visited in the order of their names; those with an own ``reset(generator)`` draw for themselves.
    """
    net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    std: float | None = getattr(net, "initial_std", None)
    with torch.no_grad():
        for _, module in sorted(net.named_modules(), key=lambda pair: pair[0]):
            if hasattr(module, "reset"):
                module.reset(generator)
            else:
                _draw(module, std, generator)
    net.requires_grad_(False)


def _draw(module: nn.Module, std: float | None, generator: torch.Generator) -> None:
    match module:
        case nn.Linear() if std is None:
            bound = 1 / math.sqrt(module.in_features)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        case nn.Linear() | nn.Embedding():
            module.weight.normal_(0.0, std or 1.0, generator=generator)
            if (bias := getattr(module, "bias", None)) is not None:
                bias.zero_()
            if (padding := getattr(module, "padding_idx", None)) is not None:
                module.weight[padding].zero_()
        case nn.LayerNorm() | nn.GroupNorm() | nn.BatchNorm1d() | nn.PReLU():
            module.reset_parameters()  # constants: nothing is drawn
        case _ if next(module.parameters(recurse=False), next(module.buffers(recurse=False), None)) is not None:
            raise TypeError(f"{type(module).__name__} has weights of its own and needs a method reset(generator)")
