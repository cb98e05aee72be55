"""The contract of a neural net and its name map: named checks on a small checkpoint under its official names."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.nets.initial import randomise
from scrutiny.nets.tokens import Batch, Tokens, batch_of
from scrutiny.nets.weights import NameMap, build, load

from .checks import CheckResult, run_checks
from .witness import generators_untouched

SAME = 1e-4
"""Largest difference between outputs that count as the same, as a share of their standard deviation: float32 sums in another order."""
CLOSE = 4.0
"""How many times the error may grow that comes of rounding the weights to bfloat16, where all matrix products are made in it."""
SOURCE = "the example checkpoint"


def _forward(net: nn.Module, batch: Batch) -> Tensor:
    return net(batch)


@dataclass(frozen=True, eq=False)
class NetTrial:
    """A net to be checked; the attributes are the arguments of `check_net`."""

    make: Callable[[], nn.Module]
    tokens: Tokens
    tensors: Mapping[str, Tensor]
    names: NameMap
    compute: Callable[[nn.Module, Batch], Tensor]

    def loaded(self, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """A new net with a copy of the example weights, or with others."""
        given = self.tensors if tensors is None else tensors
        net = build(self.make)
        load(net, {name: tensor.clone() for name, tensor in given.items()}, self.names, source=SOURCE)
        return net

    def output(self, net: nn.Module, tokens: Tokens | None = None) -> Tensor:
        """What is computed for these cells, (n_cells, ...) or (n_tokens, ...)."""
        with torch.no_grad():
            return self.compute(net, batch_of(self.tokens if tokens is None else tokens))

    @cached_property
    def expected(self) -> Tensor:
        """What is computed for all cells of the example together."""
        return self.output(self.loaded())

    def rows_of(self, cells: list[int]) -> Tensor:
        """The part of `expected` that belongs to these cells, in this order."""
        n_rows, n_cells, n_tokens = len(self.expected), self.tokens.n_cells, int(self.tokens.lengths.sum())
        assert n_rows in (n_cells, n_tokens), f"{n_rows} rows for {n_cells} cells of {n_tokens} tokens; expected one a cell or one a token"
        if n_rows == n_cells:
            return self.expected[cells]
        starts = self.tokens.offsets
        return torch.cat([self.expected[starts[cell] : starts[cell + 1]] for cell in cells])

    def one_of_each_rule(self) -> Iterator[tuple[str, str]]:
        """For every rule of the name map that the checkpoint needs: (official name of one tensor, what it is called in the net)."""
        kept = [name for name in self.tensors if not any(re.fullmatch(pattern, name) for pattern, _ in self.names.dropped)]
        for pattern, new in self.names.renamed:
            for name in kept:
                if found := re.fullmatch(pattern, name):
                    kept.remove(name)
                    yield name, found.expand(new).split("#")[0]
                    break


def check_weights_are_there(trial: NetTrial) -> None:
    """After loading nothing lies on the meta device: no parameter, no buffer, no other tensor of a module."""
    net = trial.loaded()
    left = [name for name, tensor in _all_tensors(net) if tensor.is_meta]
    assert not left, f"{left} have no values: what no checkpoint holds must be computed in forward, or drawn, not made in __init__"
    wrong = [name for name, tensor in net.named_parameters() if tensor.dtype is not torch.float32 or tensor.requires_grad]
    assert not wrong, f"{wrong} are not float32 without gradient; take nets.weights.load"
    assert not net.training, "the net is in training mode; take nets.weights.build"


def check_repeatable(trial: NetTrial) -> None:
    """Twice the same to the last bit, finite, and no global generator is drawn from."""
    net = trial.loaded()
    first = trial.output(net)
    assert torch.isfinite(first).all(), "the output has values that are not finite"
    with generators_untouched():
        second = trial.output(net)
    assert torch.equal(first, second), "the same cells gave another output the second time; is there dropout that ignores eval()?"


def check_alone(trial: NetTrial) -> None:
    """A cell alone gives what it gives among others: attention and pooling stop where a cell ends."""
    net = trial.loaded()
    for cell in range(trial.tokens.n_cells):
        found = trial.output(net, trial.tokens.take([cell]))
        _assert_same(trial, trial.rows_of([cell]), found, f"cell {cell} alone gave another output than among the others")


def check_cell_order(trial: NetTrial) -> None:
    """Cells in another order give the same."""
    order = list(reversed(range(trial.tokens.n_cells)))
    found = trial.output(trial.loaded(), trial.tokens.take(order))
    _assert_same(trial, trial.rows_of(order), found, "cells in another order gave another output")


def check_round_trip(trial: NetTrial) -> None:
    """What `state_dict` gives is all that a new net needs to compute the same."""
    state = trial.loaded().state_dict()
    net = build(trial.make)
    net.load_state_dict(state, strict=True, assign=True)
    assert torch.equal(trial.expected, trial.output(net)), "a net with the same state_dict gave another output: it has state of its own"


def check_pickle(trial: NetTrial) -> None:
    """The net survives the way to another process."""
    net = pickle.loads(pickle.dumps(trial.loaded()))
    assert torch.equal(trial.expected, trial.output(net)), "a pickled copy gave another output"


def check_missing_is_refused(trial: NetTrial) -> None:
    """A checkpoint without one of its tensors is refused by name; one that is optional may be missing, and is then never computed with."""
    for official, ours in trial.one_of_each_rule():
        others = {name: tensor for name, tensor in trial.tensors.items() if name != official}
        if any(re.fullmatch(pattern, ours) for pattern in trial.names.optional):
            net = trial.loaded(others)
            with suppress(NotApplicable):  # what is absent may refuse to be called
                same = torch.equal(trial.expected, trial.output(net))
                assert same, f"without the optional '{official}' another output was computed; use its weights only by calling its module"
        else:
            _assert_refused(trial, others, (official, ours), f"a checkpoint without '{official}'")


def check_left_over_is_refused(trial: NetTrial) -> None:
    """A tensor that the net has no use for is refused by name: one with a longer name, and one of a layer too many."""
    for official, _ in trial.one_of_each_rule():
        made_up = {f"{official}_extra", f"extra.{official}", re.sub(r"\d+", "99", official)} - trial.tensors.keys()
        for name in sorted(made_up):
            more = {**trial.tensors, name: trial.tensors[official]}
            ours = [found.expand(new) for pattern, new in trial.names.renamed if (found := re.fullmatch(pattern, name))]
            _assert_refused(trial, more, (name, *(our.split("#")[0] for our in ours)), f"a checkpoint with a tensor '{name}' too many")


def check_misshapen_is_refused(trial: NetTrial) -> None:
    """A tensor with one row too many, or one dimension, is refused by name."""
    for official, ours in trial.one_of_each_rule():
        tensor = trial.tensors[official]
        longer = torch.cat([tensor, tensor[:1]]) if tensor.ndim else tensor.expand(2)
        for wrong in (longer, tensor[None]):
            changed = {**trial.tensors, official: wrong}
            _assert_refused(trial, changed, (official, ours), f"'{official}' of the shape {tuple(wrong.shape)}")


def check_randomise(trial: NetTrial) -> None:
    """Random weights follow the seed alone: finite, nothing left out, the global generators neither read nor seeded."""
    nets = [build(trial.make) for _ in range(3)]
    with generators_untouched():
        for net, seed in zip(nets, (7, 7, 8), strict=True):
            randomise(net, seed)
    first, again, other = (dict(_all_tensors(net)) for net in nets)
    odd = [name for name, tensor in first.items() if tensor.is_meta or not torch.equal(tensor, again[name])]
    assert not odd, f"one seed gave two sorts of {odd}; draw them in a method reset(generator) of their module"
    infinite = [name for name, tensor in first.items() if not torch.isfinite(tensor).all()]
    assert not infinite, f"{infinite} have values that are not finite"
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items()), "two seeds gave the same weights"
    assert torch.isfinite(trial.output(nets[0])).all(), "with random weights the output is not finite"


def check_bfloat16(trial: NetTrial) -> None:
    """Under autocast to bfloat16 the output is hardly further off than where the weights alone are rounded to it."""
    net = trial.loaded()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        off = _distance(trial.output(net).float(), trial.expected)
    for parameter in net.parameters():
        parameter.data = parameter.data.bfloat16().float()
    allowed = CLOSE * max(_distance(trial.output(net), trial.expected), torch.finfo(torch.bfloat16).eps * float(trial.expected.std()))
    assert off <= allowed, f"bfloat16 changes the output by {off:.2g}, {allowed:.2g} are allowed; keep counts and long sums in float32"


def check_gradients(trial: NetTrial) -> None:
    """Once `requires_grad_(True)` is said, every parameter that the output depends on gets a finite gradient."""
    net = trial.loaded()
    used = [name for name, parameter in net.named_parameters() if _matters(trial, net, parameter)]
    assert used, "the output depends on no parameter"
    net.requires_grad_(True)
    with torch.enable_grad():
        output = trial.compute(net, batch_of(trial.tokens))
        assert output.requires_grad, "the output has no gradient; is there no_grad, detach or numpy on the way?"
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    parameters = dict(net.named_parameters())
    without = [name for name in used if (grad := parameters[name].grad) is None or not torch.isfinite(grad).all()]
    assert not without, f"{without} change the output but get no finite gradient; is there a detach on the way?"


NET_CHECKS = (
    check_weights_are_there,
    check_repeatable,
    check_alone,
    check_cell_order,
    check_round_trip,
    check_pickle,
    check_missing_is_refused,
    check_left_over_is_refused,
    check_misshapen_is_refused,
    check_randomise,
    check_bfloat16,
    check_gradients,
)


def check_net(
    make: Callable[[], nn.Module],
    *,
    tokens: Tokens,
    tensors: Mapping[str, Tensor],
    names: NameMap,
    compute: Callable[[nn.Module, Batch], Tensor] = _forward,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on a net; ``make`` gives a new one and is called where tensors have no storage.

    Parameters
    ----------
    tokens
        At least three cells, small: every check runs on all of them. Of different lengths, unless the model knows one length only.
    tensors
        A whole checkpoint of the same sizes, official name -> tensor, as the method ``tensors`` of a family reads it. It is not changed.
    names
        The name map of the architecture.
    compute
        ``compute(net, batch)``, called on any subset of the cells -> float tensor with one row a cell or one row a token. What it does
        not compute is not checked: join hidden states and heads, or check each in its turn. By default ``net(batch)``.
    expected_failures
        Name of a check -> why it must fail, e.g. ``{"check_alone": "the cells of a batch are coupled by design"}``. A listed check that
        passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    InputError
        If the example has fewer than three cells.
    """
    if tokens.n_cells < 3:
        raise InputError(f"the example has {tokens.n_cells} cells; expected at least three, of different lengths if the model has such")
    trial = NetTrial(make, tokens, tensors, names, compute)
    return run_checks(NET_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def _all_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and tensors that are plain attributes of a module."""
    for path, module in net.named_modules():
        own: dict[str, Any] = {**module._parameters, **module._buffers, **vars(module)}
        yield from ((f"{path}.{name}".lstrip("."), value) for name, value in own.items() if isinstance(value, Tensor))


def _distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).square().mean().sqrt())


def _matters(trial: NetTrial, net: nn.Module, parameter: nn.Parameter) -> bool:
    """Whether the output changes with this parameter."""
    before = parameter.data.clone()
    parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    changed = not torch.equal(trial.output(net), trial.expected)
    parameter.data.copy_(before)
    return changed


def _assert_refused(trial: NetTrial, tensors: Mapping[str, Tensor], named: tuple[str, ...], what: str) -> None:
    try:
        trial.loaded(tensors)
    except InputError as error:
        assert any(name in str(error) for name in named), f"{what} was refused, but not by name: {error}"
        return
    raise AssertionError(f"{what} was loaded as if nothing were wrong")


def _assert_same(trial: NetTrial, expected: Tensor, found: Tensor, message: str) -> None:
    assert expected.shape == found.shape, f"{message} (shapes {tuple(expected.shape)} and {tuple(found.shape)})"
    off = float((expected - found).abs().amax()) / (float(trial.expected.std()) or 1.0) if expected.numel() else 0.0
    assert off <= SAME, f"{message} (by up to {off:.2g} standard deviations)"
