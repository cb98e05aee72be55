"""scGPT: tokens, vectors and heads against the reference run, and folders in the official layout of other sizes."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scgpt_reference import Reference, args_of, official_tensors, random_reference

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import FROM_CELL
from scrutiny.data.prepare import log_normalise
from scrutiny.data.read import read
from scrutiny.methods.foundation.bins import binned, edges
from scrutiny.methods.foundation.scgpt import Scgpt, UntrainedScgpt, fine_tuning_tokens
from scrutiny.methods.foundation.scgpt_draws import OfficialStream
from scrutiny.nets.scgpt import ScgptConfig
from scrutiny.nets.tokens import Tokens, batch_of, padded
from scrutiny.testing import check_embedder, check_reconstructor

SEED = 101
ALL = 1_000_000
PAD = 6000

official = partial(Scgpt, compat="official", device="cpu")


@pytest.fixture(scope="session")
def folder(shared) -> Path:
    return shared / "parity" / "scgpt"


@pytest.fixture(scope="session")
def expected(folder):
    with np.load(folder / "expected.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="session")
def cells(folder) -> Dataset:
    return read(folder / "cells.h5ad")


def all_tokens(method: Scgpt, data: Dataset) -> Tokens:
    (tokens,) = method.token_chunks(data)
    return tokens


# Against the reference run; tolerances are those of its README ------------------------------------------------------------------------


def test_genes_are_those_that_the_reference_matched(folder, expected, cells):
    method = official(str(folder))
    found = method.files.tokens[method.match(cells).words]
    assert np.array_equal(found, expected["id_in_vocab"][expected["id_in_vocab"] >= 0])


@pytest.mark.parametrize(
    ("name", "genes", "options"),
    [
        ("one", "one", {"binning": "one", "max_length": ALL}),
        ("both", "one", {"max_length": ALL}),
        ("sampled", "sampled", {"binning": "one"}),
        ("default", "default", {}),
    ],
)
def test_tokens_and_vectors_are_those_of_embed_data(folder, expected, cells, name, genes, options):
    method = official(str(folder), **options).fit(cells, seed=SEED)
    tokens = all_tokens(method, cells)
    assert np.array_equal(padded(tokens, fill=PAD), expected[f"{genes}_genes"])
    assert np.array_equal(padded(tokens, "values", fill=-2), expected[f"{name}_values"])
    np.testing.assert_allclose(method.embed(cells).values, expected[f"{name}_cell_emb"], atol=1e-5)


def test_own_draws_stay_where_any_draw_must_and_sample_what_is_there(folder, expected, cells):
    method = Scgpt(str(folder), max_length=ALL, device="cpu")
    lower, upper = ({} for _ in range(2))
    for cell in range(cells.n_cells):
        n = expected["one_lengths"][cell]
        for bound, name in ((lower, "both_min"), (upper, "both_max")):
            bound[cell] = dict(zip(expected["one_genes"][cell, :n], expected[name][cell, :n], strict=True))
    tokens = all_tokens(method, cells)
    for cell in range(cells.n_cells):
        ids, values = tokens.of(cell), tokens.of(cell, "values")
        assert set(ids) == set(lower[cell])
        assert all(lower[cell][i] <= value <= upper[cell][i] for i, value in zip(ids, values, strict=True))
    sampled = all_tokens(Scgpt(str(folder), device="cpu"), cells)
    assert np.array_equal(sampled.lengths, np.minimum(expected["one_lengths"], 1200))
    for cell in range(cells.n_cells):
        assert sampled.of(cell)[0] == method.files.cls
        whole = dict(zip(tokens.of(cell), tokens.of(cell, "values"), strict=True))
        assert all(whole[i] == value for i, value in zip(sampled.of(cell), sampled.of(cell, "values"), strict=True)), "binned, then sampled"


def test_heads_are_those_of_the_reference(folder, expected, cells):
    net = official(str(folder)).net
    real = ~expected["head_pad"]
    values = expected["head_values_masked"][real].astype(np.float32)
    assert (values[expected["head_mask"][real]] == -1).all()
    batch = batch_of(Tokens(real.sum(axis=1), {"ids": expected["head_genes"][real].astype(np.int64), "values": values}))
    for column, output in enumerate(("mlm_output", "mvc_output")):
        np.testing.assert_allclose(net.predict(batch)[:, column], expected[output][real], atol=5e-5)
    np.testing.assert_allclose(net.first(batch, len(net.layers)), expected["head_cell_emb"], atol=5e-5)


def test_hidden_states_and_parts_are_those_of_the_reference(folder, expected, cells):
    method = official(str(folder), binning="one", max_length=ALL)
    tokens = all_tokens(method, cells).take([int(expected["hidden_cell"])])
    np.testing.assert_allclose(method.net(batch_of(tokens)), expected["hidden_states"], atol=5e-5)
    np.testing.assert_allclose(method.net.values(torch.from_numpy(expected["value_emb_in"])), expected["value_emb"], atol=1e-5)
    np.testing.assert_allclose(method.net.embed_genes(torch.from_numpy(expected["gene_emb_ids"])), expected["gene_emb"], atol=1e-5)
    genes = method.embed_genes(cells)
    assert np.array_equal(genes.gene_ids, cells.genes[expected["id_in_vocab"] >= 0])
    rows = pd.Index(method.files.tokens[method.match(cells).words]).get_indexer(expected["gene_emb_ids"])
    there = rows >= 0
    assert there.sum() > 100
    np.testing.assert_allclose(genes.values[rows[there]], expected["gene_emb"][there], atol=1e-5)


def test_fine_tuning_tokens_are_those_of_the_reference(folder, expected, cells):
    method = official(str(folder))
    some = cells.take(np.arange(8))
    matched = method.match(some)
    (counts,) = matched.counts(some)
    ids = method.files.tokens[matched.words]
    tokens = fine_tuning_tokens(counts.known, ids, method.files)
    assert np.array_equal(padded(tokens, fill=PAD), expected["ft_genes"])
    assert np.array_equal(padded(tokens, "values", fill=-2), expected["ft_values"])
    place = np.full(PAD + 3, -1)
    place[ids] = np.arange(len(ids))
    inner = tokens.columns["ids"] != method.files.cls
    dense = np.zeros_like(expected["ft_binned"])
    dense[np.repeat(np.arange(8), tokens.lengths - 1), place[tokens.columns["ids"][inner]]] = tokens.columns["values"][inner]
    assert np.array_equal(dense, expected["ft_binned"])
    logged = log_normalise(counts.known[:1], counts.known[:1].sum(axis=1).A1).toarray()[0]
    np.testing.assert_allclose(logged, expected["ft_log1p_cell0"], atol=1e-6)


# Bins ----------------------------------------------------------------------------------------------------------------------------------


def test_bins_of_a_hand_sized_cell():
    values = np.array([1, 1, 1, 2, 2, 3, 4, 10, 10, 50], np.float32)  # as the official function bins them
    assert binned(values, 51).tolist() == [11, 11, 11, 22, 22, 28, 33, 44, 44, 50]
    assert binned(values, 51, np.zeros(10)).tolist() == [11, 11, 11, 22, 22, 28, 33, 44, 44, 50]
    assert binned(values, 51, np.full(10, 1 - 1e-9)).tolist() == [1, 1, 1, 18, 18, 28, 33, 40, 40, 50]
    assert binned(np.full(3, 7, np.float32), 51).tolist() == [50, 50, 50]
    assert binned(np.empty(0, np.float32), 51).tolist() == []


def test_edges_are_quantiles_to_the_last_bit():
    draw = np.random.default_rng(0)
    for n in [1, 2, 3, *draw.integers(4, 400, 60)]:
        for values in (draw.gamma(1, 1, n).astype(np.float32), draw.integers(1, 6, n).astype(np.float32)):
            for n_bins in (3, 11, 51):
                assert np.array_equal(edges(np.sort(values), n_bins), np.quantile(values, np.linspace(0, 1, n_bins - 1)))


# Folders in the official layout of other sizes ------------------------------------------------------------------------------------------

GENES = [f"GENE{i}" for i in range(150)]


def write_folder(path: Path, reference: Reference, words: dict[str, int], attention: str = "self_attn.Wqkv.") -> str:
    path.mkdir()
    (path / "args.json").write_text(json.dumps(args_of(reference)))
    (path / "vocab.json").write_text(json.dumps(words))
    torch.save(official_tensors(reference, attention), path / "best_model.pt")
    return str(path)


def shuffled_words(*special: str) -> dict[str, int]:
    """A vocabulary in which the special tokens stand anywhere."""
    words = [*GENES, *special, "NOT_MEASURED"]
    order = np.random.default_rng(5).permutation(len(words))
    return {words[i]: int(order[i]) for i in range(len(words))}


@pytest.fixture
def counts() -> Dataset:
    """Twelve cells of 160 genes, of which 150 are known; the last cell is empty, the one before it has no known gene."""
    values = np.random.default_rng(3).negative_binomial(1, 0.4, (12, 160)).astype(np.float32)
    values[-1], values[-2, :150] = 0, 0
    obs = pd.DataFrame({"type": list("ab") * 6, "donor": list("xxyy") * 3}, index=[f"c{i}" for i in range(12)])
    genes = [*GENES, *(f"X{i}" for i in range(10))]
    return from_arrays("small", values, obs, genes, roles={"label": "type", "batch": "donor"}, organism="human")


def by_reference(reference: Reference, tokens: Tokens, batch: int = 0) -> list:
    return [reference(tuple(torch.from_numpy(tokens.of(c, n)) for n in ("ids", "values")), batch) for c in range(tokens.n_cells)]


@pytest.mark.parametrize("attention", ["self_attn.Wqkv.", "self_attn._impl.Wqkv.", "self_attn.in_proj_"])
def test_another_size_and_vocabulary(tmp_path, counts, attention):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    reference = random_reference(len(words), d=24, heads=3, d_hid=8, layers=3)
    method = Scgpt(write_folder(tmp_path / "m", reference, words, attention), max_length=40, device="cpu").fit(counts, seed=4)
    tokens = all_tokens(method, counts)
    assert tokens.lengths.max() == 40
    assert (tokens.lengths[-2:] == 1).all()
    assert (tokens.columns["ids"][tokens.offsets[:-1]] == words["<cls>"]).all()
    expected = torch.stack([cell.hidden[0] / cell.hidden[0].norm() for cell in by_reference(reference, tokens)])
    np.testing.assert_allclose(method.embed(counts).values, expected, atol=1e-5)
    table = reference.encoder["enc_norm"](reference.encoder["embedding"].weight[[words[gene] for gene in GENES]])
    genes = method.embed_genes(counts)
    np.testing.assert_allclose(pd.DataFrame(genes.values, genes.gene_ids).loc[GENES], table, atol=1e-5)


def test_special_words_that_a_vocabulary_lacks_are_appended(tmp_path, counts):
    words = shuffled_words("<pad>")
    reference = random_reference(len(words) + 2)
    method = Scgpt(write_folder(tmp_path / "m", reference, words), device="cpu")
    assert method.files.cls == len(words), "<cls>, then <eoc>, as the official code does"
    assert np.isfinite(method.embed(counts).values).all()


def test_poolings_and_layers(tmp_path, counts):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    reference = random_reference(len(words), layers=3)
    path = write_folder(tmp_path / "m", reference, words)
    tokens = all_tokens(Scgpt(path, device="cpu"), counts)
    cells = by_reference(reference, tokens)

    def embedded(**options: object) -> np.ndarray:
        return Scgpt(path, device="cpu", **options).embed(counts).values

    np.testing.assert_allclose(embedded(normalise=False), torch.stack([c.hidden[0] for c in cells]), atol=1e-5)
    np.testing.assert_allclose(embedded(pooling="mean", normalise=False), torch.stack([c.hidden.mean(0) for c in cells]), atol=1e-5)
    sums = [c.hidden.T @ torch.from_numpy(tokens.of(i, "values")) for i, c in enumerate(cells)]
    np.testing.assert_allclose(embedded(pooling="weighted"), torch.stack([s / s.norm() for s in sums]), atol=1e-5)
    net, batch = Scgpt(path, device="cpu").net, batch_of(tokens)
    for layer in (-1, -3):
        np.testing.assert_allclose(embedded(layer=layer, normalise=False), net(batch, 3 + layer)[batch.start], atol=1e-5)
    for wrong in ({"layer": 1}, {"layer": -4}, {"pooling": "max"}, {"binning": "left"}, {"max_length": 1}, {"domain": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            embedded(**wrong)


def test_reconstruction_is_what_the_heads_say_of_masked_bins(tmp_path, counts):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    reference = random_reference(len(words))
    method = Scgpt(write_folder(tmp_path / "m", reference, words), device="cpu").fit(counts, seed=2)
    tokens = all_tokens(method, counts)
    id_of = np.array([words[gene] for gene in method.reconstruct(counts).gene_ids])
    for hide in (0.0, 0.25):
        one = method.reconstruct(counts, hide=hide)
        assert one.quantity == "bin"
        assert one.hidden.sum() == sum(round(hide * (n - 1)) for n in tokens.lengths)
        for cell in range(counts.n_cells):
            mine = one.rows == cell
            assert np.array_equal(id_of[one.columns[mine]], tokens.of(cell)[1:])
            assert np.array_equal(one.true[mine], tokens.of(cell, "values")[1:])
            values = np.where(np.r_[False, one.hidden[mine]], np.float32(-1), tokens.of(cell, "values"))
            said = reference((torch.from_numpy(tokens.of(cell)), torch.from_numpy(values)))
            np.testing.assert_allclose(one.predicted[mine], said.context[1:], atol=5e-5)
            np.testing.assert_allclose(one.also[FROM_CELL][mine], said.from_cell[1:], atol=5e-5)


def test_a_model_fine_tuned_on_batches_must_be_told_one(tmp_path, counts):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    reference = random_reference(len(words), batches=3, domains=3, zeros=True, n_cls=4)
    path = write_folder(tmp_path / "m", reference, words)
    with pytest.raises(NotApplicable, match=r"3 batches.*domain"):
        Scgpt(path).check_applies(counts)
    with pytest.raises(InputError, match="domain is 3"):
        Scgpt(path, domain=3).check_applies(counts)
    method = Scgpt(path, domain=2, normalise=False, device="cpu")
    cells = by_reference(reference, all_tokens(method, counts), 2)
    np.testing.assert_allclose(method.embed(counts).values, torch.stack([cell.hidden[0] for cell in cells]), atol=2e-5)
    said = torch.cat([cell.from_cell[1:] for cell in cells])
    np.testing.assert_allclose(method.reconstruct(counts).also[FROM_CELL], said, atol=5e-5)


def test_without_the_head_that_predicts_from_the_cell(tmp_path, counts):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    path = write_folder(tmp_path / "m", random_reference(len(words)), words)
    tensors = torch.load(f"{path}/best_model.pt", weights_only=True)
    torch.save({name: tensor for name, tensor in tensors.items() if not name.startswith("mvc_decoder")}, f"{path}/best_model.pt")
    method = Scgpt(path, device="cpu")
    found = method.reconstruct(counts)
    assert np.isfinite(found.predicted).all() and not found.also


@pytest.mark.parametrize("words", [{"<pad>": 0, "A": 2}, {"<pad>": 0, "A": "1"}, {"<pad>": 0, "A": 0}, {"<pad>": [0]}])
def test_an_odd_vocabulary_is_refused(tmp_path, words):
    path = write_folder(tmp_path / "m", random_reference(4), words)
    with pytest.raises(InputError, match=r"vocab\.json"):
        Scgpt(path).files  # noqa: B018 - reading is the test


# Draws -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"d": 24, "heads": 3, "d_hid": 7, "layers": 3}, {"d": 6, "heads": 1, "d_hid": 5, "layers": 1}])
def test_the_official_stream_goes_on_where_the_official_constructor_ends(sizes):
    """The stock layers are made from the global generator, the data loader draws once, then cells are sampled."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        reference = Reference(37, **sizes)
        torch.empty((), dtype=torch.int64).random_()
        samples = [torch.randperm(n)[:5].tolist() for n in (8, 2000)]
    args = args_of(reference)
    config = ScgptConfig(37, 0, args["embsize"], args["nheads"], args["d_hid"], args["nlayers"])
    stream = OfficialStream(9, config)
    assert [stream.sample(n, 5).tolist() for n in (8, 2000)] == samples
    assert np.array_equal(stream.uniform(4), np.random.RandomState(9).rand(4))


def test_keeps_the_contract_of_embedders(folder, cells):
    label = np.arange(cells.n_cells) % 3
    data = replace(cells, obs=cells.obs.assign(l=label, b=label[::-1]), roles={"label": "l", "batch": "b"})
    check_embedder(lambda: Scgpt(str(folder), max_length=300, device="cpu"), data=data)
    check_embedder(lambda: UntrainedScgpt(str(folder), max_length=100, device="cpu"), data=data)
    check_reconstructor(lambda: Scgpt(str(folder), max_length=300, device="cpu"), data=data.take(np.arange(6)))


def test_seeds_draw_other_tokens_for_the_same_weights(tmp_path, counts):
    words = shuffled_words("<pad>", "<cls>", "<eoc>")
    path = write_folder(tmp_path / "m", random_reference(len(words)), words)
    first, second = (all_tokens(Scgpt(path, max_length=40, device="cpu").fit(counts, seed=seed), counts) for seed in (0, 1))
    assert not np.array_equal(first.columns["ids"], second.columns["ids"])
    fixed = [all_tokens(Scgpt(path, binning="one", device="cpu").fit(counts, seed=seed), counts) for seed in (0, 1)]
    assert np.array_equal(fixed[0].columns["values"], fixed[1].columns["values"])


def test_the_untrained_twin_has_the_tokens_and_other_weights(folder, cells):
    some = cells.take(np.arange(4))
    twins = [UntrainedScgpt(str(folder), binning="one", max_length=100, device="cpu").fit(some, seed=seed) for seed in (0, 0, 1)]
    model = Scgpt(str(folder), binning="one", max_length=100, device="cpu").fit(some, seed=0)
    assert np.array_equal(all_tokens(twins[0], some).columns["ids"], all_tokens(model, some).columns["ids"])
    vectors = [method.embed(some).values for method in (*twins, model)]
    assert np.array_equal(vectors[0], vectors[1])
    assert all(np.abs(vectors[0] - other).max() > 0.01 for other in vectors[2:])
    assert UntrainedScgpt.card.name == "control/untrained_scgpt"
