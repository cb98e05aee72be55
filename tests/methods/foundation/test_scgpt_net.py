"""The net of scGPT against stock layers of PyTorch, in every variant that the official code can save."""

import numpy as np
import pytest
import torch
from scgpt_reference import Reference, args_of, official_tensors, random_reference

from scrutiny.core.errors import InputError
from scrutiny.nets.scgpt import SCGPT_NAMES, ScgptConfig, ScgptNet
from scrutiny.nets.tokens import Batch, Tokens, batch_of
from scrutiny.nets.weights import build, load
from scrutiny.testing.net import check_net

N_WORDS = 30
WORDS = {**{f"g{i}": i for i in range(N_WORDS - 3)}, "<pad>": N_WORDS - 3, "<cls>": N_WORDS - 2, "<eoc>": N_WORDS - 1}
VARIANTS = {
    "pretrained": {},
    "other sizes": {"d": 24, "heads": 3, "d_hid": 7, "layers": 3},
    "annotation": {"n_cls": 5},
    "integration": {"batches": 3, "domains": 3, "zeros": True},
    "integration, affine": {"batches": 2, "domains": 2, "affine": True},
    "one batch norm": {"one_norm": True},
    "one batch norm for several labels": {"one_norm": True, "batches": 3},
    "batch labels without norms": {"batches": 4},
    "concat query": {"style": "concat query"},
    "sum query": {"style": "sum query"},
}


def example_tokens() -> Tokens:
    """Three cells; one value above the clamp at 512, masked ones among them."""
    draw = np.random.default_rng(0)
    lengths = np.array([7, 1, 12])
    values = draw.choice([-2.0, -1, 1, 7, 50, 600], lengths.sum()).astype(np.float32)
    return Tokens(lengths, {"ids": draw.integers(0, N_WORDS - 3, lengths.sum()), "values": values})


def shapes_of(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def config_of(reference: Reference, **changed: object) -> ScgptConfig:
    args = {**args_of(reference), **changed}
    return ScgptConfig.from_files(args, WORDS, shapes_of(official_tensors(reference)), "args.json")


def ours(reference: Reference, tensors: dict[str, torch.Tensor], domain: int = 0) -> ScgptNet:
    net = build(lambda: ScgptNet(config_of(reference), domain))
    load(net, tensors, SCGPT_NAMES, source="the checkpoint")
    return net


def everything(net: ScgptNet, batch: Batch) -> torch.Tensor:
    """(N, D + 2) hidden states and both heads."""
    return torch.cat([net(batch), net.predict(batch)], dim=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_stock_layers(variant):
    reference = random_reference(N_WORDS, **VARIANTS[variant])
    tokens = example_tokens()
    domain = min(1, max(0, config_of(reference).n_known_batches - 1))
    net = ours(reference, official_tensors(reference), domain)
    found = everything(net, batch_of(tokens))
    for cell in range(tokens.n_cells):
        ids, values = (torch.from_numpy(tokens.of(cell, name)) for name in ("ids", "values"))
        expected = reference((ids, values), domain)
        columns = torch.cat([expected.hidden, expected.context[:, None], expected.from_cell[:, None]], dim=1)
        torch.testing.assert_close(found[tokens.offsets[cell] : tokens.offsets[cell + 1]], columns, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("n_layers", [0, 1, 2])
def test_first_tokens_alone_are_those_among_all(n_layers):
    reference = random_reference(N_WORDS)
    net, batch = ours(reference, official_tensors(reference)), batch_of(example_tokens())
    torch.testing.assert_close(net.first(batch, n_layers), net(batch, n_layers)[batch.start], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["self_attn.Wqkv.", "self_attn._impl.Wqkv.", "self_attn.in_proj_"])
def test_every_official_spelling_of_attention_is_read(attention):
    reference = random_reference(N_WORDS)
    batch = batch_of(example_tokens())
    tensors = official_tensors(reference, attention)
    assert any(attention in name for name in tensors)
    assert torch.equal(ours(reference, tensors)(batch), ours(reference, official_tensors(reference))(batch))


def test_heads_of_pretraining_and_fine_tuning_that_are_not_needed_may_be_there_or_not():
    reference = random_reference(N_WORDS)
    batch = batch_of(example_tokens())
    tensors = official_tensors(reference)
    pretrained = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls_decoder")}
    pretrained["flag_encoder.weight"] = torch.zeros(2, 16)
    assert torch.equal(everything(ours(reference, tensors), batch), everything(ours(reference, pretrained), batch))


@pytest.mark.parametrize("variant", ["pretrained", "integration, affine"])
def test_keeps_the_contract_of_nets(variant):
    reference = random_reference(N_WORDS, **VARIANTS[variant])
    config = config_of(reference)
    check_net(
        lambda: ScgptNet(config, 1 if config.n_domains else 0),
        tokens=example_tokens(),
        tensors=official_tensors(reference),
        names=SCGPT_NAMES,
        compute=everything,
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_emb_style": "category"}, "input_emb_style"),
        ({"pre_norm": True}, "pre_norm"),
        ({"nheads": 5}, "5 heads"),
        ({"nlayers": 4}, "nlayers = 4"),
        ({"embsize": 32}, r"\(30, 32\)"),
        ({"d_hid": "24"}, "d_hid"),
        ({"nlayers": 10**12}, "nlayers"),
        ({"pad_token": "<padding>"}, "<padding>"),
    ],
)
def test_another_architecture_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        config_of(random_reference(N_WORDS), **changed)


def test_an_unknown_cell_head_is_refused():
    reference = random_reference(N_WORDS, style="sum query")
    shapes = shapes_of(official_tensors(reference)) | {"mvc_decoder.fc1.weight": (64, 17)}
    with pytest.raises(InputError, match="mvc_decoder"):
        ScgptConfig.from_files(args_of(reference), WORDS, shapes, "args.json")
