"""Official weights into nets: every tensor used or dropped on purpose; files read as `torch.load` and safetensors read them."""

import argparse
import json
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.nets.weights import NameMap, build, load, read_checkpoint, read_tensors

NAMES = NameMap(
    renamed=(
        (r"table\.weight", "words.weight"),
        (r"block\.(\d)\.(query|out)\.(weight|bias)", r"blocks.\1.\2.\3"),
        *((rf"block\.(\d)\.{part}\.(weight|bias)", rf"blocks.\1.kv.\2#{number}") for number, part in enumerate(("key", "value"))),
        (r"head\.(weight|bias)", r"head.\1"),
    ),
    dropped=((r"position_ids", "the numbers 0, 1, 2 ..."),),
    optional=(r"head\.(weight|bias)",),
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.kv, self.out = nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(4, 4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


def official(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = {"table.weight": (7, 4), "head.weight": (3, 4), "head.bias": (3,)}
    for layer in range(2):
        for part in ("query", "key", "value", "out"):
            shapes |= {f"block.{layer}.{part}.weight": (4, 4), f"block.{layer}.{part}.bias": (4,)}
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    return tensors | {"steps": torch.tensor(5), "position_ids": torch.arange(9)}


WITH_STEPS = NameMap((*NAMES.renamed, (r"steps", "steps")), NAMES.dropped, NAMES.optional)


def loaded(tensors, names=WITH_STEPS):
    net = build(Net)
    absent = load(net, tensors, names, source="x.pt")
    return net, absent


def refused(tensors, match, names=WITH_STEPS):
    with pytest.raises(InputError, match=match) as error:
        loaded(tensors, names)
    assert "x.pt" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_tensor_comes_where_it_belongs_as_float32(dtype):
    tensors = official(dtype)
    net, absent = loaded(tensors)
    assert absent == frozenset() and not net.training
    for layer in range(2):
        assert torch.equal(net.blocks[layer].kv.weight[:4], tensors[f"block.{layer}.key.weight"].float())
        assert torch.equal(net.blocks[layer].kv.bias[4:], tensors[f"block.{layer}.value.bias"].float())
    assert torch.equal(net.words.weight, tensors["table.weight"].float())
    assert all(p.dtype is torch.float32 and not p.requires_grad and not p.is_meta for p in net.parameters())
    assert net.steps.item() == 5 and net.steps.dtype is torch.int64


def test_nothing_is_copied_that_is_float32_and_whole():
    tensors = official()
    net, _ = loaded(tensors)
    assert net.words.weight.data_ptr() == tensors["table.weight"].data_ptr()


def test_missing_and_left_over_are_named_with_what_comes_near():
    tensors = official()
    tensors["block.0.querry.weight"] = tensors.pop("block.0.query.weight")
    refused(tensors, r"missing \(1\): blocks\.0\.query\.weight \(is it 'block\.0\.querry\.weight .*left over \(1\): block\.0\.querry")


def test_a_layer_too_many_and_a_layer_too_few():
    tensors = official()
    refused(tensors | {"block.2.out.bias": torch.zeros(4)}, r"left over \(1\): blocks\.2\.out\.bias \(4,\)")
    refused({n: t for n, t in tensors.items() if not n.startswith("block.1")}, r"missing \(6\): blocks\.1.* \.\.\.")


def test_two_for_one():
    names = NameMap((*WITH_STEPS.renamed, (r"old_table", "words.weight")), NAMES.dropped, NAMES.optional)
    refused(official() | {"old_table": torch.zeros(7, 4)}, r"two tensors stand for 'words\.weight', one of them 'old_table'", names)


@pytest.mark.parametrize(
    ("name", "tensor", "match"),
    [
        ("table.weight", torch.zeros(8, 4), r"words\.weight has the shape \(8, 4\); the config asks for \(7, 4\)"),
        ("head.bias", torch.zeros(3, dtype=torch.int8), "stored as torch.int8; expected torch.float32"),
        ("steps", torch.tensor(5.0), "steps is stored as torch.float32"),
        ("head.bias", torch.zeros(3, dtype=torch.complex64), "complex"),
        ("head.bias", torch.tensor([0, torch.nan, torch.inf]), r"head\.bias has values that are not finite \(2 of 3\)"),
        ("head.bias", torch.tensor([0, 1e300, 0], dtype=torch.float64), r"not finite \(1 of 3\)"),
        ("block.0.key.bias", torch.zeros(4, dtype=torch.float16), r"the parts of 'blocks\.0\.kv\.bias' do not fit.*float16"),
        ("block.0.key.weight", torch.zeros(4, 5), r"the parts of 'blocks\.0\.kv\.weight' do not fit"),
        ("block.0.key.bias", torch.tensor(1.0), "do not fit"),
    ],
)
def test_what_does_not_fit_is_named(name, tensor, match):
    refused(official() | {name: tensor}, match)


def test_names_that_would_harm_a_terminal_or_fill_it_are_tamed():
    tensors = official() | {"\x1b[2J" + "x" * 100_000: torch.zeros(1), "blocks#0#1": torch.zeros(1)}
    with pytest.raises(InputError, match=r"left over \(2\): '\\x1b\[2Jxxx") as error:
        loaded(tensors)
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 1000
    sharp = NameMap((*WITH_STEPS.renamed, (r"(x#.*)", r"\1")), NAMES.dropped, NAMES.optional)
    refused(official() | {"x#y#z": torch.zeros(1)}, r"left over \(1\): x#y#z \(1,\)", sharp)


def test_a_part_that_is_missing():
    tensors = official()
    del tensors["block.1.key.bias"]
    refused(tensors, r"of 'blocks\.1\.kv\.bias' there are the parts \[1\]")


def test_parts_are_joined_by_number():
    names = NameMap(((r"p(\d+)", r"words.weight#\1"),))
    net = build(lambda: nn.ModuleDict({"words": nn.Embedding(12, 2)}))
    load(net, {f"p{n}": torch.full((1, 2), float(n)) for n in reversed(range(12))}, names, source="x.pt")
    assert net["words"].weight[:, 0].tolist() == list(range(12))


def test_what_is_absent_refuses_to_be_used():
    tensors = {name: tensor for name, tensor in official().items() if not name.startswith("head")}
    net, absent = loaded(tensors)
    assert absent == {"head.weight", "head.bias"}
    with pytest.raises(NotApplicable, match=r"x\.pt has no weights for 'head\.(weight|bias)'"):
        net.head(torch.zeros(1, 4))
    assert net.head.weight.isnan().all(), "used by another way it gives no number"
    assert net.blocks[0].out(torch.zeros(1, 4)).isfinite().all()


# Reading ---------------------------------------------------------------------------------------------------------------------------------


def same(found, expected):
    """The same values of the same types; tuples may have become lists."""
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and found.shape == expected.shape and torch.equal(found, expected)
    if isinstance(expected, dict):
        return type(found) is dict and list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


FIXTURES = [
    "cellplm/toy.best.ckpt",
    "genecompass/pytorch_model.bin",
    "geneformer_v1/model.safetensors",
    "langcell/cell_bert/pytorch_model.bin",
    "langcell/cell_proj.bin",
    "nicheformer/nicheformer.ckpt",
    "scbert/finetune_head.pth",
    "scbert/panglao_pretrain.pth",
    "scfoundation/models.ckpt",
    "scgpt/best_model.pt",
    "scimilarity/encoder.ckpt",
    "uce/4layer_model.torch",
]


@pytest.mark.parametrize("name", FIXTURES)
def test_official_layouts_are_read_as_torch_reads_them(shared, name, tmp_path):
    path = shared / "parity" / name
    expected = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    found = read_checkpoint(path)
    assert same({name: found[name] for name in expected}, expected) and len(found) == len(expected)
    torch.save(expected, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(tmp_path / "old.bin"), expected)


def odd_tensors():
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "transposed": base.T,
        "view": base[1:3, ::2],
        "one number for many": torch.tensor(2.5).expand(1000, 4),
        "tied": base,
        "parameter": nn.Parameter(base + 1),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "bool": base > 3,
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_odd_tensors(tmp_path, new_format, protocol):
    path = tmp_path / "odd.pt"
    torch.save(odd_tensors(), path, _use_new_zipfile_serialization=new_format, pickle_protocol=protocol)
    found = read_tensors(path)
    assert same(found, {name: tensor.detach() for name, tensor in odd_tensors().items()})
    assert not found["parameter"].requires_grad
    assert found["tied"].data_ptr() == found["transposed"].data_ptr()


class AttributeDict(dict):
    """As Lightning's, which pickles as a dictionary of its own class."""


def test_what_stands_beside_the_weights_in_official_files(tmp_path, monkeypatch):
    parts = "lightning.pytorch.utilities.parsing".split(".")
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[name].AttributeDict = AttributeDict
    monkeypatch.setattr(AttributeDict, "__module__", name)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    state = OrderedDict(a=torch.ones(2))
    state._metadata = OrderedDict({"": {"version": 1}})
    tree = {
        "state_dict": state,
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": AttributeDict(lr=1e-3, genes=("A", "B")),
        "args": argparse.Namespace(depth=3, inner=argparse.Namespace(path=Path("/data/x"))),
        "numpy": [np.float64(2.5), np.float32(0.5), np.int64(-3), np.bool_(True), np.str_("gene"), np.uint8(200)],
        "torch": {"dtype": torch.float16, "device": torch.device("cuda:1"), "size": torch.Size([2, 3])},
        "others": {1: None, 2.5: True, "set": {"x"}, "large": 2**70, "negative": -1, "text": "Ä" * 300},
    }
    for new_format in (True, False):
        path = tmp_path / "lightning.ckpt"
        torch.save(tree, path, _use_new_zipfile_serialization=new_format)
        found = read_checkpoint(path)
        assert same(found["state_dict"], dict(state))
        assert found["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-3
        assert found["hyper_parameters"] == {"lr": 1e-3, "genes": ["A", "B"]}
        assert found["args"] == {"depth": 3, "inner": {"path": "/data/x"}}
        assert same(found["numpy"], [2.5, 0.5, -3, True, "gene", 200])
        assert found["torch"] == {"dtype": "torch.float16", "device": "cuda", "size": [2, 3]}
        assert found["others"] == tree["others"] | {"set": ["x"]}


def test_a_file_of_one_tensor_and_files_of_other_things(tmp_path):
    torch.save(torch.ones(3), tmp_path / "all_tokens.torch")
    assert same(read_checkpoint(tmp_path / "all_tokens.torch"), {"tensor": torch.ones(3)})
    torch.save([torch.ones(3)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list; expected a dictionary"):
        read_checkpoint(tmp_path / "list.pt")
    torch.save({"state_dict": {"a": torch.ones(3)}, "epoch": 1}, tmp_path / "nested.pt")
    with pytest.raises(InputError, match=r"'state_dict' is a dict; it has \['state_dict', 'epoch'\]"):
        read_tensors(tmp_path / "nested.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_what_is_not_looked_at_is_not_read(tmp_path, name):
    tensors = {"used": torch.ones(4), "unused": torch.ones(24 << 20)}  # 96 MB
    save_file(tensors, tmp_path / name) if name.endswith("safetensors") else torch.save(tensors, tmp_path / name)
    del tensors
    before = psutil.Process().memory_info().rss
    assert read_tensors(tmp_path / name)["used"].sum() == 4
    assert psutil.Process().memory_info().rss - before < 30 << 20


def in_parts(folder, ending=".safetensors"):
    tensors = official()
    names = list(tensors)
    files = {f"model-{number}{ending}": names[number::2] for number in range(2)}
    for file, part in files.items():
        one = {name: tensors[name] for name in part}
        save_file(one, folder / file) if ending == ".safetensors" else torch.save(one, folder / file)
    index = folder / f"model{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}))
    return index, tensors


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_weights_in_several_files_are_one(tmp_path, ending):
    index, tensors = in_parts(tmp_path, ending)
    found = read_tensors(index)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_an_index_that_does_not_fit_its_parts(tmp_path):
    index, _ = in_parts(tmp_path)
    places = json.loads(index.read_text())["weight_map"]
    for wrong, match in [
        ({"head.weight": "model-1.safetensors"}, "does not fit the tensors in model-1"),
        (places | {"made_up": "model-0.safetensors"}, "made_up"),
        (places | {"made_up": "model-7.safetensors"}, r"no file .*model-7"),
        (["a"], "no 'weight_map'"),
        ({}, "no 'weight_map'"),
    ]:
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(InputError, match=match):
            read_checkpoint(index)
