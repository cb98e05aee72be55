"""Where a net can be adapted: the layers that the vector of a cell passes through, their matrices, and what lies above them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from scrutiny.core.errors import NotApplicable
from scrutiny.nets.cellplm import FlowBlock
from scrutiny.nets.layers import Block
from scrutiny.nets.performer import PerformerBlock
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.subject import Cells, Subject

TRANSFORMER = (Block, PerformerBlock, FlowBlock)
PARTS = {"attention.qkv": ("attention.q", "attention.k", "attention.v")}
"""Matrices of a layer that are several in one, in their order."""


class Anatomy(NamedTuple):
    """What of a net the vector of a cell depends on, by name: nothing else can be trained by it.

    ``reached`` weights; ``layers`` names of layers, the lowest first; ``above`` weights between the last layer and the vector, which has
    ``width`` dimensions.
    """

    reached: frozenset[str]
    layers: tuple[str, ...]
    above: frozenset[str]
    width: int

    def of_last(self, n: int) -> frozenset[str]:
        """Weights of the last ``n`` layers and of all above them."""
        inside = tuple(f"{layer}." for layer in self.layers[-n:])
        return self.above | {name for name in self.reached if name.startswith(inside)}


class Matrix(NamedTuple):
    """A linear layer within a layer: where it stands, and which matrices it is, each as one would name it in a pattern."""

    module: str
    parts: tuple[str, ...]


def anatomy(subject: Subject, cells: Cells) -> Anatomy:
    """Found out by a gradient: of the vectors of a few cells with respect to every weight."""
    net = subject.net
    named = dict(net.named_parameters())
    net.requires_grad_(True)
    with torch.enable_grad():
        vectors = subject.cells(batch_of(subject.tokenise(cells), next(iter(named.values())).device))
        gradients = torch.autograd.grad(vectors.float().sum(), list(named.values()), allow_unused=True)
    net.requires_grad_(False)
    reached = frozenset(name for name, gradient in zip(named, gradients, strict=True) if gradient is not None)
    layers = (f"{subject.blocks}.{number}" for number in range(len(net.get_submodule(subject.blocks))))  # type: ignore[arg-type]
    used = tuple(layer for layer in layers if any(name.startswith(f"{layer}.") for name in reached))
    above = frozenset(name for name in reached if name.partition(".")[0] in subject.above)
    return Anatomy(reached, used, above, vectors.shape[1])


def matrices(net: nn.Module, layers: tuple[str, ...]) -> list[Matrix]:
    """The linear layers of some layers, in their order."""
    found = []
    for layer in layers:
        for name, module in net.get_submodule(layer).named_modules():
            if isinstance(module, nn.Linear):
                found.append(Matrix(f"{layer}.{name}", tuple(f"{layer}.{part}" for part in PARTS.get(name, (name,)))))
    return found


def transformer_layers(net: nn.Module, layers: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The same names. Raises NotApplicable if they are no layers with attention and a feed-forward net, which ``what`` goes into."""
    other = next((layer for layer in layers if not isinstance(net.get_submodule(layer), TRANSFORMER)), None)
    if other is not None or not layers:
        kind = type(net.get_submodule(other)).__name__ if other else "none"
        raise NotApplicable(f"{what} of a transformer; the layers of {type(net).__name__} are none ({kind}): take full, last or lora")
    return layers
