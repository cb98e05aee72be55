"""UCE against the reference implementation (parity fixture) and against stock layers of PyTorch under the official names."""

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.read import read
from scrutiny.methods.foundation.uce import Uce
from scrutiny.methods.foundation.uce_sentences import chances, official_chances
from scrutiny.nets.tokens import Tokens, batch_of, padded
from scrutiny.nets.uce import TABLE, UCE_NAMES, UceConfig, UceNet
from scrutiny.testing import check_embedder, check_net, check_reconstructor

SEED, TOLERANCE = 51, 1e-5
"""As the README of the fixture says."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "uce"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return read(folder / "cells.h5ad", organism="human")


@pytest.fixture(scope="module")
def official(folder: Path, data: Dataset) -> Uce:
    return Uce(str(folder), compat="official").fit(data, seed=SEED)


@pytest.fixture(scope="module")
def tokens(official: Uce, data: Dataset) -> Tokens:
    (found,) = official.token_chunks(data)
    return found


def test_genes_are_those_of_the_reference(official, data, expected):
    matched = official.match(data)
    genes = official.files.species["human"].take(matched.words)
    assert np.array_equal(matched.placed.tocoo().row, expected["gene_columns"])
    assert np.array_equal(genes.tokens, expected["gene_tokens"])
    assert np.array_equal(genes.chromosomes - 7041, expected["gene_chrom_code"])
    assert np.array_equal(genes.starts, expected["gene_start"])


def test_sentences_are_those_of_the_reference(official, tokens, data, expected):
    assert np.array_equal(tokens.lengths, expected["seq_len"])
    assert np.array_equal(padded(tokens), expected["sentences"][:, : tokens.lengths.max()])
    assert not expected["sentences"][:, tokens.lengths.max() :].any()
    opening = [ids[ids >= 7041] - 7041 for ids in map(tokens.of, range(tokens.n_cells))]
    assert all(np.array_equal(found, order[order >= 0]) for found, order in zip(opening, expected["chrom_order"], strict=True))
    drawn = np.sort(expected["gene_tokens"][expected["sampled_gene_index"]], axis=1)
    genes = [np.sort(ids[(ids > 3) & (ids < 7041)]) for ids in map(tokens.of, range(tokens.n_cells))]
    assert np.array_equal(genes, drawn)


def test_chances_are_those_of_the_reference(official, data, expected):
    (counts,) = official.match(data).counts(data)
    first = counts.known[0]
    columns = first.indices.astype(np.int64)
    assert np.array_equal(chances(first.data).astype(np.float32), expected["sampling_p_cell0"][columns])
    rounded = official_chances(columns, first.data, counts.known.shape[1])
    np.testing.assert_allclose(rounded, expected["sampling_p_cell0"], rtol=3e-5)  # Python's sum of 6,800 float32


@pytest.mark.parametrize(("batch_size", "name"), [(25, "cell_emb_float_mask"), (5, "cell_emb_float_mask_batch5")])
def test_vectors_with_the_additive_mask_are_those_of_the_reference(folder, data, expected, batch_size, name):
    found = Uce(str(folder), compat="official", batch_size=batch_size).fit(data, seed=SEED).embed(data)
    np.testing.assert_allclose(found.values, expected[name], atol=TOLERANCE)


class OfficialSentences(Uce):
    """Each cell as if alone, but with the draws of the fixture, whatever the cells that are asked for."""

    def tokens(self, counts, matched, cell_ids, stream=None):
        rows = [self.cells.index(cell) for cell in cell_ids]
        return self.drawn.take(rows)


def test_vectors_of_each_cell_alone_are_those_of_the_reference(folder, data, tokens, expected):
    model = OfficialSentences(str(folder))
    model.cells, model.drawn = list(data.cell_ids), tokens
    found = model.fit(data, seed=0).embed(data).values
    for name in ("cell_emb_alone", "cell_emb_bool_mask"):
        np.testing.assert_allclose(found, expected[name], atol=TOLERANCE)


def test_decoder_outputs_of_all_tokens_are_those_of_the_reference(official, tokens, expected):
    net, cell = official.net, int(expected["gene_output_cell"])
    begin = int(tokens.offsets[cell])
    with torch.inference_mode():
        batch = batch_of(tokens)
        published, alone = (net.decoder(x)[begin : begin + 400].numpy() for x in (net.as_published(batch), net(batch)))
    np.testing.assert_allclose(published, expected["gene_output_float_mask"], atol=TOLERANCE)
    np.testing.assert_allclose(alone, expected["gene_output_bool_mask"], atol=TOLERANCE)


def test_expression_head_and_gene_vectors_are_those_of_the_reference(official, data, expected):
    net, wanted = official.net, torch.from_numpy(expected["binary_tokens"]).long()
    cells = torch.from_numpy(expected["cell_emb_float_mask"])
    with torch.inference_mode():
        vectors = net.gene_encoder(net.token_vectors(wanted))
        raw = net.gene_encoder(net.table[wanted])
        for genes, name in ((vectors, "binary_logits_normalised"), (raw, "binary_logits_raw")):
            np.testing.assert_allclose(net.log_odds(cells, genes).numpy(), expected[name], atol=TOLERANCE)
    np.testing.assert_allclose(vectors.numpy(), expected["gene_embedding_layer"], atol=TOLERANCE)
    found = official.embed_genes(data)
    by_token = dict(zip(expected["gene_tokens"], expected["gene_columns"], strict=True))
    rows = {gene: row for row, gene in enumerate(found.gene_ids)}
    pairs = [(rows[data.genes[by_token[t]]], i) for i, t in enumerate(expected["binary_tokens"]) if t in by_token]
    assert len(pairs) > 20
    mine, theirs = map(list, zip(*pairs))
    np.testing.assert_allclose(found.values[mine], expected["gene_embedding_layer"][theirs], atol=TOLERANCE)


def test_reconstruction_tells_which_genes_each_cell_expresses(official, data, expected):
    found = official.reconstruct(data, zeros="all")
    shape = (data.n_cells, len(expected["gene_columns"]))
    assert found.quantity == "log-odds of being expressed" and not found.hidden.any()
    assert np.array_equal(found.true.reshape(shape), data.values[:, expected["gene_columns"]].toarray() > 0)
    tokens = list(expected["gene_tokens"])
    pairs = [(tokens.index(t), i) for i, t in enumerate(expected["binary_tokens"]) if t in tokens]
    mine, theirs = map(list, zip(*pairs))
    logits = expected["binary_logits_normalised"][:, theirs]
    np.testing.assert_allclose(found.predicted.reshape(shape)[:, mine], logits, atol=TOLERANCE)


def test_hidden_genes_are_not_drawn(folder, data):
    cells = data.take(np.arange(4))
    model = Uce(str(folder)).fit(cells, seed=3)
    seen = []
    model.tokens = lambda counts, matched, ids, stream: seen.append(counts.known) or Uce.tokens(model, counts, matched, ids, stream)
    found = model.reconstruct(cells, hide=0.4, zeros="all")
    n_expressed, gone = np.bincount(found.rows, found.true), found.hidden.reshape(4, -1)
    n_gone = np.bincount(found.rows, found.true * found.hidden)
    assert np.array_equal(n_gone, np.round(0.4 * n_expressed))
    assert not seen[0].toarray()[gone].any() and seen[0].nnz == n_expressed.sum() - n_gone.sum()


def test_it_keeps_the_contract_of_embedders(folder, data):
    few = data.take(np.arange(9))
    cells = replace(few, obs=few.obs.assign(l=np.arange(9) % 3, b=np.arange(9) % 2), roles={"label": "l", "batch": "b"})
    check_embedder(lambda: Uce(str(folder)), data=cells)
    check_reconstructor(lambda: Uce(str(folder)), data=cells.take(np.arange(6)))


def test_the_untrained_twin_follows_its_seed_and_keeps_the_proteins(folder, data):
    cells, twin = data.take(np.arange(3)), METHODS.get("control/untrained_uce")
    models = [twin(str(folder)).fit(cells, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (model.embed(cells).values for model in models)
    trained = Uce(str(folder)).fit(cells, seed=1)
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=0.05)
    assert not np.allclose(first, trained.embed(cells).values, atol=0.05)
    assert torch.equal(models[0].net.table, trained.net.table)
    np.testing.assert_allclose(models[0].net.positions.pe, trained.net.positions.pe, atol=1e-6)


# Other sizes, species and files ------------------------------------------------------------------------------------------------------

GENES = [f"Gene{i}" for i in range(150)]
SPECIES = {"mouse": 4, "zebrafish": 4 + len(GENES) + 2}
N_CHROMOSOMES = 5
N_TOKENS = SPECIES["zebrafish"] + len(GENES) + N_CHROMOSOMES


class Reference(nn.Module):
    """The published architecture of stock layers of PyTorch, batch first, with a free choice of widths."""

    def __init__(self, *, token_dim: int = 7, d: int = 24, heads: int = 4, d_ff: int = 20, layers: int = 3, longest: int = 1100) -> None:
        super().__init__()
        self.pos_encoder = nn.Module()
        place, rate = torch.arange(longest)[:, None], torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        pe = torch.zeros(longest, 1, d)
        pe[:, 0, 0::2], pe[:, 0, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.pos_encoder.register_buffer("pe", pe)
        self.encoder = nn.Sequential(nn.Linear(token_dim, d), nn.GELU(), nn.LayerNorm(d))
        layer = nn.TransformerEncoderLayer(d, heads, d_ff, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.decoder = head(d, 10, 6)
        self.binary_decoder = head(6 + d, 9, 8, 5, 1)
        self.gene_embedding_layer = nn.Sequential(nn.Linear(token_dim, d), nn.GELU(), nn.LayerNorm(d))
        self.pe_embedding = nn.Embedding(N_TOKENS, token_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Sentence (T,) -> vector (D',)."""
        x = self.encoder(F.normalize(self.pe_embedding(ids), dim=1)) * math.sqrt(self.encoder[0].out_features)
        x = self.transformer_encoder((x + self.pos_encoder.pe[: len(ids), 0])[None])[0]
        return F.normalize(self.decoder(x)[0], dim=0)


def head(*widths: int) -> nn.Sequential:
    hidden = (nn.Sequential(nn.Linear(d, e), nn.LayerNorm(e), nn.GELU()) for d, e in zip(widths[:-2], widths[1:-1]))
    return nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))


def reference(**sizes: int) -> Reference:
    net, generator = Reference(**sizes).eval(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.uniform_(0.5, 1.5, generator=generator) if is_scale else parameter.normal_(0, 0.3, generator=generator)
    return net


def save(folder: Path, net: Reference, *, name: str = "33l_toy.torch") -> None:
    """A checkpoint in the official layout, with proteins of mouse; zebrafish has an offset and places, but no file of proteins."""
    torch.save(net.state_dict(), folder / name)
    (folder / "species_offsets.pkl").write_bytes(pickle.dumps(SPECIES))
    (folder / "protein_embeddings").mkdir(exist_ok=True)
    proteins = {gene: torch.zeros(2) for gene in [*GENES[:9], GENES[3].upper(), *GENES[9:]]}  # one symbol is there twice but for its case
    torch.save(proteins, folder / "protein_embeddings" / "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt")
    rows = [(s, g.upper(), f"chr{(i * 7) % (2 if s == 'mouse' else 3)}", (i * 37) % 50) for s in SPECIES for i, g in enumerate(GENES)]
    pd.DataFrame(rows, columns=["species", "gene_symbol", "chromosome", "start"]).to_csv(folder / "species_chrom.csv")


@pytest.fixture
def mice() -> Dataset:
    rng = np.random.default_rng(2)
    counts = rng.poisson(0.7, (5, 160))
    counts[3] = 0
    genes = rng.permutation([*GENES, *(f"Other{i}" for i in range(10))])
    return from_arrays("mice", counts, pd.DataFrame(index=list("abcde")), genes, organism="mouse")


@pytest.mark.parametrize("sizes", [{}, {"d": 12, "layers": 1, "token_dim": 3, "d_ff": 5, "longest": 1536}, {"heads": 2, "d": 10}])
def test_other_sizes_are_read_from_the_tensors(tmp_path, mice, sizes):
    net = reference(**sizes)
    save(tmp_path, net)
    model = Uce(str(tmp_path), n_heads=sizes.get("heads")).fit(mice, seed=1)
    (tokens,) = model.token_chunks(mice)
    with torch.no_grad():
        expected = torch.stack([net(torch.from_numpy(tokens.of(cell))) for cell in range(mice.n_cells)])
    np.testing.assert_allclose(model.embed(mice).values, expected.numpy(), atol=TOLERANCE)


def test_tokens_are_counted_from_the_offset_and_the_end_of_the_table(tmp_path, mice):
    save(tmp_path, reference())
    model = Uce(str(tmp_path)).fit(mice, seed=1)
    (tokens,) = model.token_chunks(mice)
    mouse = model.files.species["mouse"]
    assert list(model.files.species) == ["mouse"] and list(mouse.vocabulary.names) == [gene.upper() for gene in GENES]
    assert np.array_equal(mouse.tokens, 4 + np.arange(len(GENES)))  # the second spelling of a symbol takes no token
    assert list(tokens.lengths) == [1029, 1029, 1029, 1, 1029] and list(tokens.of(3)) == [3]
    first = N_TOKENS - N_CHROMOSOMES
    for cell in (0, 1, 2, 4):
        ids = tokens.of(cell)
        assert ids[0] == 3 and ids[-1] == 2 and (ids == 2).sum() == 2 and set(ids[ids >= first]) == {first, first + 1}
        for part in np.split(ids[1:-1], np.flatnonzero(ids[1:-1] == 2)):
            genes = part[(part > 3) & (part < first)] - 4
            assert (np.diff((genes * 37) % 50) >= 0).all() and len(set((genes * 7) % 2)) == 1


def test_a_sentence_of_too_many_chromosomes_is_cut(tmp_path, mice):
    save(tmp_path, reference(longest=1026))
    (tokens,) = Uce(str(tmp_path)).fit(mice, seed=1).token_chunks(mice)
    assert tokens.lengths.max() == 1026


def test_draws_belong_to_the_cell_and_follow_expression(tmp_path, mice):
    save(tmp_path, reference())
    counts = np.zeros((1, len(GENES)))
    counts[0, :2] = 1, 1000
    cell = from_arrays("one", counts, pd.DataFrame(index=["a"]), GENES, organism="mouse")
    (tokens,) = Uce(str(tmp_path)).fit(cell, seed=1).token_chunks(cell)
    share = (tokens.of(0) == 5).sum() / 1024
    assert abs(share - math.log(1001) / (math.log(1001) + math.log(2))) < 0.03
    (other,) = Uce(str(tmp_path)).fit(mice, seed=2).token_chunks(mice)
    (first,) = Uce(str(tmp_path)).fit(mice, seed=1).token_chunks(mice)
    assert not np.array_equal(np.sort(other.of(0)), np.sort(first.of(0)))


def test_all_tokens_count_only_where_they_have_other_species(tmp_path, mice):
    net = reference()
    save(tmp_path, net)
    table = net.pe_embedding.weight.detach()
    for rows in (N_TOKENS, N_TOKENS - N_CHROMOSOMES):  # with and without the chromosomes of the same species
        torch.save(torch.zeros(rows, 7), tmp_path / "all_tokens.torch")
        assert torch.equal(Uce(str(tmp_path)).files.table, table)
    torch.save(torch.ones(N_TOKENS + 40, 7), tmp_path / "all_tokens.torch")
    files = Uce(str(tmp_path)).files
    assert files.table.shape == (N_TOKENS + 40, 7) and files.species["mouse"].chromosomes.min() == N_TOKENS + 40 - N_CHROMOSOMES
    torch.save(torch.ones(N_TOKENS + 40, 8), tmp_path / "all_tokens.torch")
    with pytest.raises(InputError, match="rows of 7 numbers"):
        Uce(str(tmp_path)).match(mice)


def test_a_table_of_the_published_size_has_the_published_offset(tmp_path, mice):
    net = reference()
    save(tmp_path, net)
    net.pe_embedding.weight = nn.Parameter(torch.zeros(1, 7).expand(145_469, 7))
    torch.save(net.state_dict(), tmp_path / "33l_toy.torch")
    assert Uce(str(tmp_path)).files.species["mouse"].chromosomes.min() == 143_574


def test_layers_and_poolings(tmp_path, mice):
    net = reference()
    save(tmp_path, net)
    with torch.no_grad():
        (tokens,) = Uce(str(tmp_path)).fit(mice, seed=1).token_chunks(mice)
        ids = torch.from_numpy(tokens.of(0))
        x = net.encoder(F.normalize(net.pe_embedding(ids), dim=1)) * math.sqrt(24) + net.pos_encoder.pe[: len(ids), 0]
        states = [x]
        for layer in net.transformer_encoder.layers:
            states.append(layer(states[-1][None])[0])
        expected = {
            ("cls", 0): states[3][0],
            ("cls", -1): states[2][0],
            ("cls", -3): states[0][0],
            ("mean", -2): states[1].mean(0),
            ("mean", None): F.normalize(net.decoder(states[3]).mean(0), dim=0),
        }
    for (pooling, layer), vector in expected.items():
        found = Uce(str(tmp_path), pooling=pooling, layer=layer).fit(mice, seed=1).embed(mice).values[0]
        np.testing.assert_allclose(found, vector.numpy(), atol=1e-4)
    with pytest.raises(InputError, match="layer is -4"):
        Uce(str(tmp_path), layer=-4).match(mice)
    with pytest.raises(InputError, match="pooling is 'max'"):
        Uce(pooling="max")


def test_of_two_sizes_in_one_folder_one_is_named(tmp_path, mice):
    small, large = reference(layers=1), reference(layers=3)
    save(tmp_path, small, name="4layer_model.torch")
    save(tmp_path, large, name="33l_8ep_1024t_1280.torch")
    with pytest.raises(InputError, match="several files"):
        Uce(str(tmp_path)).match(mice)
    assert Uce(str(tmp_path), weights="4layer_model.torch").files.config.n_layers == 1
    keys = {Uce(str(tmp_path), weights=name).weights_key for name in ("4layer_model.torch", "33l_8ep_1024t_1280.torch")}
    assert len(keys) == 2


def test_what_does_not_fit_is_refused(tmp_path, mice):
    save(tmp_path, reference())
    with pytest.raises(NotApplicable, match="'human'.*proteins of \\['mouse'\\]"):
        Uce(str(tmp_path)).match(replace(mice, organism="human"))
    with pytest.raises(InputError, match="5 heads do not divide"):
        Uce(str(tmp_path), n_heads=5).match(mice)
    (tmp_path / "species_offsets.pkl").write_bytes(pickle.dumps({"mouse": N_TOKENS}))
    with pytest.raises(InputError, match="not of one model"):
        Uce(str(tmp_path)).match(mice)
    (tmp_path / "species_offsets.pkl").write_bytes(pickle.dumps({"pig": 4}))
    with pytest.raises(InputError, match="protein names of no species"):
        Uce(str(tmp_path)).match(mice)
    torch.save({"encoder.0.weight": torch.zeros(3, 4), TABLE: torch.zeros(9, 4)}, tmp_path / "33l_toy.torch")
    with pytest.raises(InputError, match="no sizes of a model of UCE"):
        Uce(str(tmp_path)).match(mice)


def test_gene_names_may_come_as_json(tmp_path, mice):
    save(tmp_path, reference())
    before = Uce(str(tmp_path)).fit(mice, seed=0).embed(mice).values
    (tmp_path / "protein_embeddings" / "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt").unlink()
    (tmp_path / "mouse_protein_embedding_keys.json").write_text(json.dumps(GENES))
    assert np.array_equal(before, Uce(str(tmp_path)).fit(mice, seed=0).embed(mice).values)


def test_the_net_keeps_the_contract_of_nets():
    tensors = dict(reference(d=8, heads=2, layers=2, longest=30).state_dict())
    config = UceConfig.from_tensors(tensors, 2, "toy")
    rng, lengths = np.random.default_rng(0), np.array([5, 1, 9])
    tokens = Tokens(lengths, {"ids": rng.integers(0, N_TOKENS, 15)})
    genes = torch.arange(4, 10)

    def compute(net, batch):
        cells = net.decoder(net.first(batch, 2))
        return torch.cat([cells, net.log_odds(cells, net.gene_encoder(net.token_vectors(genes)))], dim=1)

    check_net(lambda: UceNet(config, tensors[TABLE]), tokens=tokens, tensors=tensors, names=UCE_NAMES, compute=compute)
