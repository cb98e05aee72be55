"""Geneformer V1 and V2 against the reference implementation: every array of the parity fixtures."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bert_layouts import labelled  # noqa: E402

from scrutiny.core.errors import InputError  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
from scrutiny.methods.foundation.draws import hidden  # noqa: E402
from scrutiny.methods.foundation.geneformer import Geneformer, UntrainedGeneformer  # noqa: E402
from scrutiny.nets.tokens import batch_of, padded  # noqa: E402
from scrutiny.testing import check_embedder, check_reconstructor  # noqa: E402

VERSIONS = ("v1", "v2")
OFFICIAL = {"v1": ("gc30M", "V1-10M"), "v2": ("gc104M", "V2-104M")}
STATES, LOGITS = 2e-5, 1e-4  # as the README of the fixtures suggests
PLACES = 2e-6


class Fixture:
    """Cells, expected values and the model of one version."""

    def __init__(self, shared, version):
        self.version, self.folder = version, shared / "parity" / f"geneformer_{version}"
        self.data = read(self.folder / "cells.h5ad")
        self.expected = dict(np.load(self.folder / "expected.npz"))
        self.model = self.made().fit(self.data, seed=0)
        self.tokens = next(self.model.token_chunks(self.data)).take(self.expected["rows"])

    def made(self, method=Geneformer, **options):
        return method(str(self.folder), device="cpu", **options)

    def batch(self, name):
        """The one cell that an array is of, alone, its ids as in the fixture."""
        return batch_of(self.tokens.take([int(self.expected[name])]))


@pytest.fixture(scope="module", params=VERSIONS)
def fixture(request, shared):
    return Fixture(shared, request.param)


def assert_same_tokens(tokens, ids, lengths):
    assert np.array_equal(tokens.lengths, lengths)
    assert np.array_equal(padded(tokens)[:, : ids.shape[1]], ids)


def test_tokens(fixture):
    assert_same_tokens(fixture.tokens, fixture.expected["input_ids"], fixture.expected["lengths"])
    n_more = len(fixture.model.files.start) + len(fixture.model.files.end)
    whole = fixture.made()
    whole.files = replace(whole.files, config=replace(whole.files.config, max_position_embeddings=30_000))
    lengths = next(whole.token_chunks(fixture.data)).lengths - n_more
    assert np.array_equal(lengths[fixture.expected["rows"]], fixture.expected["untruncated_gene_count"])


def test_rank_values(fixture):
    """They are what the genes are sorted by."""
    files, data, expected = fixture.model.files, fixture.data, fixture.expected
    matched = fixture.model.match(data)
    values = files.genes.ranked(next(matched.counts(data)), matched, files.longest).take(expected["rows"])
    n_columns = expected["rank_values"].shape[1]
    assert np.allclose(padded(values, "values")[:, :n_columns], expected["rank_values"], rtol=1e-6, atol=0)


def test_tokens_by_the_official_dictionaries(fixture, shared, tmp_path):
    mark, size = OFFICIAL[fixture.version]
    (tmp_path / "config.json").symlink_to(shared / "reference-data" / "geneformer" / f"config_Geneformer-{size}.json")
    for name in ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict"):
        (tmp_path / f"{name}_{mark}.pkl").symlink_to(shared / "reference-data" / "geneformer" / f"{name}_{mark}.pkl")
    model, expected = Geneformer(str(tmp_path)), fixture.expected
    tokens = next(model.token_chunks(fixture.data)).take(expected["official_rows"])
    assert_same_tokens(tokens, expected["official_input_ids"], expected["official_lengths"])


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_embeddings(fixture, layer, pooling):
    if pooling == "cls" and fixture.version == "v1":
        with pytest.raises(InputError, match="no <cls>"):
            fixture.made(pooling="cls").check_applies(fixture.data)
        return
    model = fixture.made(layer=layer, pooling=pooling).fit(fixture.data, seed=0)
    name = f"emb_{'cell' if pooling == 'mean' else 'cls'}_layer{'m1' if layer else '0'}"
    found = model.embed(fixture.data).aligned_to(fixture.data.cell_ids).values[fixture.expected["rows"]]
    assert np.allclose(found, fixture.expected[name], atol=STATES, rtol=0)


def test_the_default_is_the_official_one(fixture):
    mode = {"v1": "cell", "v2": "cls"}[fixture.version]
    found = fixture.model.embed(fixture.data).values[fixture.expected["rows"]]
    assert np.allclose(found, fixture.expected[f"emb_{mode}_layerm1"], atol=STATES, rtol=0)


def test_hidden_states(fixture):
    batch, n_layers = fixture.batch("hidden_cell"), fixture.model.files.config.num_hidden_layers
    for name, layer in {"hidden_states_0": 0, "hidden_states_m1": n_layers - 1, "hidden_states_last": n_layers}.items():
        expected = fixture.expected[name]
        assert np.allclose(fixture.model.net(batch, layer)[: len(expected)].numpy(), expected, atol=STATES, rtol=0)


def test_logits(fixture):
    net = fixture.model.net
    assert np.allclose(net.logits(net(fixture.batch("logits_cell"))).numpy(), fixture.expected["logits"], atol=LOGITS, rtol=0)


def test_masked_genes(fixture):
    net, batch, places = fixture.model.net, fixture.batch("hidden_cell"), fixture.expected["mask_positions"]
    true = batch.columns["ids"].clone()
    batch.columns["ids"][places] = fixture.model.files.genes.special["<mask>"]
    states = net(batch)[places]
    logits = net.logits(states)
    log_probability = logits.log_softmax(1).gather(1, true[places][:, None])[:, 0]
    assert np.allclose(log_probability, fixture.expected["mask_true_logprob"], atol=LOGITS, rtol=0)
    assert np.allclose(logits.gather(1, true[places][:, None])[:, 0], fixture.expected["mask_true_logit"], atol=LOGITS, rtol=0)
    assert np.array_equal(logits.topk(5).indices.numpy(), fixture.expected["mask_top5"])


def test_reconstruct_without_hiding_gives_the_places_that_the_logits_of_the_fixture_mean(fixture):
    cell = int(fixture.expected["rows"][fixture.expected["logits_cell"]])
    found = fixture.model.reconstruct(fixture.data.take([cell]))
    ids = fixture.tokens.of(int(fixture.expected["logits_cell"]))
    inner = slice(len(fixture.model.files.start), len(ids) - len(fixture.model.files.end))
    assert np.allclose(found.predicted, places_by_hand(fixture.expected["logits"][inner], ids[inner]), atol=PLACES, rtol=0)
    assert np.allclose(found.true, (np.arange(len(found.true)) + 0.5) / len(found.true), atol=1e-6)
    assert not found.hidden.any() and found.quantity == "rank"
    assert found.predicted.std() > 100 * PLACES


def places_by_hand(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Expected places from logits (n, V) of all words, in float64."""
    chances = np.exp(logits[:, ids].astype(np.float64))
    chances /= chances.sum(1, keepdims=True)
    return ((np.arange(len(ids)) + 0.5) / len(ids)) @ (chances / chances.sum(0))


def test_reconstruct_masks_what_is_hidden(fixture):
    """As masking by hand, cell by cell; entries name the genes of the file and the cells."""
    data = fixture.data.take([12, 3, 7])
    model, genes = fixture.made().fit(data, seed=4), fixture.model.files.genes
    found = model.reconstruct(data, hide=0.3)
    tokens, matched = next(model.token_chunks(data)), model.match(data)
    n_start, n_end = len(model.files.start), len(model.files.end)
    for cell in range(3):
        entries = found.rows == cell
        ids = tokens.of(cell)[n_start : int(tokens.lengths[cell]) - n_end]
        assert np.array_equal(genes.tokens[matched.words][found.columns[entries]], ids)
        gone = hidden(np.array([len(ids)]), 0.3, seed=4, cell_ids=data.cell_ids[[cell]])
        assert np.array_equal(found.hidden[entries], gone) and gone.sum() == round(0.3 * len(ids))
        batch = batch_of(tokens.take([cell]))
        batch.columns["ids"][n_start + np.flatnonzero(gone)] = genes.special["<mask>"]
        states = model.net(batch)[n_start : len(batch.columns["ids"]) - n_end]
        wanted = places_by_hand(model.net.logits(states).numpy(), ids)
        assert np.allclose(found.predicted[entries], wanted, atol=PLACES, rtol=0)
    assert found.gene_ids[found.columns[0]] in data.genes


def test_genes_have_the_vectors_of_the_token_table(fixture):
    found = fixture.model.embed_genes(fixture.data)
    ids = fixture.data.var["ensembl_id"].str.upper()
    tokens = pickle.loads(next(fixture.folder.glob("token_dictionary*.pkl")).read_bytes())
    row = next(i for i, gene in enumerate(found.gene_ids) if ids[gene] in tokens)
    assert np.array_equal(found.values[row], fixture.model.net.words.weight[tokens[ids[found.gene_ids[row]]]].numpy())
    assert len(found.values) == len(set(found.gene_ids)) == len(fixture.model.match(fixture.data).words)


def test_the_contract(fixture):
    shortest = np.argsort(next(fixture.model.token_chunks(fixture.data)).lengths)[:10]
    check_embedder(fixture.made, data=labelled(fixture.data, shortest))
    check_reconstructor(fixture.made, data=labelled(fixture.data, shortest[:6]))


def test_the_untrained_twin_is_another_and_seeded(fixture):
    few = fixture.data.take([0, 5, 9])
    first, again, other = (fixture.made(UntrainedGeneformer).fit(few, seed=seed).embed(few).values for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first - fixture.model.embed(few).values).max() > 0.1
