"""Random weights of the untrained twins: as PyTorch draws them, by the seed and the name of the module alone."""

import ast
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import scrutiny.nets
from scrutiny.nets.initial import randomise
from scrutiny.nets.weights import build


class Net(nn.Module):
    def __init__(self, *, with_head=True):
        super().__init__()
        self.words = nn.Embedding(300, 64, padding_idx=2)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))
        self.norms = nn.ModuleList([nn.LayerNorm(64), nn.BatchNorm1d(64), nn.GroupNorm(4, 64), nn.LayerNorm(64, elementwise_affine=False)])
        self.slope = nn.PReLU()
        self.before = nn.Linear(64, 8, bias=False) if with_head else None


class Small(Net):
    initial_std = 0.02


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.empty(5))

    def reset(self, generator):
        self.table.uniform_(3, 4, generator=generator)


class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(5))


def drawn(make, seed=0):
    net = build(make)
    randomise(net, seed)
    return net


def test_weights_are_spread_as_pytorch_spreads_them():
    """`nn.Linear`: uniform within 1 / sqrt(inputs); `nn.Embedding`: standard normal with zeros for padding; norms: ones and zeros."""
    net = drawn(Net)
    theirs = Net()
    for ours, reference in zip(net.layers, theirs.layers, strict=True):
        for name in ("weight", "bias"):
            one, other = getattr(ours, name), getattr(reference, name)
            assert one.abs().max() <= 1 / math.sqrt(64) and other.abs().max() <= 1 / math.sqrt(64)
            assert one.std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.25)
    assert net.words.weight.std().item() == pytest.approx(1, rel=0.02)
    assert not net.words.weight[2].any() and net.words.weight[3].all()
    for name, value in theirs.state_dict().items():
        if name.startswith(("norms", "slope")):
            assert torch.equal(net.state_dict()[name], value), name


def test_nets_that_name_a_spread_are_normal():
    """As Devlin et al. 2019: normal with this standard deviation, no bias."""
    net = drawn(Small)
    for module in (net.words, *net.layers, net.before):
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not net.layers[0].bias.any() and not net.words.weight[2].any()


def test_the_seed_and_the_name_decide_and_nothing_else():
    before = torch.random.get_rng_state()
    one, same, other, bare = drawn(Net, 1), drawn(Net, 1), drawn(Net, 2), drawn(lambda: Net(with_head=False), 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert not value.is_meta and not value.requires_grad
        if name in bare.state_dict():
            assert torch.equal(value, bare.state_dict()[name]), "another head changes the weights"
    assert not torch.equal(one.words.weight, other.words.weight)
    assert not torch.equal(one.layers[0].weight, one.layers[1].weight)


def test_modules_with_weights_of_their_own_draw_for_themselves_or_are_an_error():
    table = drawn(Own).table
    assert 3 <= table.min() and table.max() <= 4
    with pytest.raises(TypeError, match="Forgetful"):
        drawn(Forgetful)


def test_every_module_here_that_makes_weights_can_draw_them():
    for path in sorted(Path(scrutiny.nets.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                text = ast.unparse(node)
                makes = "nn.Parameter(" in text or "register_buffer(" in text
                assert not makes or "def reset(self" in text, f"{path.name}: {node.name}"
