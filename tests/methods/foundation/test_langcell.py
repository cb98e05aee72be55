"""The cell side of LangCell against the reference implementation (parity fixture), and its layout at another size."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bert_layouts import GENES, N_GENES, V1, cells, labelled, some_cells, toy_config, toy_tensors, write_dictionaries  # noqa: E402

from scrutiny.core.errors import InputError  # noqa: E402
from scrutiny.core.registry import METHODS  # noqa: E402
from scrutiny.data.read import read  # noqa: E402
from scrutiny.methods.foundation.langcell import LangCell, UntrainedLangCell  # noqa: E402
from scrutiny.nets.tokens import batch_of, padded  # noqa: E402
from scrutiny.testing import check_embedder, check_net  # noqa: E402

ATOL = 2e-5  # as the README of the fixture suggests; 1e-3 for similarities, which are divided by 0.05


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "parity" / "langcell"


@pytest.fixture(scope="module")
def expected(folder):
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder):
    return read(folder / "cells.h5ad")


@pytest.fixture(scope="module")
def model(folder, data):
    return LangCell(str(folder), device="cpu").fit(data, seed=0)


def test_tokens(model, data, expected):
    tokens = next(model.token_chunks(data))
    assert model.files.cls == expected["cls_token_id"]
    assert np.array_equal(padded(tokens), expected["input_ids"])
    assert np.array_equal(tokens.lengths, expected["lengths"])


def test_rank_values(model, data, expected):
    matched = model.match(data)
    values = model.files.genes.ranked(next(matched.counts(data)), matched, longest=2048)
    assert np.allclose(padded(values, "values"), expected["rank_values"], rtol=1e-6, atol=0)


def test_embeddings(model, folder, data, expected):
    found = model.embed(data).aligned_to(data.cell_ids).values
    assert np.allclose(found, expected["cell_emb"], atol=ATOL, rtol=0)
    similar = torch.softmax(torch.from_numpy(found @ expected["fake_text_emb"].T / 0.05), dim=1)
    assert np.allclose(similar, expected["sim_softmax"], atol=1e-3, rtol=0)
    cls = LangCell(str(folder), pooling="cls", device="cpu").fit(data, seed=0).embed(data).values
    assert np.allclose(cls, expected["last_hidden_cls"], atol=ATOL, rtol=0)


def test_hidden_states(model, data, expected):
    batch = batch_of(next(model.token_chunks(data)).take([int(expected["hidden_cell"])]))
    states = model.net.bert(batch).numpy()
    assert np.allclose(states[: len(expected["hidden_states"])], expected["hidden_states"], atol=ATOL, rtol=0)


def test_the_mean_is_over_the_genes_without_cls(model, folder, data):
    few = data.take([4, 11])
    found = LangCell(str(folder), pooling="mean", device="cpu").fit(few, seed=0).embed(few).values
    for cell in range(2):
        states = model.net.bert(batch_of(next(model.token_chunks(few)).take([cell]))).numpy()
        assert np.allclose(found[cell], states[1:].mean(axis=0), atol=ATOL)


def test_the_contract(folder, model, data):
    shortest = np.argsort(next(model.token_chunks(data)).lengths)[:10]
    check_embedder(lambda: LangCell(str(folder), device="cpu"), data=labelled(data, shortest))


def test_it_is_registered_with_its_twin(folder, model, data):
    few = data.take([0, 5, 9])
    twin = METHODS.get("control/untrained_langcell")
    assert METHODS.get("langcell") is LangCell and twin is UntrainedLangCell
    first, again, other = (twin(str(folder), device="cpu").fit(few, seed=seed).embed(few).values for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(first - model.embed(few).values).max() > 0.01


# The layout at another size -----------------------------------------------------------------------------------------------------


@pytest.fixture()
def layout(tmp_path):
    """A folder as the authors' code reads it: an encoder by ``save_pretrained``, with a pooler that nobody uses."""
    write_dictionaries(tmp_path, V1)
    config = toy_config(N_GENES + 3, hidden_size=18, num_hidden_layers=2)
    encoder = {name: tensor for name, tensor in toy_tensors(config).items() if name.startswith("bert.")}
    tensors = {name.removeprefix("bert."): tensor for name, tensor in encoder.items()} | {"embeddings.position_ids": torch.arange(64)[None]}
    tensors |= {"pooler.dense.weight": torch.ones(18, 18), "pooler.dense.bias": torch.ones(18)}
    generator = torch.Generator().manual_seed(2)
    (tmp_path / "cell_bert").mkdir()
    (tmp_path / "cell_bert" / "config.json").write_text(json.dumps(config))
    torch.save(tensors, tmp_path / "cell_bert" / "pytorch_model.bin")
    torch.save({"weight": torch.randn(7, 18, generator=generator), "bias": torch.randn(7, generator=generator)}, tmp_path / "cell_proj.bin")
    return tmp_path


def made(folder, **options):
    return LangCell(str(folder), device="cpu", **options)


def test_the_layout_is_read_and_gives_what_hugging_face_gives(layout):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**json.loads((layout / "cell_bert" / "config.json").read_text()), attn_implementation="eager")
    reference = transformers.BertModel(config).eval()
    reference.load_state_dict(torch.load(layout / "cell_bert" / "pytorch_model.bin"), strict=False)
    projection = torch.load(layout / "cell_proj.bin")
    data = some_cells()
    found = made(layout).fit(data, seed=0).embed(data).values
    for cell in range(data.n_cells):
        row = data.values[cell].toarray()[0]
        genes = sorted(np.flatnonzero(row), key=lambda gene: (-row[gene], gene))[:63]
        ids = [N_GENES + 2, *(gene + 2 for gene in genes)]
        with torch.no_grad():
            cls = reference(torch.tensor([ids])).last_hidden_state[0, 0]
        vector = projection["weight"] @ cls + projection["bias"]
        assert np.allclose(found[cell], vector / vector.norm(), atol=1e-5)


def test_the_net_keeps_its_contract(layout):
    model = made(layout)
    tokens = next(model.token_chunks(some_cells(4)))
    check_net(model.make_net, tokens=tokens, tensors=model.tensors(model.folder), names=LangCell.names)


def test_genes_have_the_vectors_of_the_token_table(layout):
    data = some_cells().take_genes(np.arange(N_GENES)[::-1])
    model = made(layout).fit(data, seed=0)
    found = model.embed_genes(data)
    words = torch.load(layout / "cell_bert" / "pytorch_model.bin")["embeddings.word_embeddings.weight"].numpy()
    assert np.array_equal(found.values, words[[GENES.index(gene) + 2 for gene in found.gene_ids]])


def test_columns_that_are_one_gene_are_summed(layout):
    counts = np.zeros((1, N_GENES + 1))
    counts[0, [6, 7, N_GENES]] = [4, 3, 2]
    data = cells(counts, [*GENES, f"{GENES[7]}.3"])
    assert next(made(layout).token_chunks(data)).of(0).tolist() == [N_GENES + 2, 9, 8]


def test_a_cell_without_known_genes_is_its_cls(layout):
    data = cells(np.zeros((2, N_GENES)))
    found = made(layout).fit(data, seed=0).embed(data).values
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6) and np.array_equal(found[0], found[1])


def test_a_dictionary_of_another_size_is_refused(layout):
    write_dictionaries(layout, (*V1, "<cls>", "<eos>"))
    with pytest.raises(InputError, match="154 words and a config of 153; expected one more"):
        made(layout).check_applies(some_cells())


def test_a_projection_under_other_names_is_refused(layout):
    torch.save({"linear.weight": torch.ones(7, 18)}, layout / "cell_proj.bin")
    with pytest.raises(InputError, match=r"cell_proj\.bin.*linear\.weight.*expected weight and bias"):
        made(layout).check_applies(some_cells())


def test_an_unknown_pooling_is_refused():
    with pytest.raises(InputError, match="pooling is 'max'"):
        LangCell(pooling="max")
