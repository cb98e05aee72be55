"""The BERT net against Hugging Face's, tensor names and all, in sizes of its own; and the configs as published."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scrutiny.core.errors import InputError  # noqa: E402
from scrutiny.nets.bert import BERT_NAMES, LANGCELL_NAMES, Bert, BertConfig, CellBert, mean_between  # noqa: E402
from scrutiny.nets.tokens import Tokens, batch_of  # noqa: E402
from scrutiny.nets.weights import build, load  # noqa: E402
from scrutiny.testing import check_net  # noqa: E402

SIZES = {
    "vocab_size": 97,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 33,
}
TOLERANCE = 1e-5


def reference(name="BertForMaskedLM", **changed):
    """The model of Hugging Face with random weights, large enough that no error drowns, biases and norms included."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**{**SIZES, "hidden_act": "relu", "layer_norm_eps": 1e-12, **changed}, attn_implementation="eager")
    model = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(name.endswith("LayerNorm.weight")), 0.2, generator=generator)
    return model


def tokens(lengths=(7, 33, 1, 12), seed=0):
    ids = np.random.default_rng(seed).integers(1, SIZES["vocab_size"], sum(lengths))
    return Tokens(np.array(lengths, dtype=np.int64), {"ids": ids.astype(np.int64)})


def ours(model, **changed):
    net = build(lambda: Bert(replace(BertConfig(**SIZES), **changed)))
    load(net, model.state_dict(), BERT_NAMES, source="the reference")
    return net


def asked_of(model, batch_tokens):
    """Hidden states of all layers and logits of the reference, of the tokens of all cells laid end to end."""
    longest = int(batch_tokens.lengths.max())
    mask = torch.arange(longest) < torch.tensor(batch_tokens.lengths)[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.from_numpy(batch_tokens.columns["ids"])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    return [state[mask] for state in out.hidden_states], out.logits[mask] if "logits" in out else None


@pytest.mark.parametrize("changed", [{}, {"hidden_act": "gelu", "layer_norm_eps": 1e-5}], ids=["relu", "gelu"])
def test_every_layer_and_the_logits_are_those_of_hugging_face(changed):
    model, given = reference(**changed), tokens()
    states, logits = asked_of(model, given)
    net, batch = ours(model, **changed), batch_of(given)
    with torch.no_grad():
        for n_layers, expected in enumerate(states):
            assert torch.allclose(net(batch, n_layers), expected, atol=TOLERANCE)
            assert torch.allclose(net.first(batch, n_layers), expected[batch.start], atol=TOLERANCE)
        hidden = net(batch)
        assert torch.allclose(net.logits(hidden), logits, atol=TOLERANCE)
        some = torch.tensor([5, 2])
        assert torch.allclose(net.logits(hidden, some), logits[:, some], atol=TOLERANCE)


def test_a_bare_bert_model_has_the_names_without_their_first_part():
    model, given = reference("BertModel"), tokens()
    net = build(lambda: Bert(BertConfig(**SIZES), with_head=False))
    load(net, model.state_dict(), BERT_NAMES, source="the reference")
    with torch.no_grad():
        assert torch.allclose(net(batch_of(given)), asked_of(model, given)[0][-1], atol=TOLERANCE)


def test_names_of_old_files_are_dropped_on_purpose():
    tensors = reference().state_dict()
    tensors["bert.embeddings.position_ids"] = torch.arange(33)[None]
    tensors |= {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"]}
    tensors |= {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"], "bert.pooler.dense.bias": torch.zeros(24)}
    load(build(lambda: Bert(BertConfig(**SIZES))), tensors, BERT_NAMES, source="an old file")
    tensors |= {"qa_outputs.weight": torch.zeros(2, 24)}
    with pytest.raises(InputError, match=r"qa_outputs\.weight"):
        load(build(lambda: Bert(BertConfig(**SIZES))), tensors, BERT_NAMES, source="a classifier")


PUBLISHED = {
    "V1-10M": 10_288_722,
    "V2-104M": 104_386_867,
    "V2-316M": 316_354_867,
}
"""Parameters with the output matrix tied, from the sizes of the official files (model.safetensors, 4 bytes each, less the header)."""


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_published_configs_give_the_published_numbers_of_parameters(shared, size):
    config = BertConfig.from_json(shared / "reference-data" / "geneformer" / f"config_Geneformer-{size}.json")
    assert sum(parameter.numel() for parameter in build(lambda: Bert(config)).parameters()) == PUBLISHED[size]


def test_every_published_config_is_read(shared):
    paths = sorted((shared / "reference-data" / "geneformer").glob("config_*.json"))
    assert len(paths) == 6
    for path in paths:
        config = BertConfig.from_json(path)
        assert config.hidden_act == "relu" and config.vocab_size in (25_426, 20_275) and config.max_position_embeddings in (2_048, 4_096)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "silu"}, "hidden_act silu"),
        ({"position_embedding_type": "relative_key"}, "known are .*'absolute'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"hidden_size": "24"}, "hidden_size is '24'"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"num_attention_heads": 5}, "24 does not split into 5 heads"),
    ],
)
def test_an_odd_config_is_refused(tmp_path, changed, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SIZES, **changed}))
    with pytest.raises(InputError, match=message):
        BertConfig.from_json(path)


@pytest.mark.parametrize("text", ["{", "[1]", json.dumps({**SIZES, "hidden_size": None}), "{}"])
def test_a_config_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match="config.json"):
        BertConfig.from_json(path)


def test_mean_between_leaves_out_the_frame():
    given = Tokens(np.array([2, 5, 3]), {"ids": np.zeros(10, np.int64)})
    values = torch.arange(10.0)[:, None]
    assert mean_between(values, batch_of(given), 1, 1)[:, 0].tolist() == [0.0, (3 + 4 + 5) / 3, 8.0]
    assert mean_between(values, batch_of(given), 1, 0)[:, 0].tolist() == [1.0, (3 + 4 + 5 + 6) / 4, 8.5]
    assert mean_between(values, batch_of(given), 0, 0)[:, 0].tolist() == [0.5, 4.0, 8.0]


def states_and_logits(net, batch):
    hidden = net(batch)
    return torch.cat([net.first(batch, 1)[batch.cell], hidden, net.logits(hidden)], dim=1)


def test_the_contract():
    check_net(
        lambda: Bert(BertConfig(**SIZES)), tokens=tokens(), tensors=reference().state_dict(), names=BERT_NAMES, compute=states_and_logits
    )


def test_the_contract_of_the_cell_side_of_langcell():
    generator = torch.Generator().manual_seed(1)
    projection = {"cell_proj.weight": torch.randn(10, 24, generator=generator), "cell_proj.bias": torch.randn(10, generator=generator)}
    tensors = reference("BertModel").state_dict() | projection
    check_net(lambda: CellBert(BertConfig(**SIZES), 10), tokens=tokens(), tensors=tensors, names=LANGCELL_NAMES)
