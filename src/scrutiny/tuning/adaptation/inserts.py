"""What is put into a net to be trained beside its weights: linear layers that keep their frozen matrix and add something of their own.

All of them start so that the net computes what it did before.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.nets.layers import ALL_THREE


class Insert(nn.Linear):
    """In the place of a linear layer, whose weight and bias it shares under the same names. ``own``: the names of what is trained.

    Parameters
    ----------
    replaced
        The layer; where ``n_parts`` is 3, one matrix for queries, keys and values.
    """

    own: tuple[str, ...] = ()

    def __init__(self, replaced: nn.Linear, n_parts: int = 1) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.n_parts = replaced.in_features, replaced.out_features, n_parts
        self.weight, self.bias = replaced.weight, replaced.bias
        self.__dict__["replaced"] = replaced  # no part of this module, so that its weights are not listed twice
        self.train(replaced.training)

    @property
    def part_width(self) -> int:
        return self.out_features // self.n_parts

    def frozen(self, x: Tensor, parts: range) -> Tensor:
        """What the layer gives by itself, of these parts alone."""
        if len(parts) == self.n_parts:
            return F.linear(x, self.weight, self.bias)
        rows = slice(parts.start * self.part_width, parts.stop * self.part_width)
        return F.linear(x, self.weight[rows], None if self.bias is None else self.bias[rows])

    def asked(self, parts: range) -> range:
        """Parts that a caller asks for, who knows of three where there is one matrix for each and of none elsewhere."""
        return parts if self.n_parts > 1 else range(1)

    def reset(self, generator: torch.Generator) -> None:
        """Draw what is trained so that nothing is changed yet."""
        raise NotImplementedError


class LoraLinear(Insert):
    """W x + (alpha / rank) B A x with A (rank, d_in) small and random and B (d_out, rank) 0: Hu et al. 2021, arXiv:2106.09685.

    Parameters
    ----------
    which
        Parts of the matrix that have an A and a B, each its own.
    """

    own = ("lora_a", "lora_b")

    def __init__(self, replaced: nn.Linear, n_parts: int, which: tuple[int, ...], rank: int, alpha: float) -> None:
        super().__init__(replaced, n_parts)
        self.which, self.rank, self.factor = which, rank, alpha / rank
        self.lora_a = nn.Parameter(torch.empty(len(which) * rank, self.in_features))
        self.lora_b = nn.Parameter(torch.empty(len(which) * self.part_width, rank))

    def reset(self, generator: torch.Generator) -> None:
        """A as PyTorch's linear layers start, uniform within 1 / sqrt(d_in)."""
        bound = 1 / math.sqrt(self.in_features)
        with torch.no_grad():
            self.lora_a.uniform_(-bound, bound, generator=generator)
            self.lora_b.zero_()

    def forward(self, x: Tensor, parts: range = ALL_THREE) -> Tensor:
        parts = self.asked(parts)
        out = self.frozen(x, parts)
        places = [place for place, part in enumerate(self.which) if part in parts]
        if not places:
            return out
        inner = F.linear(x, self.lora_a[places[0] * self.rank : (places[-1] + 1) * self.rank])  # (N, places rank)
        return out.addmm_(inner, self._spread(parts, places).T.to(out.dtype), alpha=self.factor)  # no copy of what is widest

    def _spread(self, parts: range, places: list[int]) -> Tensor:
        """The matrices B of the parts, each in the rows of its part and the columns of its A: (parts width, places rank)."""
        blocks = self.lora_b.unflatten(0, (len(self.which), -1))
        if len(places) == len(parts) == 1:
            return blocks[places[0]]
        rows = []
        for part in parts:
            if part in self.which:
                place = self.which.index(part)
                left, right = place - places[0], places[-1] - place
                rows.append(F.pad(blocks[place], (left * self.rank, right * self.rank)))
            else:
                rows.append(self.lora_b.new_zeros(self.part_width, len(places) * self.rank))
        return torch.cat(rows)

    def merged(self) -> nn.Linear:
        """The layer that was replaced, with B A added to its matrix."""
        replaced: nn.Linear = self.__dict__["replaced"]
        with torch.no_grad():
            added = self._spread(range(self.n_parts), list(range(len(self.which)))) @ self.lora_a
            replaced.weight = nn.Parameter(self.weight + self.factor * added, requires_grad=False)
        return replaced


class ScaledLinear(Insert):
    """What comes out of some parts, or what goes in, times a vector of ones to start with: (IA)3, Liu et al. 2022, arXiv:2205.05638.

    Parameters
    ----------
    which
        Parts whose output is scaled; none: the input is.
    """

    own = ("factors",)

    def __init__(self, replaced: nn.Linear, n_parts: int = 1, which: tuple[int, ...] = ()) -> None:
        super().__init__(replaced, n_parts)
        self.which = which
        self.factors = nn.Parameter(torch.empty(len(which) * self.part_width if which else self.in_features))

    def reset(self, generator: torch.Generator) -> None:
        nn.init.ones_(self.factors)

    def forward(self, x: Tensor, parts: range = ALL_THREE) -> Tensor:
        parts = self.asked(parts)
        if not self.which:
            return self.frozen(x * self.factors, parts)
        of_part = self.factors.unflatten(0, (len(self.which), -1))
        ones = self.factors.new_ones(self.part_width)
        return self.frozen(x, parts) * torch.cat([of_part[self.which.index(part)] if part in self.which else ones for part in parts])

    def merged(self) -> nn.Linear:
        """The layer that was replaced, with its rows or columns scaled."""
        replaced: nn.Linear = self.__dict__["replaced"]
        with torch.no_grad():
            if not self.which:
                replaced.weight = nn.Parameter(self.weight * self.factors, requires_grad=False)
                return replaced
            rows = torch.ones(self.n_parts, self.part_width, device=self.weight.device)
            rows[list(self.which)] = self.factors.unflatten(0, (len(self.which), -1))
            replaced.weight = nn.Parameter(self.weight * rows.flatten()[:, None], requires_grad=False)
            if self.bias is not None:
                replaced.bias = nn.Parameter(self.bias * rows.flatten(), requires_grad=False)
        return replaced


class BottleneckLinear(Insert):
    """y + up(relu(down(y))) of what comes out, y, with up 0 to start with: the adapter of Houlsby et al. 2019, arXiv:1902.00751."""

    own = ("down", "down_bias", "up", "up_bias")

    def __init__(self, replaced: nn.Linear, width: int) -> None:
        super().__init__(replaced)
        self.down = nn.Parameter(torch.empty(width, self.out_features))
        self.down_bias = nn.Parameter(torch.empty(width))
        self.up = nn.Parameter(torch.empty(self.out_features, width))
        self.up_bias = nn.Parameter(torch.empty(self.out_features))

    def reset(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.out_features)
        with torch.no_grad():
            self.down.uniform_(-bound, bound, generator=generator)
            for parameter in (self.down_bias, self.up, self.up_bias):
                parameter.zero_()

    def forward(self, x: Tensor, parts: range = ALL_THREE) -> Tensor:
        out = self.frozen(x, self.asked(parts))
        return out + F.linear(F.relu(F.linear(out, self.down, self.down_bias)), self.up, self.up_bias)
