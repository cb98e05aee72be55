"""The ways to adapt a net: each says which weights are trained, and puts into the net what is trained beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Protocol

from torch import Tensor, nn

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.nets.initial import generator_of

from .anatomy import Anatomy, matrices, transformer_layers
from .inserts import BottleneckLinear, Insert, LoraLinear, ScaledLinear

WIDEST = 1_024
"""Rank and bottleneck at most: wider ones are no small addition to any net here."""


class Way(Protocol):
    """A way to adapt. Its options are those of its constructor."""

    learning_rate: ClassVar[float]
    """By default."""

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        """Make the net ready, computing what it did before, and return the names of the weights that are trained.

        Parameters
        ----------
        few
            There are few labelled cells: train less.

        Raises
        ------
        NotApplicable
            If the net has nothing that can be adapted so.
        """
        ...


class Last:
    """The last layers and what lies above them.

    Parameters
    ----------
    layers
        How many; 1 by default, which is about what the reviews call freezing all but the last ones (1-20 % of the weights).
    """

    learning_rate = 1e-4
    """5e-5 to 1e-4 in the reviews of fine-tuning of single-cell models."""

    def __init__(self, layers: int = 1) -> None:
        if layers < 1:
            raise InputError(f"layers is {layers}; expected at least 1")
        self.layers = layers

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        return _own_storage(net, anatomy.of_last(self.layers))


class Full:
    """All weights that the vector of a cell depends on; with few labelled cells those of the upper half of the layers."""

    learning_rate = 5e-5
    """1e-5 to 5e-5 in the reviews; the upper end, since the nets that are small enough for a processor are small."""

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        return _own_storage(net, anatomy.of_last((len(anatomy.layers) + 1) // 2) if few else anatomy.reached)


class Lora:
    """Low-rank additions to the matrices of the layers: Hu et al. 2021, arXiv:2106.09685.

    Parameters
    ----------
    rank
        4 to 64 in the reviews, 8 to start with.
    alpha
        The addition is alpha / rank times B A; twice the rank by default.
    target
        Regular expression that the names of the adapted matrices contain, as ``layers.3.attention.q``; all matrices by default, attention
        and feed-forward, as the reviews advise: ``attention`` for those of attention, ``[qv]$`` for queries and values alone.
    """

    learning_rate = 1e-3
    """5e-4 to 1e-3 in the reviews: ten times that of full fine-tuning and more."""

    def __init__(self, rank: int = 8, alpha: float = 16.0, target: str = "") -> None:
        if not 1 <= rank <= WIDEST or not 0 < alpha < math.inf:
            raise InputError(f"rank is {rank} and alpha {alpha}; expected 1 to {WIDEST:,}, and a number above 0")
        try:
            re.compile(target)
        except re.error as error:
            raise InputError(f"target is '{target}', which is no regular expression: {error}") from error
        self.rank, self.alpha, self.target = rank, alpha, target

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        inserts: dict[str, Callable[[nn.Linear], Insert]] = {}
        for module, parts in matrices(net, anatomy.layers):
            which = tuple(number for number, part in enumerate(parts) if re.search(self.target, part))
            if which:
                inserts[module] = partial(LoraLinear, n_parts=len(parts), which=which, rank=self.rank, alpha=self.alpha)
        if not inserts:
            known = [part for matrix in matrices(net, anatomy.layers[:1]) for part in matrix.parts]
            raise NotApplicable(f"no matrix has a name that contains '{self.target}'; those of the first layer are {known}")
        return _insert(net, inserts, seed)


class Adapters:
    """A bottleneck after attention and one after the feed-forward net of each layer, before what they gave is added: Houlsby et al. 2019,
    arXiv:1902.00751, without training the norms.

    Parameters
    ----------
    bottleneck
        Its width; 64 is the one size that the paper fixes for all tasks.
    """

    learning_rate = 1e-3
    """The paper tries 3e-5 to 3e-3; the rate of LoRA here."""

    def __init__(self, bottleneck: int = 64) -> None:
        if not 1 <= bottleneck <= WIDEST:
            raise InputError(f"bottleneck is {bottleneck}; expected 1 to {WIDEST:,}")
        self.bottleneck = bottleneck

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        layers = transformer_layers(net, anatomy.layers, "adapters go behind attention and feed-forward net")
        places = [f"{layer}.{name}" for layer in layers for name in ("attention.out", "ff2")]
        return _insert(net, {place: partial(BottleneckLinear, width=self.bottleneck) for place in places}, seed)


class Ia3:
    """Keys, values and the inner layer of the feed-forward net, each times a vector: (IA)3, Liu et al. 2022, arXiv:2205.05638."""

    learning_rate = 3e-3
    """That of the paper."""

    def open(self, net: nn.Module, anatomy: Anatomy, *, seed: int, few: bool) -> frozenset[str]:
        layers = transformer_layers(net, anatomy.layers, "(IA)3 scales keys, values and the inside of the feed-forward net")
        keys_and_values = {f"{layer}.attention.qkv": partial(ScaledLinear, n_parts=3, which=(1, 2)) for layer in layers}
        return _insert(net, {**keys_and_values, **{f"{layer}.ff2": ScaledLinear for layer in layers}}, seed)


def merge(net: nn.Module) -> None:
    """Take out of the net what was put into it and can be part of its own matrices; afterwards it costs nothing more."""
    for name, module in list(net.named_modules()):
        if isinstance(module, LoraLinear | ScaledLinear):
            _put(net, name, module.merged())


def trained_tensors(net: nn.Module, trained: frozenset[str]) -> Mapping[str, Tensor]:
    """What an adapter holds of the net, by name."""
    state = net.state_dict()
    return {name: state[name] for name in sorted(trained)}


def _insert(net: nn.Module, inserts: Mapping[str, Callable[[nn.Linear], Insert]], seed: int) -> frozenset[str]:
    trained = set()
    for name, make in inserts.items():
        old = net.get_submodule(name)
        assert isinstance(old, nn.Linear)
        insert = make(old)
        insert.reset(generator_of(seed, name))
        _put(net, name, insert.to(old.weight.device))
        trained |= {f"{name}.{own}" for own in insert.own}
    return frozenset(trained)


def _put(net: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(net.get_submodule(owner), last, module)


def _own_storage(net: nn.Module, trained: frozenset[str]) -> frozenset[str]:
    """The same names; what is trained gets a storage of its own, as weights may be mapped from a file or shared with what was read."""
    for name, parameter in net.named_parameters():
        if name in trained:
            parameter.data = parameter.data.clone()
    return trained
