"""scBERT: tokens, vectors and heads against the reference run, and checkpoints of other sizes in the official layout."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.read import read
from scrutiny.methods.foundation.scbert import ScBert, UntrainedScBert, gene_names
from scrutiny.nets.scbert import HEAD_NAMES, SCBERT_NAMES, CellTypeHead, ScBertConfig, ScBertNet
from scrutiny.nets.tokens import Tokens, batch_of
from scrutiny.nets.weights import build, load, read_tensors
from scrutiny.testing import check_embedder, check_net, check_reconstructor

TOLERANCE = 5e-5
"""That of the README of the reference run."""


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    return shared / "parity" / "scbert"


@pytest.fixture(scope="module")
def expected(folder):
    with np.load(folder / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def cells(folder, expected) -> Dataset:
    """Those that the official filter keeps."""
    return read(folder / "cells.h5ad").take(expected["rows"])


@pytest.fixture(scope="module")
def model(folder) -> ScBert:
    return ScBert(str(folder), device="cpu")


@pytest.fixture(scope="module")
def tokens(model, cells) -> Tokens:
    (found,) = model.token_chunks(cells)
    return found


# Against the reference run ----------------------------------------------------------------------------------------------------------


def test_tokens(tokens, expected):
    assert np.array_equal(tokens.columns["ids"].reshape(16, -1), expected["tokens"])


def test_classes_are_whole_parts_of_the_binary_logarithm(tokens, expected):
    assert np.array_equal(tokens.of(0)[:-1], np.minimum(expected["log2_norm_cell0"], 5).astype(int))


@pytest.mark.parametrize("pooling", ["last", "mean", "sum", "max"])
def test_vectors_of_cells(folder, cells, expected, pooling):
    found = ScBert(str(folder), pooling=pooling, device="cpu").fit(cells, seed=0).embed(cells)
    n_summed = 1500 if pooling == "sum" else 1
    assert np.allclose(found.values / n_summed, expected[f"enc_{pooling}"] / n_summed, atol=TOLERANCE / 10, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_cells_coupled_by_a_batch(folder, cells, expected, pooling):
    model = ScBert(str(folder), pooling=pooling, compat="official", cells_per_batch=4, device="cpu")
    assert np.allclose(model.embed(cells.take(np.arange(4))).values, expected[f"enc_batch4_{pooling}"], atol=TOLERANCE, rtol=0)
    assert not np.allclose(expected[f"enc_batch4_{pooling}"], expected[f"enc_{pooling}"][:4], atol=10 * TOLERANCE, rtol=0)


def test_states_and_logits_of_a_cell(model, tokens, expected):
    states = model.net(batch_of(tokens.take([0])))
    assert np.allclose(states[expected["positions"]], expected["enc_cell0"], atol=TOLERANCE, rtol=0)
    assert np.allclose(model.net.logits(states), expected["logits_cell0"], atol=TOLERANCE, rtol=0)


def test_logits_of_masked_genes(model, tokens, expected):
    ids = tokens.of(0).copy()
    ids[expected["mask_positions"]] = 6
    logits = model.net.logits(model.net(batch_of(Tokens(tokens.lengths[:1], {"ids": ids}))))
    assert np.allclose(logits[expected["mask_positions"]], expected["mask_logits_cell0"], atol=TOLERANCE, rtol=0)


def test_the_head_that_is_fine_tuned(folder, model, tokens, expected):
    head = build(lambda: CellTypeHead(1501, 40, 5, widths=(16, 8)))
    load(head, read_tensors(folder / "finetune_head.pth"), HEAD_NAMES, source="finetune_head.pth")
    batch = batch_of(tokens)
    assert np.allclose(head(model.net(batch), batch), expected["finetune_head_logits"], atol=TOLERANCE, rtol=0)


def test_a_vector_a_gene_is_the_mean_over_the_cells(model, cells, expected):
    found, words = model.embed_genes(cells.take(np.array([0]))), model.match(cells).words
    both, place, known = np.intersect1d(expected["positions"], words, return_indices=True)
    assert np.allclose(found.values[known], expected["enc_cell0"][place], atol=TOLERANCE, rtol=0)
    assert len(both) > 300 and np.array_equal(found.gene_ids, model.files.vocabulary.names[words])


def test_predicted_classes_are_means_by_the_probabilities_of_all_but_the_mask(model, cells, expected):
    found, words = model.reconstruct(cells.take(np.array([0])), zeros="all"), model.match(cells).words
    weights = np.exp(expected["logits_cell0"][words, :6].astype(float))
    assert found.quantity == "bin" and not found.hidden.any()
    assert np.allclose(found.predicted, weights @ np.arange(6) / weights.sum(axis=1), atol=TOLERANCE, rtol=0)
    assert np.array_equal(found.true, expected["tokens"][0, words])


# Checkpoints of another size --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    n_genes: int = 150
    width: int = 12
    depth: int = 3
    heads: int = 2
    head_width: int = 8
    n_features: int = 20
    n_classes: int = 9

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        d, inner = self.width, self.heads * self.head_width
        found = {"token_emb.weight": (self.n_classes, d), "pos_emb.emb.weight": (self.n_genes + 1, d)}
        found |= {"performer.calls_since_last_redraw": (), "norm.weight": (d,), "norm.bias": (d,)}
        found |= {"to_out.weight": (self.n_classes, d), "to_out.bias": (self.n_classes,)}
        for i in range(self.depth):
            layer = f"performer.net.layers.{i}"
            found |= {f"{layer}.{part}.norm.{kind}": (d,) for part in (0, 1) for kind in ("weight", "bias")}
            found |= {f"{layer}.0.fn.fast_attention.projection_matrix": (self.n_features, self.head_width)}
            found |= {f"{layer}.0.fn.to_{part}.weight": (inner, d) for part in "qkv"}
            found |= {f"{layer}.0.fn.to_out.weight": (d, inner), f"{layer}.0.fn.to_out.bias": (d,)}
            found |= {f"{layer}.1.fn.fn.w1.weight": (4 * d, d), f"{layer}.1.fn.fn.w1.bias": (4 * d,)}
            found |= {f"{layer}.1.fn.fn.w2.weight": (d, 4 * d), f"{layer}.1.fn.fn.w2.bias": (d,)}
        return found

    def tensors(self, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        made = {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in self.shapes.items()}
        made["pos_emb.emb.weight"] = made["pos_emb.emb.weight"].double()
        return made | {"performer.calls_since_last_redraw": torch.tensor(7)}


def save(folder: Path, tensors: dict[str, torch.Tensor], genes: list[str], name: str = "panglao_pretrain.pth") -> Path:
    torch.save({"epoch": 3, "model_state_dict": tensors, "optimizer_state_dict": {"state": {}}, "losses": 0.1}, folder / name)
    with h5py.File(folder / "panglao_10000.h5ad", "w") as file:  # as anndata 0.6 wrote it
        file["var"] = np.array([(gene.encode(),) for gene in genes], dtype=[("index", "S30")])
    return folder


@pytest.fixture
def small(cells) -> Dataset:
    """Eleven cells on the 200 genes with most counts, with made-up labels and batches."""
    columns = np.sort(np.argsort(-np.asarray(cells.values.sum(axis=0)).ravel(), kind="stable")[:200])
    some = cells.take(np.arange(5, 16)).take_genes(columns)
    return replace(some, obs=some.obs.assign(l=list("abababababa"), b=list("xxyyxxyyxxy")), roles={"label": "l", "batch": "b"})


@pytest.fixture
def genes(small) -> list[str]:
    """140 of the 200 genes, in another order, and ten that the cells lack."""
    return [*small.genes[np.random.default_rng(0).permutation(200)[:140]], *(f"LACKING{i}" for i in range(10))]


@pytest.fixture
def other(tmp_path, genes) -> Path:
    return save(tmp_path, Sizes().tensors(), genes)


def test_contract(other, small):
    check_embedder(lambda: ScBert(str(other), device="cpu"), data=small)
    check_reconstructor(lambda: ScBert(str(other), device="cpu"), data=small)


def test_contract_of_the_untrained_twin(other, small):
    check_embedder(lambda: UntrainedScBert(str(other), device="cpu"), data=small)
    twin = METHODS.get("control/untrained_scbert")
    assert twin is UntrainedScBert and twin.card.twin_of == METHODS.get("scbert").card.name


def test_contract_of_the_net():
    tensors = Sizes(n_genes=8).tensors()
    config = ScBertConfig.from_tensors(tensors, "an example")
    tokens = Tokens(np.array([3, 9, 5]), {"ids": np.array([1, 2, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 3, 0], np.int16)})
    check_net(lambda: ScBertNet(config), tokens=tokens, tensors=tensors, names=SCBERT_NAMES)


def test_contract_of_the_fine_tuned_head():
    shapes = {"conv1.weight": (1, 1, 1, 6), "conv1.bias": (1,), "fc1.weight": (4, 5), "fc1.bias": (4,), "fc2.weight": (3, 4)}
    shapes |= {"fc2.bias": (3,), "fc3.weight": (2, 3), "fc3.bias": (2,)}
    generator = torch.Generator().manual_seed(0)
    tensors = {f"to_out.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    head = build(lambda: CellTypeHead(5, 6, 2, widths=(4, 3)))
    load(head, tensors, HEAD_NAMES, source="an example")
    tokens, states = Tokens(np.array([5, 5]), {}), torch.randn(10, 6, generator=generator)
    squeezed = torch.nn.functional.conv2d(states.view(2, 1, 5, 6), tensors["to_out.conv1.weight"], tensors["to_out.conv1.bias"])
    expected = torch.relu(squeezed).flatten(1)
    for name in ("fc1", "fc2", "fc3"):
        expected = torch.nn.functional.linear(expected, tensors[f"to_out.{name}.weight"], tensors[f"to_out.{name}.bias"])
        expected = expected if name == "fc3" else torch.relu(expected)
    assert torch.allclose(head(states, batch_of(tokens)), expected, atol=1e-6)


def test_classes_up_to_what_the_checkpoint_has(other, small):
    (tokens,) = ScBert(str(other), device="cpu").token_chunks(small)
    classes = tokens.columns["ids"].reshape(small.n_cells, 151)
    assert classes.max() == 7 and (classes[:, 140:] == 0).all()


def test_a_fine_tuned_checkpoint_embeds_and_predicts_no_expression(tmp_path, small, genes):
    tensors = {name: tensor for name, tensor in Sizes().tensors().items() if not name.startswith("to_out")}
    head = {"conv1.weight": (1, 1, 1, 12), "conv1.bias": (1,), "fc1.weight": (5, 151), "fc1.bias": (5,)}
    whole = save(tmp_path, Sizes().tensors(), genes)
    before = ScBert(str(whole), device="cpu").embed(small).values
    (whole / "panglao_pretrain.pth").unlink()
    model = ScBert(
        str(save(tmp_path, tensors | {f"to_out.{n}": torch.zeros(s) for n, s in head.items()}, genes, "celltypes_best.pth")), device="cpu"
    )
    assert np.array_equal(model.fit(small, seed=0).embed(small).values, before)
    with pytest.raises(NotApplicable, match="head"):
        model.reconstruct(small)


def test_a_bare_state_dict_and_other_lists_of_genes(other, small, genes):
    before = ScBert(str(other), device="cpu").embed(small).values
    torch.save(Sizes().tensors(), other / "panglao_pretrain.pth")
    (other / "panglao_10000.h5ad").unlink()
    for name, text in (("panglao_10000.txt", "\n".join(genes)), ("panglao_10000.json", json.dumps(genes))):
        (other / name).write_text(text)
        assert np.array_equal(ScBert(str(other), device="cpu").embed(small).values, before)


def test_masked_genes_are_not_shown(other, small):
    """Were the classes of the masked genes exchanged, the prediction would be the same."""
    model = ScBert(str(other), device="cpu")
    found = model.reconstruct(small, hide=0.5)
    expressed = np.bincount(found.rows, minlength=small.n_cells)
    assert (found.true > 0).all() and found.weight is None
    assert np.array_equal(np.bincount(found.rows, found.hidden, small.n_cells), [round(0.5 * k) for k in expressed])
    dense = small.values.toarray()
    columns = np.flatnonzero(np.isin(small.genes, found.gene_ids[found.columns[found.hidden & (found.rows == 0)]]))
    dense[0, columns] = dense[0, np.roll(columns, 1)]
    again = model.reconstruct(from_arrays(small.name, dense, small.obs, small.genes, organism="human"), hide=0.5)
    assert not np.array_equal(again.true, found.true)
    assert np.allclose(again.predicted, found.predicted, atol=1e-5)


def test_an_earlier_layer(other, small):
    assert not np.allclose(*(ScBert(str(other), layer=n, device="cpu").embed(small).values for n in (0, -1)), atol=0.01)
    with pytest.raises(InputError, match="to -3"):
        ScBert(str(other), layer=-4, device="cpu").embed(small)


# What can be wrong ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"pooling": "cls"}, {"cells_per_batch": 0}])
def test_odd_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ScBert(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("token_emb.weight"), "no scBERT"),
        (lambda t: t.pop("norm.weight"), "norm.weight"),
        (lambda t: t.update({"performer.net.layers.0.0.fn.to_q.weight": torch.zeros(17, 12)}), "heads"),
        (lambda t: t.update({"pos_emb.emb.weight": torch.zeros(99, 12)}), "vectors for 98"),
        (lambda t: t.update({"epoch": 4}), "epoch"),
    ],
)
def test_odd_checkpoints_are_refused(tmp_path, genes, small, change, message):
    tensors = Sizes().tensors()
    change(tensors)
    with pytest.raises(InputError, match=message):
        ScBert(str(save(tmp_path, tensors, genes)), device="cpu").fit(small, seed=0)


@pytest.mark.parametrize(
    ("name", "content"), [("a.h5ad", b"no HDF5"), ("a.json", b'{"A": 1}'), ("a.json", b"[" * 100_000), ("a.txt", b"\xff\xfe")]
)
def test_files_that_name_no_genes_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        gene_names(tmp_path / name)
