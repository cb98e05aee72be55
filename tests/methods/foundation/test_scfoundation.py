"""scFoundation: tokens, vectors, genes and values against the reference run, and checkpoints of other sizes in the official layout."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.read import read
from scrutiny.methods.foundation import scfoundation
from scrutiny.methods.foundation.scfoundation import ScFoundation, UntrainedScFoundation
from scrutiny.nets.scfoundation import SCFOUNDATION_NAMES, ScFoundationConfig, ScFoundationNet
from scrutiny.nets.tokens import Tokens, batch_of, padded
from scrutiny.testing import check_embedder, check_net, check_reconstructor

CELL, DECODER = 1e-5, 1e-4
"""Tolerances of the README of the reference run."""


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    return shared / "parity" / "scfoundation"


@pytest.fixture(scope="module")
def expected(folder):
    with np.load(folder / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def cells(folder) -> Dataset:
    return read(folder / "cells.h5ad")


@pytest.fixture(scope="module")
def make(shared, folder):
    gene_list = shared / "reference-data" / "scfoundation" / "OS_scRNA_gene_index.19264.tsv"
    return lambda **options: ScFoundation(str(folder), gene_list=str(gene_list), device="cpu", **options)


# Against the reference run ----------------------------------------------------------------------------------------------------------


def test_tokens(make, cells, expected):
    (tokens,) = make().token_chunks(cells)
    assert np.array_equal(tokens.lengths, expected["lengths"])
    assert np.array_equal(padded(tokens, "ids", fill=19266), expected["gene_ids"])
    assert np.allclose(padded(tokens, "values", fill=103), expected["values_t4"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cell_all_t4", {}),
        ("cell_all_f2", {"tgthighres": "f2"}),
        ("cell_all_a1", {"tgthighres": "a1"}),
        ("cell_max_t4", {"pooling": "max"}),
        ("rde_all_t4", {"key": "rde"}),
        ("bulk_all", {"input": "bulk", "compat": "official"}),
    ],
)
def test_vectors_of_cells(make, cells, expected, name, options):
    found = make(**options).fit(cells, seed=0).embed(cells)
    assert np.array_equal(found.cell_ids, cells.cell_ids)
    assert np.allclose(found.values, expected[name], atol=CELL, rtol=0)


def test_what_enters_and_leaves_the_encoder(make, cells, expected):
    model = make()
    (tokens,) = model.token_chunks(cells)
    batch = batch_of(tokens.take([int(expected["hidden_cell"])]))
    assert np.allclose(model.net.embed_tokens(batch), expected["token_plus_pos"], atol=CELL, rtol=0)
    assert np.allclose(model.net(batch), expected["encoder_hidden"], atol=CELL, rtol=0)


def test_values_as_mixtures_of_bins_and_what_stands_for_mask_and_padding(make, expected):
    embedding, values = make().net.values, torch.from_numpy(expected["value_emb_in"])
    assert np.allclose(embedding(values), expected["value_emb"], atol=CELL, rtol=0)
    assert np.allclose(embedding.weights(values[:5]), expected["value_bin_weights"], atol=CELL, rtol=0)


@pytest.mark.parametrize(("name", "compat"), [("gene_emb", "alone"), ("gene_batch_emb", "official")])
def test_vectors_of_genes_alone_and_as_coupled_by_a_batch(make, cells, expected, name, compat):
    some = cells.take(expected["gene_cells"])
    found = np.empty((4, 19264, 12), np.float32)
    for rows, values in make(compat=compat).fit(some, seed=0).gene_states(some):
        found[rows] = values
    assert np.allclose(found[:, expected["gene_positions"]], expected[name], atol=DECODER, rtol=0)


def test_a_vector_a_gene_is_the_mean_over_the_cells(make, cells, expected):
    model, some = make(), cells.take(expected["gene_cells"])
    found, words = model.embed_genes(some), model.match(some).words
    both, place, known = np.intersect1d(expected["gene_positions"], words, return_indices=True)
    assert len(both) > 200
    assert np.allclose(found.values[known], expected["gene_emb"][:, place].mean(axis=0), atol=DECODER, rtol=0)
    assert np.array_equal(found.gene_ids, model.files.vocabulary.names[words])


def test_values_of_all_known_genes(make, cells, expected):
    some = cells.take(expected["gene_cells"][1:3])
    model = make()
    found, words = model.reconstruct(some, zeros="all"), model.match(some).words
    assert found.quantity == "log count" and not found.hidden.any()
    assert np.allclose(found.predicted.reshape(2, -1), expected["gene_expression"][:, words], atol=DECODER, rtol=0)
    shown = np.isin(expected["gene_ids"][expected["gene_cells"][1]], words)
    assert found.true.reshape(2, -1)[0].sum() == pytest.approx(expected["values_t4"][expected["gene_cells"][1]][shown].sum(), rel=1e-5)


# Checkpoints of another size --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    n_genes: int = 150
    width: int = 24
    depth: int = 3
    heads: int = 2
    decoder_width: int = 10
    decoder_depth: int = 1
    decoder_heads: int = 2
    head_width: int = 6
    bins: int = 20

    @property
    def fields(self) -> dict:
        """The config as the official checkpoint holds it."""
        encoder = {"hidden_dim": self.width, "depth": self.depth, "heads": self.heads, "dim_head": 64, "module_type": "transformer"}
        decoder = {"hidden_dim": self.decoder_width, "depth": self.decoder_depth, "heads": self.decoder_heads, "dim_head": self.head_width}
        model = {"encoder": encoder, "decoder": {**decoder, "module_type": "performer"}, "n_class": 104, "mask_token_id": 102}
        model |= {"pad_token_id": 103, "bin_num": self.bins, "bin_alpha": 0.5, "model": "mae_autobin"}
        data = {"seq_len": self.n_genes + 2, "gene_num": self.n_genes + 2, "mask_ignore_token_ids": [0], "rawcount": True}
        return {"model": "mae_autobin", "model_config": {"mae_autobin": model}, "dataset_config": {"rnaseq": data}}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Official names, without the prefix, and shapes."""
        d, small, inner, bins = self.width, self.decoder_width, self.decoder_heads * self.head_width, self.bins
        found = {f"token_emb.{name}.weight": shape for name, shape in (("mlp", (bins, 1)), ("mlp2", (bins, bins)), ("emb", (bins, d)))}
        found |= {"token_emb.mlp.bias": (bins,), "token_emb.mlp2.bias": (bins,), "pos_emb.weight": (self.n_genes + 3, d)}
        found |= {"token_emb.emb_mask.weight": (1, d), "token_emb.emb_pad.weight": (1, d)}
        found |= linear("decoder_embed", small, d) | linear("to_final", 1, small) | norm("norm", small)
        found |= norm("encoder.norm", d) | norm("decoder.norm", small) | {"decoder.performer.calls_since_last_redraw": ()}
        for i in range(self.depth):
            layer = f"encoder.transformer_encoder.{i}"
            found |= {f"{layer}.self_attn.in_proj_weight": (3 * d, d), f"{layer}.self_attn.in_proj_bias": (3 * d,)}
            found |= linear(f"{layer}.self_attn.out_proj", d, d) | norm(f"{layer}.norm1", d) | norm(f"{layer}.norm2", d)
            found |= linear(f"{layer}.linear1", 4 * d, d) | linear(f"{layer}.linear2", d, 4 * d)
        for i in range(self.decoder_depth):
            layer = f"decoder.performer.net.layers.{i}"
            n_features = int(self.head_width * math.log(self.head_width))
            found |= {f"{layer}.0.fn.fast_attention.projection_matrix": (n_features, self.head_width)}
            found |= norm(f"{layer}.0.norm", small) | norm(f"{layer}.1.norm", small) | linear(f"{layer}.0.fn.to_out", small, inner)
            found |= {name: shape for part in "qkv" for name, shape in linear(f"{layer}.0.fn.to_{part}", inner, small).items()}
            found |= linear(f"{layer}.1.fn.fn.w1", 4 * small, small) | linear(f"{layer}.1.fn.fn.w2", small, 4 * small)
        return found

    def tensors(self, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        made = {name: torch.randn(shape, generator=generator) * (2 if "to_k" in name else 0.3) for name, shape in self.shapes.items()}
        return made | {"decoder.performer.calls_since_last_redraw": torch.tensor(7)}

    def save(self, folder: Path, genes: list[str]) -> Path:
        """models.ckpt in ``folder``, the gene list at the top of the repository, as the authors have it."""
        folder.mkdir(parents=True, exist_ok=True)
        states = {key: prefixed(self.tensors(seed)) for seed, key in enumerate(("cell", "gene", "rde"))}
        entries = {key: {"config": self.fields, "state_dict": state} for key, state in states.items()}
        torch.save(entries, folder / "models.ckpt")
        lines = [f"{gene}\t{place}" for place, gene in enumerate(genes)]
        (folder.parents[1] / scfoundation.GENE_LIST).write_text("\n".join(["gene_name\tindex", *lines]))
        return folder


def linear(name: str, n_out: int, n_in: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def prefixed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"model.{name}": tensor for name, tensor in tensors.items()}


@pytest.fixture
def small(cells) -> Dataset:
    """The fixture's cells on the 200 genes with most counts, with made-up labels and batches."""
    columns = np.sort(np.argsort(-np.asarray(cells.values.sum(axis=0)).ravel(), kind="stable")[:200])
    obs = cells.obs.assign(l=list("abababababa"), b=list("xxyyxxyyxxy"))
    return replace(cells.take_genes(columns), obs=obs, roles={"label": "l", "batch": "b"})


@pytest.fixture
def other(tmp_path, small) -> Path:
    """A checkpoint of other sizes that knows 140 of the 200 genes, in another order, and ten that the cells lack."""
    genes = [*small.genes[np.random.default_rng(0).permutation(200)[:140]], *(f"LACKING{i}" for i in range(10))]
    return Sizes().save(tmp_path / "model" / "models", genes)


def test_contract(other, small):
    check_embedder(lambda: ScFoundation(str(other), device="cpu"), data=small)
    check_reconstructor(lambda: ScFoundation(str(other), device="cpu"), data=small)


def test_contract_of_the_untrained_twin(other, small):
    check_embedder(lambda: UntrainedScFoundation(str(other), device="cpu"), data=small)


def test_contract_of_the_net():
    config = ScFoundationConfig.from_fields(Sizes(n_genes=12).fields, "an example")
    ids = [[1, 4, 12, 13], [0, 1, 2, 3, 11, 12, 13], [12, 13]]
    values = np.array([1, 2, 4, 3.1, 0.3, 0.6, 102, 5, 103, 4, 4, 4, 2.2], np.float32)
    masked = np.zeros((3, 12), bool)
    masked[0, 7] = True
    tokens = Tokens(np.array([4, 7, 2]), {"ids": np.concatenate(ids), "values": values}, {"masked": masked})

    def compute(net, batch):
        states = net.decode(net(batch), batch)
        return torch.cat([net.expression(states), states.flatten(1)], dim=1)

    check_net(
        lambda: ScFoundationNet(config), tokens=tokens, tensors=Sizes(n_genes=12).tensors(), names=SCFOUNDATION_NAMES, compute=compute
    )


def test_default_weights_are_those_of_cells_for_cells_and_of_genes_for_genes(other, small):
    auto, cell, gene = (ScFoundation(str(other), key=key, device="cpu").fit(small, seed=0) for key in ("auto", "cell", "gene"))
    assert np.array_equal(auto.embed(small).values, cell.embed(small).values)
    assert np.array_equal(auto.embed_genes(small).values, gene.embed_genes(small).values)
    assert not np.allclose(auto.embed(small).values, gene.embed(small).values, atol=0.01)


def test_untrained_twins_follow_the_seed_also_for_genes(other, small):
    vectors = [UntrainedScFoundation(str(other), device="cpu").fit(small, seed=seed).embed_genes(small).values for seed in (0, 0, 1)]
    assert np.array_equal(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2], atol=0.01)
    twin = METHODS.get("control/untrained_scfoundation")
    assert twin is UntrainedScFoundation and twin.card.twin_of == METHODS.get("scfoundation").card.name


def test_one_batch_of_all_cells_couples_their_genes(other, small):
    alone, (together,) = ([*ScFoundation(str(other), compat=c, device="cpu").gene_states(small)] for c in ("alone", "official"))
    assert [len(part.rows) for part in alone] == [1] * small.n_cells
    by_row = np.concatenate([part.values for part in sorted(alone, key=lambda part: int(part.rows[0]))])
    off = np.abs(by_row - together.values).max(axis=(1, 2))
    assert (off < 1e-5).any() and (off > 1e-3).any()  # the cell with the largest keys is as it is alone


def test_hidden_genes_are_not_shown(other, small):
    """Were the values of the hidden genes exchanged, the prediction would be the same: nothing of them but their sum is seen."""
    model = ScFoundation(str(other), device="cpu")
    found = model.reconstruct(small, hide=0.5, zeros="all")
    n = len(found.gene_ids)
    hidden, true = found.hidden.reshape(-1, n), found.true.reshape(-1, n)
    for kind in (true > 0, true == 0):
        assert np.array_equal((hidden & kind).sum(axis=1), [round(0.5 * k) for k in kind.sum(axis=1)])
    dense = small.values.toarray()
    columns = np.flatnonzero(np.isin(small.genes, found.gene_ids[hidden[0] & (true[0] > 0)]))
    dense[0, columns] = dense[0, np.roll(columns, 1)]
    exchanged = from_arrays(small.name, dense, small.obs, small.genes, organism="human")
    again = model.reconstruct(exchanged, hide=0.5, zeros="all")
    assert not np.array_equal(again.true, found.true)
    assert np.allclose(again.predicted, found.predicted, atol=1e-5)


# Read depth -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(small) -> dict[str, np.ndarray]:
    """Three times the counts of each cell, and every gene of it."""
    rows, columns = np.indices((small.n_cells, small.n_genes)).reshape(2, -1)
    return {"totals": 3.0 * np.asarray(small.values.sum(axis=1)).ravel(), "rows": rows, "columns": columns}


def test_what_deeper_sequencing_would_show_is_asked_of_the_third_set_of_weights(other, small, asked):
    """As `reconstruct` with the weights for read depth, T telling three times S, in shares of all counts instead of the known ones."""
    model = ScFoundation(str(other), device="cpu").fit(small, seed=0)
    found = model.deepen(small, **asked).aligned_to(small.cell_ids)
    assert found.quantity == "log count" and found.hidden.all()
    known = np.isin(found.gene_ids, model.match(small).gene_ids)
    assert len(found.rows) == small.n_cells * 140 and np.array_equal(np.unique(found.columns), np.flatnonzero(known))
    plain = ScFoundation(str(other), key="rde", tgthighres="f3", device="cpu").fit(small, seed=0).reconstruct(small, zeros="all")
    order = np.argsort(small.var.index.get_indexer(plain.gene_ids))
    values = plain.aligned_to(small.cell_ids).predicted.reshape(small.n_cells, 140)[:, order]
    dense = small.values.toarray()
    share = dense[:, known].sum(axis=1) / dense.sum(axis=1)
    expected = np.log1p(np.expm1(np.clip(values, 0, np.log1p(1e4))) * share[:, None])
    assert np.allclose(found.predicted, expected.ravel(), atol=1e-4)
    assert (found.predicted > 0).any()


def test_tokens_tell_the_depth_that_is_there_and_the_one_that_is_asked_for(other, small, asked, monkeypatch):
    model, seen = ScFoundation(str(other), device="cpu").fit(small, seed=0), []
    run = ScFoundation._run
    monkeypatch.setattr(ScFoundation, "_run", lambda self, chunks, compute: run(self, seen.extend(chunks) or seen, compute))
    model.deepen(small, **asked)
    (tokens,), config = seen, model.files.config
    known = small.values.toarray()[:, np.isin(small.genes, model.match(small).gene_ids)].sum(axis=1)
    depths = [tokens.columns["values"][tokens.columns["ids"] == token] for token in (config.source, config.target)]
    assert np.allclose(depths, [np.log10(np.where(n > 0, n, 1)) for n in (known, 3 * known)], atol=1e-5)  # of a cell without counts: 0


def test_one_set_of_weights_serves_all_outputs_where_there_is_one(other, small, asked):
    entries = torch.load(other / "models.ckpt", weights_only=True)
    torch.save({scfoundation.ALL: entries["rde"]}, other / "models.ckpt")
    model = ScFoundation(str(other), device="cpu").fit(small, seed=0)
    assert model.of_depth is model and model.deepen(small, **asked).n_cells == small.n_cells


def test_bulk_samples_have_no_depth_to_ask_for(other, small, asked):
    with pytest.raises(NotApplicable, match="single cells"):
        ScFoundation(str(other), input="bulk", device="cpu").fit(small, seed=0).deepen(small, **asked)


def test_bulk_samples_alone_are_not_brought_to_the_depth_of_others(other, small):
    one = small.take(np.array([2]))
    vectors = [ScFoundation(str(other), input="bulk", compat=compat, device="cpu").embed(one).values for compat in ("alone", "official")]
    assert np.allclose(*vectors, atol=1e-5)  # the median of one sample is its own total
    others = ScFoundation(str(other), input="bulk", compat="official", device="cpu").embed(small).values[[2]]
    assert not np.allclose(others, vectors[0], atol=1e-3)


def test_an_earlier_layer(other, small):
    assert not np.allclose(*(ScFoundation(str(other), layer=n, device="cpu").embed(small).values for n in (0, -1)), atol=0.01)
    with pytest.raises(InputError, match="to -3"):
        ScFoundation(str(other), layer=-4, device="cpu").embed(small)


# What can be wrong ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"tgthighres": "x4"}, {"tgthighres": "f0"}, {"tgthighres": "t"}, {"key": "all"}, {"input": "tissue"}])
def test_odd_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ScFoundation(**options)


def test_the_gene_list_is_found_named_or_asked_for(other, small, tmp_path, monkeypatch):
    above = tmp_path / scfoundation.GENE_LIST
    keys = [ScFoundation(str(other), device="cpu").weights_key]
    keys.append(ScFoundation(str(other), gene_list=shutil.copy(above, tmp_path / "model"), device="cpu").weights_key)
    shutil.copy(above, other)
    keys.append(ScFoundation(str(other), device="cpu").weights_key)
    assert len(set(keys)) == 1  # the same list wherever it lies
    for place in (above, tmp_path / "model" / above.name, other / above.name):
        place.unlink()
    asked = []

    def offline(remote, folder, *, otherwise):
        asked.append((remote, folder, otherwise))
        raise InputError(otherwise)

    monkeypatch.setattr(scfoundation, "download", offline)
    with pytest.raises(InputError, match="option gene_list"):
        ScFoundation(str(other), device="cpu").embed(small)
    ((remote, folder, _),) = asked
    assert remote.name == above.name and remote.checksum.startswith("sha256:bb337ea1") and folder.name == "scfoundation-100m"


@pytest.mark.parametrize(
    ("content", "message"), [(b"gene_name\tindex\nA1BG\t0\n", "expected 150"), (b"", "no table"), (b"\xff", "no table")]
)
def test_an_odd_gene_list_is_refused(other, small, tmp_path, content, message):
    (tmp_path / "odd.tsv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        ScFoundation(str(other), gene_list=str(tmp_path / "odd.tsv"), device="cpu").embed(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("cell"), "no 'cell'"),
        (lambda entries: entries["cell"]["config"].pop("dataset_config"), "dataset_config"),
        (lambda entries: entries["cell"]["config"]["dataset_config"]["rnaseq"].update(seq_len=10**12), "seq_len"),
        (lambda entries: entries["cell"]["config"]["model_config"]["mae_autobin"]["encoder"].update(depth=10**9), "depth"),
        (lambda entries: entries["cell"]["config"]["model_config"]["mae_autobin"]["encoder"].update(norm_first=True), "norm_first"),
        (lambda entries: entries["cell"]["config"]["model_config"]["mae_autobin"].update(decoder=["performer"]), "odd kind"),
        (lambda entries: entries["cell"]["state_dict"].pop("model.to_final.weight"), "head.weight"),
        (lambda entries: entries["cell"]["state_dict"].update({"model.note": "text"}), "model.note"),
        (lambda entries: entries["cell"]["state_dict"].update({"model.new": torch.zeros(1)}), "left over"),
    ],
)
def test_odd_checkpoints_are_refused_by_name(other, small, change, message):
    entries = torch.load(other / "models.ckpt", weights_only=True)
    change(entries)
    torch.save(entries, other / "models.ckpt")
    with pytest.raises(InputError, match=message):
        ScFoundation(str(other), device="cpu").fit(small, seed=0)
