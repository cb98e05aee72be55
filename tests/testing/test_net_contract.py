"""For every check of the net contract, a net or a name map that breaks it and is caught."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from scrutiny.core.errors import ContractError, InputError  # noqa: E402
from scrutiny.nets.layers import Block, attend, cell_mean  # noqa: E402
from scrutiny.nets.tokens import Tokens  # noqa: E402
from scrutiny.nets.weights import NameMap, load  # noqa: E402
from scrutiny.testing import Outcome, check_net  # noqa: E402
from scrutiny.testing.net import NET_CHECKS  # noqa: E402

WIDTH = 8
NAMES = NameMap(
    renamed=(
        (r"tok\.weight", "words.weight"),
        (r"layer\.(\d)\.w([012])\.(weight|bias)", r"layers.\1.attention.qkv.\3#\2"),
        (r"layer\.(\d)\.wo\.(weight|bias)", r"layers.\1.attention.out.\2"),
        (r"layer\.(\d)\.(norm1|norm2|ff1|ff2)\.(weight|bias)", r"layers.\1.\2.\3"),
        (r"head\.(weight|bias)", r"head.\1"),
    ),
    dropped=((r"step", "how long it was trained"),),
)


class Small(nn.Module):
    """One transformer layer, the mean over the tokens of a cell, and a matrix."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, WIDTH)
        self.layers = nn.ModuleList([Block(WIDTH, 2, 16)])
        self.head = nn.Linear(WIDTH, 3)

    def hidden(self, batch):
        x = self.words(batch.columns["ids"])
        for layer in self.layers:
            x = layer(x, batch.lengths)
        return x

    def forward(self, batch):
        return self.head(cell_mean(self.hidden(batch), batch))


def tokens(lengths=(5, 1, 9, 3)):
    ids = np.random.default_rng(0).integers(0, 30, sum(lengths))
    return Tokens(np.array(lengths, dtype=np.int64), {"ids": ids.astype(np.int64)})


def checkpoint():
    """Random weights under the names that the authors of `Small` would have given them."""
    shapes = {"tok.weight": (30, WIDTH), "head.weight": (3, WIDTH), "head.bias": (3,)}
    for name, shape in {"w0": (8, 8), "w1": (8, 8), "w2": (8, 8), "wo": (8, 8), "ff1": (16, 8), "ff2": (8, 16)}.items():
        shapes |= {f"layer.0.{name}.weight": shape, f"layer.0.{name}.bias": shape[:1]}
    shapes |= {f"layer.0.norm{i}.{kind}": (8,) for i in (1, 2) for kind in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | {"step": torch.tensor(12)}


def check(make=Small, names=NAMES, **others):
    return check_net(make, **{"tokens": tokens(), "tensors": checkpoint(), "names": names, **others})


def test_an_honest_net_passes():
    assert {r.outcome for r in check()} == {Outcome.PASSED}


def test_rows_may_be_tokens_and_cells_may_be_empty():
    given = tokens((5, 0, 1, 4))
    assert {r.outcome for r in check(tokens=given, compute=lambda net, batch: net.hidden(batch))} == {Outcome.PASSED}
    assert {r.outcome for r in check(tokens=given)} == {Outcome.PASSED}


def test_the_example_is_not_changed():
    given = checkpoint()
    check(tensors=given)
    assert all(torch.equal(tensor, given[name]) for name, tensor in checkpoint().items())


class HiddenBuffer(Small):
    """A table that no checkpoint has, made where tensors have no storage."""

    def __init__(self):
        super().__init__()
        self.register_buffer("angles", torch.arange(8.0), persistent=False)

    def forward(self, batch):
        return super().forward(batch) + self.angles.sum()


class PlainAttribute(Small):
    def __init__(self):
        super().__init__()
        self.scale = torch.tensor(2.0)


class Dropout(Small):
    """Dropout that does not know of eval()."""

    def forward(self, batch):
        return F.dropout(super().forward(batch), 0.5)


class Unstable(Small):
    def forward(self, batch):
        return super().forward(batch) / 0.0


class Standardised(Small):
    """Statistics of the cells that happen to come together."""

    def forward(self, batch):
        x = super().forward(batch)
        return x - x.mean(0)


class OneSequence(Small):
    """Attends over the ends of cells."""

    def hidden(self, batch):
        x = self.words(batch.columns["ids"])
        q = x.view(len(x), 2, -1)
        return x + attend(q, q, q, [len(x)]).flatten(1)


class Padded(Small):
    """Divides by the longest cell of the batch."""

    def forward(self, batch):
        return super().forward(batch) * batch.length[:, None] / max(batch.lengths)


class FirstCell(Small):
    """The first cell is treated otherwise."""

    def forward(self, batch):
        out = super().forward(batch)
        return torch.cat([out[:1] * 2, out[1:]])


class Counter(Small):
    """Counts its calls, and computes with the count."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, batch):
        self.calls += 1
        return super().forward(batch) * (1 + 0.1 * min(self.calls, 3))


class Remembers(Small):
    """The weights that were there first are used for ever, whatever is loaded later."""

    first: list = []

    def forward(self, batch):
        self.first.append(self.head.weight.clone())
        return F.linear(cell_mean(self.hidden(batch), batch), self.first[0] * len(self.first))


class HoldsLambda(Small):
    def __init__(self):
        super().__init__()
        self.activation = lambda x: x


class DrawsForItself(nn.Linear):
    """Has a way to reset itself and ignores the generator."""

    def reset(self, generator):
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)


class UnseededHead(Small):
    def __init__(self):
        super().__init__()
        self.head = DrawsForItself(WIDTH, 3)


class Constant(nn.Linear):
    def reset(self, generator):
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)


class NoDraw(nn.Module):
    """Starts from the same weights whatever the seed."""

    def __init__(self):
        super().__init__()
        self.head = Constant(1, 3)

    def forward(self, batch):
        return self.head(cell_mean(batch.columns["ids"].float()[:, None], batch))


class NoReset(Small):
    """A parameter that nobody knows how to draw."""

    def __init__(self):
        super().__init__()
        self.head = nn.Bilinear(WIDTH, WIDTH, 3)


class Narrow(Small):
    """Adds a large number and takes it away again."""

    def forward(self, batch):
        x = super().forward(batch)
        return (x + 300).to(self.head(torch.zeros(1, WIDTH)).dtype) - 300


class Detached(Small):
    def forward(self, batch):
        x = self.hidden(batch)
        return self.head(cell_mean(x.detach(), batch))


class NoGrad(Small):
    @torch.no_grad()
    def forward(self, batch):
        return super().forward(batch)


class UsesTheWeight(Small):
    """Computes with the weights of a module that it never calls, so that their absence goes unnoticed."""

    def forward(self, batch):
        return F.linear(cell_mean(self.hidden(batch), batch), self.head.weight, self.head.bias)


def with_dropped(pattern):
    return replace(NAMES, dropped=(*NAMES.dropped, (pattern, "")))


HEAD_IS_OPTIONAL = replace(NAMES, optional=(r"head\..*",))


@pytest.mark.parametrize(
    ("broken", "check_name"),
    [
        ({"make": HiddenBuffer}, "check_weights_are_there"),
        ({"make": PlainAttribute}, "check_weights_are_there"),
        ({"make": Dropout}, "check_repeatable"),
        ({"make": Unstable}, "check_repeatable"),
        ({"make": Counter}, "check_repeatable"),
        ({"make": Standardised}, "check_alone"),
        ({"make": OneSequence}, "check_alone"),
        ({"make": Padded}, "check_alone"),
        ({"make": FirstCell}, "check_cell_order"),
        ({"make": Remembers}, "check_round_trip"),
        ({"make": HoldsLambda}, "check_pickle"),
        ({"make": NoReset}, "check_randomise"),
        ({"make": UnseededHead}, "check_randomise"),
        ({"make": NoDraw}, "check_randomise"),
        ({"make": Narrow}, "check_bfloat16"),
        ({"make": Detached}, "check_gradients"),
        ({"make": NoGrad}, "check_gradients"),
        ({"names": with_dropped(r".*extra.*")}, "check_left_over_is_refused"),
        ({"names": with_dropped(r"layer\.99\..*")}, "check_left_over_is_refused"),
        ({"make": UsesTheWeight, "names": HEAD_IS_OPTIONAL}, "check_missing_is_refused"),
    ],
)
def test_a_planted_fault_is_caught(broken, check_name):
    results = {r.check: r for r in check(**broken, on_fail="report")}
    assert results[check_name].outcome is Outcome.FAILED, results[check_name]
    assert results[check_name].detail
    with pytest.raises(ContractError, match=check_name):
        check(**broken)


def cut_to_fit(net, tensors, names, *, source):
    """A loader that makes every tensor fit."""
    wanted = {name: checkpoint()[name].shape for name in tensors}
    load(net, {n: t.flatten()[: wanted[n].numel()].view(wanted[n]) for n, t in tensors.items()}, names, source=source)


def unnamed(net, tensors, names, *, source):
    """A loader that says no and not why."""
    try:
        load(net, tensors, names, source=source)
    except InputError as error:
        raise InputError("the checkpoint does not fit") from error


@pytest.mark.parametrize(
    ("loader", "check_name"),
    [
        (cut_to_fit, "check_misshapen_is_refused"),
        (unnamed, "check_misshapen_is_refused"),
        (unnamed, "check_missing_is_refused"),
        (unnamed, "check_left_over_is_refused"),
    ],
)
def test_a_lenient_or_silent_loader_is_caught(monkeypatch, loader, check_name):
    monkeypatch.setattr("scrutiny.testing.net.load", loader)
    with pytest.raises(ContractError, match=check_name):
        check()


def test_every_check_has_a_fault_that_it_catches():
    tests = (test_a_planted_fault_is_caught, test_a_lenient_or_silent_loader_is_caught)
    caught = {name for test in tests for _, name in test.pytestmark[0].args[1]}
    assert caught == {check.__name__ for check in NET_CHECKS}


def test_an_optional_tensor_may_be_missing_where_it_is_not_used_or_refused():
    assert {r.outcome for r in check(names=HEAD_IS_OPTIONAL, compute=lambda net, batch: net.hidden(batch))} == {Outcome.PASSED}
    assert {r.outcome for r in check(names=HEAD_IS_OPTIONAL)} == {Outcome.PASSED}


def test_an_expected_failure_needs_its_reason_to_hold():
    reasons = {"check_alone": "statistics of the cells that come together"}
    results = {r.check: r.outcome for r in check(Standardised, expected_failures=reasons)}
    assert results["check_alone"] is Outcome.EXPECTED_FAILURE
    with pytest.raises(ContractError, match="check_alone: it was expected to fail"):
        check(expected_failures=reasons)


def test_an_example_of_too_few_cells_is_refused():
    with pytest.raises(InputError, match="2 cells; expected at least three"):
        check(tokens=tokens((4, 5)))


def test_a_model_may_know_one_length_only():
    assert {r.outcome for r in check(tokens=tokens((4, 4, 4)))} == {Outcome.PASSED}
    results = check(OneSequence, tokens=tokens((4, 4, 4)), on_fail="report")
    assert [r.check for r in results if r.outcome is Outcome.FAILED] == ["check_alone"]
