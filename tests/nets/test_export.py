"""Weights written under the official names: parity fixtures give the same names and numbers, and read again they are the same."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from test_all_nets import every_folder, made  # noqa: E402

from scrutiny.core.errors import InputError, StoreError  # noqa: E402
from scrutiny.nets.bert import BERT_NAMES, LANGCELL_NAMES, Bert, BertConfig, CellBert  # noqa: E402
from scrutiny.nets.export import official, write_checkpoint, write_weights  # noqa: E402
from scrutiny.nets.initial import randomise  # noqa: E402
from scrutiny.nets.tokens import Tokens, batch_of  # noqa: E402
from scrutiny.nets.weights import NameMap, build, load, read_checkpoint, read_tensors  # noqa: E402

CONFIG = BertConfig(20, 16, 2, 2, 24, 32)


def random_net(make=lambda: Bert(CONFIG), seed=0):
    net = build(make)
    randomise(net, seed)
    return net


def loaded(make, tensors, names):
    net = build(make)
    load(net, tensors, names, source="the written file")
    return net


def same(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(("name", "folder"), every_folder())
def test_official_names_and_numbers_are_those_of_the_official_file(name, folder, shared):
    model = made(name, shared / "parity" / folder, shared)
    given = model.tensors(model.folder)
    kept = {name for name in given if not any(re.fullmatch(pattern, name) for pattern, _ in model.names.dropped)}
    written = official(model.net.state_dict(), model.names)
    assert written.keys() == kept
    assert all(torch.equal(written[name], given[name].to(written[name].dtype)) for name in kept)


@pytest.mark.parametrize(("name", "folder"), every_folder())
def test_random_weights_come_back_as_they_were(name, folder, shared, tmp_path):
    model = made(name, shared / "parity" / folder, shared)
    model.files  # noqa: B018 - read here, since within `build` tensors have no storage
    net = random_net(model.make_net)
    write_weights(net, model.names, tmp_path / "model.safetensors")
    assert same(net, loaded(model.make_net, read_tensors(tmp_path / "model.safetensors"), model.names))


def test_hugging_face_reads_what_is_written_to_the_same_logits(tmp_path):
    transformers = pytest.importorskip("transformers")
    net = random_net()
    write_weights(net, BERT_NAMES, tmp_path / "model.safetensors")
    sizes = {**CONFIG.sizes, "hidden_act": "relu", "layer_norm_eps": 1e-12, "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "model_type": "bert", "architectures": ["BertForMaskedLM"]}))
    model, told = transformers.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    ids = torch.randint(1, 20, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = net.logits(net(batch_of(Tokens([9], {"ids": ids[0].numpy()}))))
        theirs = model.eval()(input_ids=ids).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_parts_are_split_in_their_order():
    net = random_net()
    tensors = official(net.state_dict(), BERT_NAMES)
    qkv = net.layers[1].attention.qkv.weight
    for place, part in enumerate(("query", "key", "value")):
        assert torch.equal(tensors[f"bert.encoder.layer.1.attention.self.{part}.weight"], qkv[16 * place : 16 * (place + 1)])
    assert "encoder.layer.0.attention.self.query.bias" in official(random_net(lambda: CellBert(CONFIG, 8)).state_dict(), LANGCELL_NAMES)


def test_half_precision_is_rounded_once_and_numbers_that_do_not_fit_are_refused(tmp_path):
    net, path = random_net(), tmp_path / "model.safetensors"
    write_weights(net, BERT_NAMES, path, dtype=torch.float16)
    assert {tensor.dtype for tensor in read_tensors(path).values()} == {torch.float16}
    again = loaded(lambda: Bert(CONFIG), read_tensors(path), BERT_NAMES)
    assert all(torch.equal(tensor, net.state_dict()[name].half().float()) for name, tensor in again.state_dict().items())
    net.words.weight[3, 0] = 1e6
    with pytest.raises(InputError, match="word_embeddings.*not finite as torch.float16"):
        write_weights(net, BERT_NAMES, path, dtype=torch.float16)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    assert same(again, loaded(lambda: Bert(CONFIG), read_tensors(path), BERT_NAMES)), "the file is as it was before"


def test_nested_content_comes_back_and_flat_content_is_an_ordinary_file(tmp_path):
    content = {"config": {"depth": 2, "heads": [1, 2]}, "state_dict": {"a.weight": torch.ones(2, 3), "steps": torch.tensor(7)}}
    write_checkpoint(content, tmp_path / "nested.safetensors", dtype=torch.float16)
    found = read_checkpoint(tmp_path / "nested.safetensors")
    assert found["config"] == content["config"]
    assert found["state_dict"]["a.weight"].dtype == torch.float16 and found["state_dict"]["steps"] == 7
    write_checkpoint({"config": {"depth": 2}, "state_dict": {}}, tmp_path / "none.safetensors")
    assert read_checkpoint(tmp_path / "none.safetensors") == {"config": {"depth": 2}, "state_dict": {}}
    write_checkpoint({"a": torch.ones(2)}, tmp_path / "flat.safetensors")
    with safe_open(tmp_path / "flat.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_checkpoint({"a": torch.ones(2)}, tmp_path / "file" / "model.safetensors")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NameMap(renamed=((r"a\.weight", "one.weight"),)), "'two.weight' .* has no official name"),
        (NameMap(renamed=((r"a\.weight", "one.weight"), (r"a\.weight", "two.weight"))), "mean others, or nothing"),
        (NameMap(renamed=((r"a\.weight", "one.weight"), (r"b\.weight", "two.weight")), dropped=(("b.*", "not needed"),)), "mean others"),
        (NameMap(renamed=((r"a\.weight", "one.weight"), (r"b\.weight", "two.weight")), written=(("b.*", "c"),)), "mean others"),
        (NameMap(renamed=((r"a\.weight", "one.weight"), (r"b\.q", "two.weight#0"), (r"b\.k", "two.weight#1"))), "in 2 equal parts"),
    ],
)
def test_names_that_do_not_come_back_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        official({"one.weight": torch.ones(2), "two.weight": torch.ones(3)}, names)


def test_expressions_without_a_way_back_are_told_to_the_author():
    with pytest.raises(TypeError, match="cannot be written backwards"):
        official({"one": torch.ones(1)}, NameMap(renamed=((r"a[0-9].*", "one"),)))


def test_last_layers_are_counted_on_and_spelling_is_that_of_published_files():
    names = NameMap(
        renamed=((r"net\.(\d+)\.0\.(weight|bias)", r"layers.\1.\2"), (r"net\.\d+\.(weight|bias)", r"out.\1")),
        written=((r"net\.(.+)", r"model.net.\1"),),
    )
    lenient = replace(names, renamed=tuple((rf"(?:model\.)?{pattern}", new) for pattern, new in names.renamed))
    state = {name: torch.ones(1) for name in ("layers.0.weight", "layers.1.weight", "out.weight")}
    assert list(official(state, lenient)) == ["model.net.0.0.weight", "model.net.1.0.weight", "model.net.2.weight"]
    with pytest.raises(InputError, match="mean others, or nothing"):
        official(state, names)


def test_nothing_is_written_of_a_net_of_which_a_part_is_absent(tmp_path):
    net = SimpleNamespace(state_dict=lambda: {"one": torch.tensor([torch.nan])})
    with pytest.raises(InputError, match="not finite"):
        write_weights(net, NameMap(renamed=(("a", "one"),)), tmp_path / "a.safetensors")
