"""GeneCompass against the reference implementation, and in other layouts than the fixture's."""

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bert_layouts import GENES, cells, labelled, some_cells, toy_config, toy_tensors  # noqa: E402

from scrutiny.core.errors import InputError, NotApplicable  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
from scrutiny.methods.foundation.draws import hidden  # noqa: E402
from scrutiny.methods.foundation.genecompass import Genecompass, UntrainedGenecompass, with_species  # noqa: E402
from scrutiny.nets.genecompass import MASK, MASKED_VALUE, PRIORS, GenecompassNet  # noqa: E402
from scrutiny.nets.tokens import Tokens, batch_of, padded  # noqa: E402
from scrutiny.testing import check_embedder, check_net, check_reconstructor  # noqa: E402

TOLERANCE = 2e-5
"""As the README of the fixture suggests."""
MICE = [f"ENSMUSG{i:011d}" for i in range(150)]


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "parity" / "genecompass"


@pytest.fixture(scope="module")
def expected(folder):
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder):
    return read(folder / "cells.h5ad")


@pytest.fixture(scope="module")
def model(folder, data):
    return made(folder).fit(data, seed=0)


def made(folder, method=Genecompass, **options):
    return method(str(folder), device="cpu", **options)


def batch(ids, values, lengths, species):
    """Cells from padded ids and values as the reference has them, and a species each."""
    is_real = np.arange(ids.shape[1]) < np.asarray(lengths)[:, None]
    genes = Tokens(np.asarray(lengths, np.int64), {"ids": ids[is_real].astype(np.int64), "values": values[is_real].astype(np.float32)})
    return batch_of(replace(with_species(genes, 0), cells={"species": np.asarray(species, np.int64)}))


@pytest.fixture(scope="module")
def stored(expected):
    """The stored ids and values of all cells."""
    return batch(expected["input_ids"], expected["values"], expected["lengths"], np.zeros(16))


def genes(model, data):
    """Ids and values (n_cells, longest) of the genes of each cell, without the species."""
    tokens = next(model.token_chunks(data))
    return padded(tokens)[:, 1:], padded(tokens, "values")[:, 1:], tokens.lengths - 1


# The fixture ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compat", ["alone", "official"])
def test_tokens_and_values_up_to_the_order_of_equal_values(folder, data, expected, compat):
    """The reference leaves that order to numpy's unstable sort, whose order differs from processor to processor."""
    ids, values, lengths = genes(made(folder, compat=compat), data)
    assert np.array_equal(lengths, expected["lengths"])
    assert np.array_equal(values, expected["values"])
    for cell, n in enumerate(lengths):
        place = {token: at for at, token in enumerate(ids[cell, :n])}
        there = np.array([place[token] for token in expected["input_ids"][cell, :n]])
        assert np.array_equal(np.sort(there), np.arange(n))
        assert np.array_equal(values[cell][there], expected["values"][cell, :n])


def test_official_compat_leaves_equal_values_to_numpy_s_sort_of_the_genes_in_file_order(folder, data, expected):
    """Where numpy sorts as it did for the reference (processors with AVX-512), these are the stored ids themselves."""
    official = made(folder, compat="official")
    ids, _, lengths = genes(official, data)
    tokens = pickle.loads((folder / "tokens.pickle").read_bytes())
    of_column = np.array([tokens[gene] for gene in data.var["ensembl_id"].iloc[expected["gene_columns"]]])
    medians = pickle.loads((folder / "gene_median.pickle").read_bytes())
    median = np.array([medians.get(gene, 1.0) for gene in data.var["ensembl_id"].iloc[expected["gene_columns"]]])
    counts = data.values[:, expected["gene_columns"]].toarray()
    for cell, n in enumerate(lengths):
        there = np.flatnonzero(counts[cell])
        values = np.log2(1 + counts[cell, there] / median[there]).astype(np.float32)
        assert np.array_equal(ids[cell, :n], of_column[there[np.argsort(-values.astype(np.float64))]])


def test_genes_have_tokens_whether_or_not_they_have_a_median(model, data, expected):
    matched = model.match(data)
    assert np.array_equal(np.sort(data.var.index.get_indexer(matched.gene_ids)), expected["gene_columns"])
    assert (model.files.medians[matched.words] == 1).mean() > 0.05


@pytest.mark.parametrize(("pooling", "name"), [("cls", "cls_output"), ("mean", "mean_output")])
def test_embeddings_of_the_stored_tokens(folder, data, expected, stored, pooling, name):
    found = made(folder, pooling=pooling).fit(data, seed=0).embed_batch(stored)
    np.testing.assert_allclose(found.numpy(), expected[name], rtol=0, atol=TOLERANCE)


def test_token_embeddings_and_hidden_states(model, expected, stored):
    cell = int(expected["hidden_cell"])
    begin = int(stored.start[cell])
    embedded = model.net.embed_tokens(stored)[begin + 1 : begin + 201]
    np.testing.assert_allclose(embedded.numpy(), expected["embedding_output"], rtol=0, atol=TOLERANCE)
    states = model.net(stored)[begin : begin + 201]
    np.testing.assert_allclose(states.numpy(), expected["hidden_states"], rtol=0, atol=TOLERANCE)


def test_mouse_genes_borrow_the_knowledge_of_their_homologues(model, expected):
    lengths = expected["mouse_attention_mask"].sum(1)
    cells_ = batch(expected["mouse_input_ids"], expected["mouse_values"], lengths, expected["mouse_species"])
    wanted = np.concatenate([states[: n + 1] for states, n in zip(expected["mouse_hidden"], lengths, strict=True)])
    np.testing.assert_allclose(model.net(cells_).numpy(), wanted, rtol=0, atol=TOLERANCE)
    as_human = replace(cells_, cells={"species": torch.zeros(3, dtype=torch.int64)})
    assert np.abs(model.net.embed_tokens(as_human).numpy() - model.net.embed_tokens(cells_).numpy())[1:].max() > 0.01


def test_masked_genes(model, expected):
    cell, places = int(expected["hidden_cell"]), expected["mask_positions"]
    ids, values = expected["input_ids"][[cell]], expected["values"][[cell]]
    true_ids, true_values = torch.from_numpy(ids[0, places].astype(np.int64)), values[0, places]
    ids, values = ids.copy(), values.copy()
    ids[0, places], values[0, places] = MASK, MASKED_VALUE
    states = model.net(batch(ids, values, expected["lengths"][[cell]], [0]))[1 + places.astype(np.int64)]
    log_probability = model.net.logits(states).log_softmax(1).gather(1, true_ids[:, None])[:, 0].numpy()
    predicted = model.net.values(states).numpy()
    np.testing.assert_allclose(log_probability, expected["mask_true_logprob"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(predicted, expected["mask_value_prediction"], rtol=0, atol=TOLERANCE)
    losses = -log_probability.mean(), np.square(predicted - true_values).mean()
    assert np.allclose([*losses, 0.2 * losses[0] + 0.8 * losses[1]], expected["losses"], atol=TOLERANCE)


# The verbs -----------------------------------------------------------------------------------------------------------------------


def test_the_contract_of_an_embedder(folder, data):
    check_embedder(lambda: made(folder), data=labelled(data, np.r_[3:6, 11:16]))


def test_the_contract_of_a_method_that_predicts_expression(folder, data):
    told = {"check_hidden_values_are_not_used": "genes are ranked by their values, so those that are hidden move the places of all"}
    check_reconstructor(lambda: made(folder), data=labelled(data, np.r_[3:6, 11:14]), expected_failures=told)


def test_reconstruction_is_the_head_of_values_at_the_places_of_the_genes(model, data):
    few = data.take(np.array([8, 14]))
    found = model.reconstruct(few, hide=0.25)
    ids, values, lengths = genes(model, few)
    is_real = np.arange(ids.shape[1]) < lengths[:, None]
    tokens = model.files.tokens[model.match(few).words[found.columns]]
    assert np.array_equal(tokens, ids[is_real]) and np.array_equal(found.rows, np.nonzero(is_real)[0])
    assert np.array_equal(found.hidden, hidden(lengths, 0.25, seed=0, cell_ids=few.cell_ids)) and 0.24 < found.hidden.mean() < 0.26
    ids[is_real] = np.where(found.hidden, MASK, ids[is_real])
    shown = values.copy()
    shown[is_real] = np.where(found.hidden, MASKED_VALUE, values[is_real])
    shown_cells = batch(ids, shown, lengths, [0, 0])
    states = model.net(shown_cells)[shown_cells.position > 0]
    assert np.array_equal(found.true, values[is_real]) and found.quantity == "log count"
    np.testing.assert_allclose(found.predicted, model.net.values(states).numpy(), rtol=0, atol=TOLERANCE)


def test_genes_have_the_vectors_of_the_token_table(folder, model, data):
    found = model.embed_genes(data)
    table = torch.load(folder / "pytorch_model.bin", weights_only=True)["bert.embeddings.word_embeddings.weight"].numpy()
    tokens = pickle.loads((folder / "tokens.pickle").read_bytes())
    assert np.array_equal(found.values, table[[tokens[gene] for gene in data.var["ensembl_id"][found.gene_ids]]])


def test_the_twin_has_random_weights_and_the_same_knowledge(folder, data, model):
    few = data.take(np.arange(11, 15))
    twins = [made(folder, UntrainedGenecompass).fit(few, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (twin.embed(few).values for twin in twins)
    assert np.array_equal(first, again) and np.abs(first - other).max() > 0.1
    assert np.abs(first - model.embed(few).values).max() > 0.1
    for name, table in model.net.named_buffers():
        assert torch.equal(table, twins[0].net.get_buffer(name))


# Other sizes and files -----------------------------------------------------------------------------------------------------------


def toy(folder, *, width=7, n_layers=3, names=("tokens", "gene_median"), **changed):
    """A random checkpoint in the official layout: 150 human genes, 150 mouse genes, homologues in reversed order."""
    n_words = 2 + len(GENES) + len(MICE)
    switches = {f"use_{part}": True for part in ("values", "cls_token", *PRIORS)}
    config = toy_config(n_words, hidden_act="gelu", num_hidden_layers=n_layers, hidden_size=9, **switches)
    tensors = toy_tensors({name: value for name, value in config.items() if not name.startswith("use_")})
    random = torch.Generator().manual_seed(3)
    renamed = {f"{'' if name.startswith('cls') else 'bert.'}{name.removeprefix('bert.')}": tensor for name, tensor in tensors.items()}
    table = "bert.embeddings."
    shapes = {f"{table}concat_embeddings.cat_fc.weight": (9, 46), "bert.cls_embedding.weight": (2, 9)}
    shapes |= {f"{table}concat_embeddings.{part}": (9,) for part in ("cat_fc.bias", "cat_ln.weight", "cat_ln.bias", "cat_proj.bias")}
    shapes |= {f"{table}concat_embeddings.cat_proj.weight": (9, 9), "cls4value.predictions.decoder.weight": (1, 9)}
    shapes |= {f"cls4value.predictions.transform.{part}": (9,) for part in ("dense.bias", "LayerNorm.weight", "LayerNorm.bias")}
    shapes |= {"cls4value.predictions.transform.dense.weight": (9, 9), "cls4value.predictions.decoder.bias": (1,)}
    for name in PRIORS:
        shapes |= {f"{table}{name}_knowledge": (n_words, width), f"{table}{name}_embeddings.linear1.weight": (9, width)}
        shapes |= {f"{table}{name}_embeddings.linear1.bias": (9,)}
    renamed |= {name: torch.randn(shape, generator=random) * 0.3 for name, shape in shapes.items()}
    homologous = torch.arange(n_words)
    homologous[2 + len(GENES) :] = torch.arange(1 + len(GENES), 1, -1)
    renamed |= {f"{table}homologous_index": homologous, f"{table}position_ids": torch.arange(64)[None]}
    renamed |= {"cls.predictions.decoder.weight": renamed[f"{table}word_embeddings.weight"]}
    renamed |= {"cls.predictions.decoder.bias": renamed["cls.predictions.bias"]}
    renamed |= {"cls4value.predictions.bias": renamed["cls4value.predictions.decoder.bias"]}
    renamed |= {"emb_warmup.alpha": torch.tensor(1.0), "emb_warmup.steps": torch.tensor(10_000), **changed}
    folder.mkdir(exist_ok=True)
    torch.save(renamed, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    tokens = {word: i for i, word in enumerate(["<pad>", "<mask>", *GENES, *MICE])}
    (folder / f"{names[0]}.pickle").write_bytes(pickle.dumps(tokens))
    medians = {gene: 0.5 + i for i, gene in enumerate([*GENES[:100], *MICE])}
    (folder / f"{names[1]}.pickle").write_bytes(pickle.dumps(medians))
    return renamed


def by_hand(tensors, ids, values, mouse):
    """The embedding of tokens written down from the description, one token after another."""
    own = {name.removeprefix("bert.embeddings."): tensor for name, tensor in tensors.items()}
    rows = []
    for place, (token, value) in enumerate(zip(ids, values, strict=True)):
        known = own["homologous_index"][token] if mouse else token
        parts = [own["word_embeddings.weight"][token], torch.tensor([value])]
        for name in PRIORS:
            linear = own[f"{name}_embeddings.linear1.weight"], own[f"{name}_embeddings.linear1.bias"]
            parts.append(linear[0] @ own[f"{name}_knowledge"][known] + linear[1])
        x = own["concat_embeddings.cat_fc.weight"] @ torch.cat(parts) + own["concat_embeddings.cat_fc.bias"]
        x = torch.nn.functional.layer_norm(x, (9,), own["concat_embeddings.cat_ln.weight"], own["concat_embeddings.cat_ln.bias"])
        x = own["concat_embeddings.cat_proj.weight"] @ (x / (1 + torch.exp(-1.702 * x))) + own["concat_embeddings.cat_proj.bias"]
        x = x + own["token_type_embeddings.weight"][0] + own["position_embeddings.weight"][place]
        rows.append(torch.nn.functional.layer_norm(x, (9,), own["LayerNorm.weight"], own["LayerNorm.bias"], 1e-12))
    return torch.stack(rows)


@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_another_size_embeds_tokens_as_described(tmp_path, organism):
    tensors = toy(tmp_path)
    data = some_cells(3)
    data = data if organism == "human" else replace(cells(data.values, MICE), organism="mouse")
    model = made(tmp_path, layer=-1).fit(data, seed=0)
    tokens = next(model.token_chunks(data))
    assert tokens.cells["species"].tolist() == [int(organism == "mouse")] * 3
    embedded = model.net.embed_tokens(batch_of(tokens))[: tokens.lengths[0]]
    wanted = by_hand(tensors, tokens.of(0)[1:], tokens.of(0, "values")[1:], organism == "mouse")
    assert torch.equal(embedded[0], tensors["bert.cls_embedding.weight"][int(organism == "mouse")])
    assert (embedded[1:] - wanted).abs().max() < TOLERANCE
    states = model.net(batch_of(tokens), 2)[tokens.offsets[:-1]]
    assert np.abs(model.embed(data).values - states.numpy()).max() < TOLERANCE


def test_counts_are_compared_to_their_median_and_cut_to_what_the_model_holds(tmp_path):
    toy(tmp_path)
    data = cells([[3] + [2] * 149, [0, 0, 5] + [0] * 147])
    ids, values, lengths = genes(made(tmp_path), data)
    assert lengths.tolist() == [64, 1]
    assert ids[0, :3].tolist() == [2, 102, 103]  # 3 / 0.5, then those without a median: 2 / 1, which is more than the 2 / 1.5 of token 3
    assert np.allclose(values[0, 0], np.log2(1 + 3 / 0.5))
    assert ids[1, 0] == 4 and np.allclose(values[1, 0], np.log2(1 + 5 / 2.5))


def test_the_official_names_of_the_dictionaries(tmp_path):
    toy(tmp_path / "one")
    toy(tmp_path / "two", names=("human_mouse_tokens", "human_gene_median_after_filter"))
    medians = pickle.loads((tmp_path / "one" / "gene_median.pickle").read_bytes())
    for organism, mark in (("human", "ENSG"), ("mouse", "ENSMUSG")):
        part = {gene: median for gene, median in medians.items() if gene.startswith(mark)}
        (tmp_path / "two" / f"{organism}_gene_median_after_filter.pickle").write_bytes(pickle.dumps(part))
    first, second = (made(tmp_path / name).files for name in ("one", "two"))
    assert np.array_equal(first.medians, second.medians) and np.array_equal(first.tokens, second.tokens)
    shutil.move(tmp_path / "two" / "human_mouse_tokens.pickle", tmp_path / "two" / "h&m_token1000W.pickle")
    assert np.array_equal(first.tokens, made(tmp_path / "two").files.tokens)


def test_the_contract_of_a_net(tmp_path):
    toy(tmp_path)
    model = made(tmp_path)
    config = model.files.config
    lengths = np.array([5, 2, 7])
    random = np.random.default_rng(0)
    columns = {"ids": random.integers(2, 302, 14), "values": random.random(14, dtype=np.float32)}
    check_net(
        lambda: GenecompassNet(config),
        tokens=Tokens(lengths, columns, {"species": np.array([0, 1, 1])}),
        tensors=model.tensors(model.folder),
        names=model.names,
        compute=lambda net, batch: torch.cat([h := net(batch), net.logits(h), net.values(h)[:, None]], dim=1),
    )


def test_the_species_must_be_known(tmp_path):
    toy(tmp_path)
    with pytest.raises(NotApplicable, match="it is 'unknown' here, expected human or mouse"):
        made(tmp_path).embed(replace(some_cells(2), organism="unknown"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"emb_warmup.alpha": torch.tensor(0.5)}, "still being blended in"),
        ({"cls.predictions.decoder.bias": torch.ones(302)}, "should be the same tensor"),
        ({"bert.embeddings.promoter_knowledge": torch.ones(301, 7)}, r"promoter': \(301, 7\).* expected 302 rows"),
        ({"bert.pooled": torch.ones(3)}, "bert.pooled"),
    ],
)
def test_odd_checkpoints_are_refused(tmp_path, changed, message):
    toy(tmp_path, **changed)
    with pytest.raises(InputError, match=message):
        made(tmp_path).fit(some_cells(1), seed=0)


def test_odd_dictionaries_and_configs_are_refused(tmp_path):
    toy(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "use_co_exp": False}))
    with pytest.raises(InputError, match="switches off use_co_exp"):
        made(tmp_path).check_applies(some_cells(1))
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "gene_median.pickle").write_bytes(pickle.dumps({GENES[0]: 0.0}))
    with pytest.raises(InputError, match="medians of 1 genes .* not positive"):
        made(tmp_path).check_applies(some_cells(1))
    (tmp_path / "tokens.pickle").write_bytes(pickle.dumps({gene: i for i, gene in enumerate(GENES)}))
    with pytest.raises(InputError, match="tokens from 2 to 301, each once"):
        made(tmp_path).check_applies(some_cells(1))


@pytest.mark.parametrize("options", [{"layer": 1}, {"pooling": "max"}])
def test_odd_options_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        Genecompass(**options)
