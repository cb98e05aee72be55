"""Nicheformer against the reference implementation, against `torch.nn.TransformerEncoder`, and in other layouts than the fixture's."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from bert_layouts import GENES, cells, labelled, some_cells  # noqa: E402

from scrutiny.core.errors import InputError, NotApplicable  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
from scrutiny.methods.foundation.draws import hidden  # noqa: E402
from scrutiny.methods.foundation.nicheformer import Nicheformer, UntrainedNicheformer, gene_order  # noqa: E402
from scrutiny.nets.nicheformer import FIRST_GENE, MASK, PAD, NicheformerNet  # noqa: E402
from scrutiny.nets.tokens import Tokens, batch_of, padded  # noqa: E402
from scrutiny.testing import check_embedder, check_net, check_reconstructor  # noqa: E402

TOLERANCE = 1e-5
"""As the README of the fixture suggests; log-probabilities, which are sums over the vocabulary, twice as much."""


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "parity" / "nicheformer"


@pytest.fixture(scope="module")
def expected(folder):
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder):
    return read(folder / "cells.h5ad")


@pytest.fixture(scope="module")
def model(folder, data):
    return made(folder).fit(data, seed=0)


def made(folder, method=Nicheformer, **options):
    return method(str(folder), device="cpu", **options)


def batch(ids):
    """Cells from ids as the reference has them, (n_cells, n_positions)."""
    ids = np.asarray(ids, dtype=np.int64)
    return batch_of(Tokens(np.full(len(ids), ids.shape[1]), {"ids": ids.ravel()}, {"n_real": (ids != PAD).sum(1)}))


def genes_of(model, data, longest):
    matched = model.match(data)
    return model.genes(next(matched.counts(data)).known, matched.words, longest)


# The fixture ---------------------------------------------------------------------------------------------------------------------


def test_means_are_cleaned_as_in_the_notebooks(model, expected):
    assert np.array_equal(model.files.means, expected["clean_mean"])


def test_genes_are_ranked_to_the_last_tie(model, data, expected):
    """Half of all neighbours have equal values: the official order of these is that of numba's sort, which is used here too."""
    tokens = genes_of(model, data, 512)
    assert np.array_equal(tokens.lengths, expected["lengths"])
    assert np.array_equal(padded(tokens), expected["tokens"])
    assert np.allclose(padded(tokens, "values"), expected["rank_values"], rtol=1e-6, atol=0)


def test_the_input_of_the_net(model, data, expected):
    tokens = next(model.token_chunks(data))
    assert set(tokens.lengths) == {512}
    assert np.array_equal(tokens.columns["ids"].reshape(-1, 512), expected["model_input"])
    assert np.array_equal(tokens.cells["n_real"], (expected["model_input"] != PAD).sum(1))


def test_official_compat_takes_the_means_with_their_nan(folder, data, expected):
    official = made(folder, compat="official")
    assert np.array_equal(padded(genes_of(official, data, 512)), expected["tokens_raw_nan_mean"])
    tokens = next(official.token_chunks(data)).columns["ids"].reshape(-1, 512)
    wanted = np.hstack([np.tile([5, 11, 3], (20, 1)), expected["tokens_raw_nan_mean"]])[:, :512]
    assert np.array_equal(tokens, np.where(wanted == 0, PAD, wanted))


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "cell_emb_layerm1"), ({"layer": 1}, "cell_emb_layerm1"), ({"layer": 0}, "cell_emb_layer0"), ({"layer": -2}, "cell_emb_layer0")]
    + [({"with_context": True}, "cell_emb_with_context")],
)
def test_embeddings_from_the_counts(folder, data, expected, options, name):
    found = made(folder, **options).fit(data, seed=0).embed(data).aligned_to(data.cell_ids).values
    np.testing.assert_allclose(found, expected[name], rtol=0, atol=TOLERANCE)


def test_hidden_states_and_head(model, expected):
    states = model.net(batch(expected["model_input"][[expected["hidden_cell"]]]))
    np.testing.assert_allclose(states.numpy(), expected["hidden_states"], rtol=0, atol=TOLERANCE)
    logits = model.net.logits(states[expected["mlm_positions"]])
    np.testing.assert_allclose(logits.numpy(), expected["mlm_prediction"], rtol=0, atol=TOLERANCE)


def test_masked_genes(model, expected):
    ids, places = expected["model_input"][[expected["hidden_cell"]]].astype(np.int64), expected["mask_positions"]
    true = torch.from_numpy(ids[0, places])
    ids[0, places] = MASK
    found = model.net.logits(model.net(batch(ids))[places]).log_softmax(1).gather(1, true[:, None])[:, 0]
    np.testing.assert_allclose(found.numpy(), expected["mask_true_logprob"], rtol=0, atol=2 * TOLERANCE)


# The verbs -----------------------------------------------------------------------------------------------------------------------


def test_the_contract_of_an_embedder(folder, data):
    check_embedder(lambda: made(folder), data=labelled(data, np.r_[0:6, 17:20]))


def test_the_contract_of_a_method_that_predicts_expression(folder, data):
    check_reconstructor(lambda: made(folder), data=labelled(data, np.r_[0:6]))


def test_reconstruction_is_the_head_at_the_places_of_the_genes(model, data, expected):
    few = data.take(np.array([7, 18, 0]))
    found = model.reconstruct(few, hide=0.25)
    matched = model.match(few)
    ids = FIRST_GENE + matched.words[found.columns]
    true = expected["model_input"][[7, 18, 0]]
    assert np.array_equal(ids, true[true >= FIRST_GENE]) and found.quantity == "rank"
    lengths = (true >= FIRST_GENE).sum(1)
    assert np.array_equal(found.hidden, hidden(lengths, 0.25, seed=0, cell_ids=few.cell_ids))
    assert np.bincount(found.rows[found.hidden]).tolist() == [round(0.25 * n) for n in lengths]
    shown = true.astype(np.int64).copy()
    shown[true >= FIRST_GENE] = np.where(found.hidden, MASK, ids)
    logits = model.net.logits(model.net(batch(shown))).view(3, 512, -1).numpy()
    for row, n in enumerate(lengths):
        own = found.rows == row
        chances = np.exp(logits[row, true[row] >= FIRST_GENE][:, ids[own]].astype(np.float64))
        chances /= chances.sum(1, keepdims=True)
        places = (np.arange(n) + 0.5) / n
        assert np.abs(found.predicted[own] - places @ (chances / chances.sum(0))).max() < 1e-5
        np.testing.assert_allclose(found.true[own], places, rtol=1e-6)


def test_genes_have_the_vectors_of_the_token_table(folder, model, data):
    found = model.embed_genes(data)
    table = torch.load(folder / "nicheformer.ckpt", weights_only=True)["state_dict"]["embeddings.weight"].numpy()
    place = {gene: i for i, gene in enumerate(anndata.read_h5ad(folder / "model.h5ad").var_names)}
    ids = data.var["ensembl_id"][found.gene_ids]
    assert len(ids) == 3573 and np.array_equal(found.values, table[[place[gene] + FIRST_GENE for gene in ids]])


def test_the_twin_is_random_and_seeded(folder, data, model):
    few = data.take(np.arange(3))
    first, again, other = (made(folder, UntrainedNicheformer).fit(few, seed=seed).embed(few).values for seed in (0, 0, 1))
    assert np.array_equal(first, again) and np.abs(first - other).max() > 0.1
    assert np.abs(first - model.embed(few).values).max() > 0.1
    assert UntrainedNicheformer.card.twin_of == "nicheformer"


def test_a_cell_without_counts_has_the_vector_of_its_context(model, data):
    empty = cells(np.zeros((2, data.n_genes)), data.var["ensembl_id"].where(data.var["ensembl_id"] != "", data.genes))
    vectors = model.embed(empty).values
    assert np.isfinite(vectors).all() and np.array_equal(vectors[0], vectors[1])


# Other sizes, and an independent net ---------------------------------------------------------------------------------------------


def toy(folder, *, n_genes=150, d=12, heads=3, ff=20, layers=3, context=40, seed=1, **fields):
    """A random checkpoint in the official layout; its layers are those of `torch.nn.TransformerEncoder`, which is returned."""
    torch.manual_seed(seed)
    n_tokens = n_genes + FIRST_GENE
    layer = torch.nn.TransformerEncoderLayer(d, heads, ff, dropout=0.0, batch_first=True, layer_norm_eps=1e-12)
    encoder = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    state |= {f"encoder_layer.{name}": value for name, value in layer.state_dict().items()}
    sizes = {"embeddings.weight": (n_tokens + 5, d), "positional_embedding.weight": (context, d), "classifier_head.weight": (n_tokens, d)}
    sizes |= {"classifier_head.bias": (n_tokens,), "pooler_head.weight": (d, d), "pooler_head.bias": (d,), "cls_head.weight": (164, d)}
    state |= {name: torch.randn(size) for name, size in sizes.items()} | {"cls_head.bias": torch.zeros(164)}
    told = {"dim_model": d, "nheads": heads, "dim_feedforward": ff, "nlayers": layers, "n_tokens": n_tokens, "context_length": context}
    told |= {"specie": True, "assay": True, "modality": True, "learnable_pe": True, "autoregressive": False, "lr": 1e-3, **fields}
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": state, "hyper_parameters": told, "epoch": 1}, folder / "epoch=1-step=265000.ckpt")
    anndata.AnnData(np.zeros((1, n_genes)), var=pd.DataFrame(index=GENES[:n_genes])).write_h5ad(folder / "model.h5ad")
    means = np.linspace(-1, 6, n_genes)
    means[::7] = np.nan
    for technology in ("dissociated", "cosmx"):
        np.save(folder / f"{technology}_mean_script.npy", means if technology == "cosmx" else means[::-1])
    return encoder, state


@pytest.mark.filterwarnings("ignore:.*nested tensors.*")
def test_another_size_agrees_with_torch_s_encoder(tmp_path):
    encoder, state = toy(tmp_path, context=60)
    data = some_cells(5)
    model = made(tmp_path, layer=1).fit(data, seed=0)
    ids = torch.from_numpy(next(model.token_chunks(data)).columns["ids"].reshape(5, 60))
    assert (ids == PAD).any() and (ids[:, :3] == torch.tensor([5, 11, 3])).all()
    x = state["embeddings.weight"][ids] + state["positional_embedding.weight"]
    with torch.no_grad():
        for layer in encoder.layers[:2]:
            x = layer(x, src_key_padding_mask=ids == PAD)
    assert np.abs(model.embed(data).values - x[:, 3:].mean(1).numpy()).max() < TOLERANCE


def test_the_contract_of_a_net(tmp_path):
    toy(tmp_path)
    model = made(tmp_path)
    config = model.files.config
    lengths = np.array([9, 4, 12])
    ids = np.random.default_rng(0).integers(FIRST_GENE, 180, lengths.sum())
    tokens = Tokens(lengths, {"ids": ids}, {"n_real": np.array([5, 4, 7])})
    check_net(
        lambda: NicheformerNet(config),
        tokens=tokens,
        tensors=model.tensors(model.folder),
        names=model.names,
        compute=lambda net, batch: torch.cat([net(batch), net.logits(net(batch))], dim=1),
    )


@pytest.mark.parametrize(
    ("options", "context", "technology"),
    [
        ({}, [5, 11, 3], "dissociated"),
        ({"assay": "10x 5' v2"}, [5, 10, 3], "dissociated"),
        ({"assay": "CosMx"}, [5, 8, 4], "cosmx"),
        ({"assay": 8, "modality": "dissociated", "specie": "mouse", "technology": "dissociated"}, [6, 8, 3], "dissociated"),
    ],
)
def test_context_tokens_and_means_follow_the_assay(tmp_path, options, context, technology):
    toy(tmp_path)
    model = made(tmp_path, **options)
    assert next(model.token_chunks(some_cells(1))).columns["ids"][:3].tolist() == context
    assert model.technology == technology


def test_a_model_without_context_tokens_gets_none(tmp_path):
    toy(tmp_path, specie=False, modality=False)
    assert next(made(tmp_path).token_chunks(some_cells(1))).columns["ids"][0] == 11


def test_mouse_cells_are_told_as_such_and_unknown_ones_are_refused(tmp_path):
    toy(tmp_path)
    data = some_cells(2)
    with pytest.raises(NotApplicable, match="it is 'unknown' here, expected human or mouse"):
        made(tmp_path).fit(data, seed=0).embed(replace(data, organism="unknown"))
    pairs, table = tmp_path / "pairs.tsv", tmp_path / "human.tsv"
    pairs.write_text("human_symbol\tmouse_symbol\n" + "".join(f"HUM{i}\tMus{i}\n" for i in range(150)))
    table.write_text("ensembl_id\tsymbol\n" + "".join(f"{gene}\tHUM{i}\n" for i, gene in enumerate(GENES)))
    mouse = replace(cells(data.values, [f"Mus{i}" for i in range(150)]), organism="mouse")
    human, mice = made(tmp_path), made(tmp_path, genes=str(table), orthologues=str(pairs))
    ids, own = (next(m.token_chunks(d)).columns["ids"].reshape(2, -1) for m, d in ((human, data), (mice, mouse)))
    assert (own[:, 0] == 6).all() and np.array_equal(ids[:, 1:], own[:, 1:])


def test_the_order_of_genes_may_be_a_list(tmp_path):
    toy(tmp_path)
    wanted = gene_order(tmp_path / "model.h5ad")
    (tmp_path / "model.json").write_text(json.dumps(GENES))
    (tmp_path / "model.txt").write_text("\n".join(GENES))
    assert list(wanted) == list(gene_order(tmp_path / "model.json")) == list(gene_order(tmp_path / "model.txt")) == GENES
    (tmp_path / "model.h5ad").unlink()
    assert next(made(tmp_path).token_chunks(some_cells(1))).lengths == [40]


def test_odd_files_are_refused(tmp_path):
    data = some_cells(1)
    toy(tmp_path)
    with pytest.raises(InputError, match="has no file merfish_mean_script.npy"):
        made(tmp_path, assay="merfish").check_applies(data)
    with pytest.raises(InputError, match="layer is 3; .* has 3"):
        made(tmp_path, layer=3).check_applies(data)
    np.save(tmp_path / "dissociated_mean_script.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="is no array of numbers"):
        made(tmp_path).check_applies(data)
    np.save(tmp_path / "dissociated_mean_script.npy", np.ones(149))
    with pytest.raises(InputError, match="the mean of each of 150 genes"):
        made(tmp_path).check_applies(data)
    (tmp_path / "model.h5ad").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no list of genes"):
        made(tmp_path).check_applies(data)
    (tmp_path / "model.h5ad").unlink()
    (tmp_path / "model.json").write_text(json.dumps(GENES[:-1]))
    with pytest.raises(InputError, match=r"has 149 genes; .* asks for 150"):
        made(tmp_path).check_applies(data)
    toy(tmp_path, autoregressive=True)
    with pytest.raises(InputError, match="attends to the left only"):
        made(tmp_path).check_applies(data)


@pytest.mark.parametrize("options", [{"assay": "10x 3' v4"}, {"assay": 30}, {"modality": "liquid"}, {"specie": "rat"}])
def test_odd_options_are_refused(options):
    with pytest.raises(InputError, match="expected one of"):
        Nicheformer(**options)
