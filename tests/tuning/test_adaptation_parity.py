"""LoRA and (IA)3 against peft on the same BERT: the same outputs and the same gradients after the same numbers are put in."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scrutiny.nets.bert import BERT_NAMES, Bert, BertConfig, mean_between  # noqa: E402
from scrutiny.nets.initial import randomise  # noqa: E402
from scrutiny.nets.tokens import Tokens, batch_of  # noqa: E402
from scrutiny.nets.weights import build, load  # noqa: E402
from scrutiny.tuning.adaptation.anatomy import Anatomy  # noqa: E402
from scrutiny.tuning.adaptation.ways import Ia3, Lora, merge  # noqa: E402

SIZES = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
SIZES |= {"max_position_embeddings": 20}
LENGTHS = (7, 20, 1, 12)
OURS = {
    "attention.self.query": ("attention.qkv", 0),
    "attention.self.key": ("attention.qkv", 1),
    "attention.self.value": ("attention.qkv", 2),
    "attention.output.dense": ("attention.out", 0),
    "intermediate.dense": ("ff1", 0),
    "output.dense": ("ff2", 0),
}
"""Module of Hugging Face within a layer -> module of ours, and the part of it."""
ANATOMY = Anatomy(frozenset(), ("layers.0", "layers.1"), frozenset(), 24)


def both(config):
    """A BERT of Hugging Face with what peft puts in, all of it random, and ours with the same weights."""
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    model = transformers.BertModel(
        transformers.BertConfig(**SIZES, hidden_act="relu", attn_implementation="eager"), add_pooling_layer=False
    ).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(name.endswith("LayerNorm.weight")), 0.2, generator=generator)
    net = build(lambda: Bert(BertConfig(**SIZES), with_head=False))
    load(net, {name: tensor.clone() for name, tensor in model.state_dict().items()}, BERT_NAMES, source="the reference")
    theirs = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(float("ia3" in name), 0.2, generator=generator)
    return theirs, net


def pieces(theirs):
    """(layer, module of ours, part) -> the tensors that peft trains there, by their last names."""
    found = {}
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            layer, _, rest = name.partition("encoder.layer.")[2].partition(".")
            inner, _, own = rest.partition(".lora_") if ".lora_" in rest else rest.partition(".ia3_")
            found.setdefault((layer, *OURS[inner]), {})[own[0]] = parameter
    return found


def vectors_of(theirs, ids):
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    padded = torch.zeros(mask.shape, dtype=torch.int64)
    padded[mask] = torch.from_numpy(ids)
    states = theirs(input_ids=padded, attention_mask=mask.long()).last_hidden_state
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def compare(theirs, net, put):
    """Give ours peft's numbers, and compare vectors, gradients of what is trained, and vectors after merging."""
    ids = np.random.default_rng(0).integers(1, 50, sum(LENGTHS))
    batch = batch_of(Tokens(np.array(LENGTHS), {"ids": ids}))
    theirs_of = pieces(theirs)
    own = dict(net.named_parameters())
    for place, tensors in theirs_of.items():
        for kind, tensor in tensors.items():
            name, rows = put(place, kind)
            with torch.no_grad():
                own[name][rows].copy_(tensor.view_as(own[name][rows]))
    net.requires_grad_(False)
    trained = {put(place, kind)[0] for place, tensors in theirs_of.items() for kind in tensors}
    for name in trained:
        own[name].requires_grad_(True)
    weight = torch.randn(len(LENGTHS), 24, generator=torch.Generator().manual_seed(1))
    expected, vectors = vectors_of(theirs, ids), mean_between(net(batch), batch, 0, 0)
    torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-5)
    (expected * weight).sum().backward()
    (vectors * weight).sum().backward()
    for place, tensors in theirs_of.items():
        for kind, tensor in tensors.items():
            name, rows = put(place, kind)
            torch.testing.assert_close(own[name].grad[rows], tensor.grad.view_as(own[name][rows]), rtol=1e-4, atol=1e-5)
    merge(net)
    with torch.no_grad():
        torch.testing.assert_close(mean_between(net(batch), batch, 0, 0), expected.detach(), rtol=1e-4, atol=1e-5)
        firsts = net.first(batch, 2)
        torch.testing.assert_close(firsts, net(batch)[batch.start], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("pattern", "modules"),
    [("", list(OURS)), (r"[qv]$", ["query", "value"]), ("k$", ["key"]), ("ff", ["intermediate.dense", "output.dense"])],
    ids=["all", "queries and values", "keys", "feed-forward"],
)
def test_lora_is_that_of_peft(pattern, modules):
    peft = pytest.importorskip("peft")
    if pattern == "ff":
        modules = r".*layer\.\d+\.(intermediate|output)\.dense"
    theirs, net = both(peft.LoraConfig(r=3, lora_alpha=5, target_modules=modules, lora_dropout=0.0))
    trained = Lora(rank=3, alpha=5.0, target=pattern).open(net, ANATOMY, seed=0, few=False)
    assert sum(dict(net.named_parameters())[name].numel() for name in trained) == theirs.get_nb_trainable_parameters()[0]

    def put(place, kind):
        layer, module, part = place
        insert = net.get_submodule(f"layers.{layer}.{module}")
        number = insert.which.index(part)
        size = 3 if kind == "A" else insert.part_width
        return f"layers.{layer}.{module}.lora_{kind.lower()}", slice(number * size, (number + 1) * size)

    compare(theirs, net, put)


def test_scales_are_those_of_peft():
    peft = pytest.importorskip("peft")
    inside = r".*layer\.\d+\.output\.dense"
    targets = rf"({inside}|.*(key|value))"
    theirs, net = both(peft.IA3Config(target_modules=targets, feedforward_modules=inside))
    trained = Ia3().open(net, ANATOMY, seed=0, few=False)
    assert sum(dict(net.named_parameters())[name].numel() for name in trained) == theirs.get_nb_trainable_parameters()[0]

    def put(place, kind):
        layer, module, part = place
        insert = net.get_submodule(f"layers.{layer}.{module}")
        rows = slice((part - 1) * 24, part * 24) if insert.which else slice(None)
        return f"layers.{layer}.{module}.factors", rows

    compare(theirs, net, put)


@pytest.mark.parametrize("way", [Lora(target="q$"), Lora(), Ia3()], ids=["queries", "all", "scales"])
def test_the_first_token_alone_is_as_with_all(way):
    """The last layer asks for queries and for keys and values apart."""
    net = build(lambda: Bert(BertConfig(**SIZES), with_head=False))
    randomise(net, 0)
    way.open(net, ANATOMY, seed=0, few=False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora" in name or "factors" in name:
                parameter.normal_(float("factors" in name), 0.3, generator=generator)
        batch = batch_of(Tokens(np.array(LENGTHS), {"ids": np.random.default_rng(0).integers(1, 50, sum(LENGTHS))}))
        torch.testing.assert_close(net.first(batch, 2), net(batch)[batch.start], rtol=1e-5, atol=1e-5)
