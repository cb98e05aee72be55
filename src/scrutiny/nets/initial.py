"""Random weights for the untrained twins: seeded, without a look at the global generator."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn


def randomise(net: nn.Module, seed: int) -> None:
    """Give a net without storage the weights that PyTorch's layers start from, or normal ones where the net names ``initial_std``.

    Every module draws by (seed, its name), on the processor: the same weights on any device, with or without another head. Modules with
    weights of their own have a method ``reset(generator)`` that draws them.

    Raises
    ------
    TypeError
        If a module has weights and no such method.
    """
    net.to_empty(device="cpu")
    std: float | None = getattr(net, "initial_std", None)
    with torch.no_grad():
        for name, module in net.named_modules():
            generator = generator_of(seed, name)
            if hasattr(module, "reset"):
                module.reset(generator)
            else:
                _draw(module, std, generator)
    net.requires_grad_(False)


def generator_of(seed: int, name: str) -> torch.Generator:
    """What a module of that name draws its weights by."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


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
