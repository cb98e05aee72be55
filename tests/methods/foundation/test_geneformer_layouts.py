"""Geneformer in the official layouts at other sizes, against Hugging Face's net, and what becomes of odd cells and files."""

import json
import pickle

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch")

from bert_layouts import GENES, ITSELF, N_GENES, V1, V2, cells, labelled, some_cells, toy_config, toy_tensors, write_dictionaries  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from scrutiny.core.errors import InputError, NotApplicable  # noqa: E402
from scrutiny.methods.foundation.geneformer import Geneformer, UntrainedGeneformer  # noqa: E402
from scrutiny.testing import check_embedder, check_net, check_reconstructor  # noqa: E402


def old_v1(root):
    """2023: one model in the root, weights by torch.save with the tied matrix, dictionaries without a mark in a folder."""
    write_dictionaries(root / "geneformer", V1)
    config = toy_config(N_GENES + 2)
    tensors = toy_tensors(config)
    tensors |= {"bert.embeddings.position_ids": torch.arange(64)[None]}
    tensors |= {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"]}
    tensors |= {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"]}
    (root / "config.json").write_text(json.dumps(config))
    torch.save(tensors, root / "pytorch_model.bin")
    return root, tensors


def v1_beside(root):
    """Dictionaries beside the weights, marked gc30M."""
    write_dictionaries(root, V1, "_gc30M", ITSELF)
    config = toy_config(N_GENES + 2, hidden_size=16, num_hidden_layers=2, num_attention_heads=4)
    tensors = toy_tensors(config) | {"bert.embeddings.position_ids": torch.arange(64)[None]}
    (root / "config.json").write_text(json.dumps(config))
    save_file(tensors, root / "model.safetensors")
    return root, tensors


def v2_gc95m(root):
    """2024: V2 under the older name, in a folder below the weights."""
    write_dictionaries(root / "geneformer", V2, "_gc95M", ITSELF)
    config = toy_config(N_GENES + 4, num_hidden_layers=4, intermediate_size=48)
    tensors = toy_tensors(config)
    (root / "config.json").write_text(json.dumps(config))
    save_file(tensors, root / "model.safetensors")
    return root, tensors


def whole_repository(root, model, n_special):
    """2025: all models in folders of their own, the dictionaries of both versions in another."""
    write_dictionaries(root / "geneformer", V2, "_gc104M", ITSELF)
    write_dictionaries(root / "geneformer" / "gene_dictionaries_30m", V1, "_gc30M", ITSELF)
    folder = root / model
    folder.mkdir(exist_ok=True)
    config = toy_config(N_GENES + n_special)
    tensors = toy_tensors(config)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder, tensors


LAYOUTS = {
    "old_v1": old_v1,
    "v1_beside": v1_beside,
    "v2_gc95m": v2_gc95m,
    "v1_of_repository": lambda root: whole_repository(root, "Geneformer-V1-10M", 2),
    "v2_of_repository": lambda root: whole_repository(root, "Geneformer-V2-104M_CLcancer", 4),
    "v1_in_the_root": lambda root: whole_repository(root, "", 2),
    "v2_in_the_root": lambda root: whole_repository(root, "", 4),
}


@pytest.fixture()
def v2(tmp_path):
    return v2_gc95m(tmp_path)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_official_layout_is_read(tmp_path, layout):
    """The vectors are those that Hugging Face gives for the same files."""
    transformers = pytest.importorskip("transformers")
    folder, tensors = LAYOUTS[layout](tmp_path)
    data = some_cells()
    model = Geneformer(str(folder), device="cpu").fit(data, seed=0)
    config = json.loads((folder / "config.json").read_text())
    reference = transformers.BertForMaskedLM(transformers.BertConfig(**config, attn_implementation="eager")).eval()
    reference.load_state_dict(tensors, strict=False)
    reference.tie_weights()
    n_special = config["vocab_size"] - N_GENES
    found = model.embed(data).values
    for cell in range(data.n_cells):
        row = data.values[cell].toarray()[0]
        order = sorted(np.flatnonzero(row), key=lambda gene: (-row[gene], gene))[: 64 - (n_special - 2)]
        ids = [gene + n_special for gene in order]
        ids = [2, *ids, 3] if n_special == 4 else ids
        with torch.no_grad():
            states = reference(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2][0]
        expected = states[0] if n_special == 4 else states.mean(0)
        assert np.allclose(found[cell], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["old_v1", "v2_gc95m"])
def test_the_net_keeps_its_contract_in_every_version(tmp_path, layout):
    folder, tensors = LAYOUTS[layout](tmp_path)
    model = Geneformer(str(folder), device="cpu")
    check_net(model.make_net, tokens=next(model.token_chunks(some_cells(4))), tensors=tensors, names=Geneformer.names)


def test_the_contract_of_the_untrained_twin(v2):
    check_embedder(lambda: UntrainedGeneformer(str(v2), device="cpu"), data=labelled(some_cells(12), range(12)))
    check_reconstructor(lambda: UntrainedGeneformer(str(v2), device="cpu"), data=labelled(some_cells(12), range(12)))


def test_dictionaries_of_another_version_are_refused(tmp_path):
    folder, _ = v1_beside(tmp_path)
    write_dictionaries(folder, V2, "_gc30M", ITSELF)
    with pytest.raises(InputError, match=r"152 words; .*token_dictionary_gc30M\.pkl has 154: another version"):
        Geneformer(str(folder)).check_applies(some_cells())


def test_a_folder_without_dictionaries_says_what_it_has(tmp_path):
    folder, _ = old_v1(tmp_path)
    (folder / "geneformer" / "token_dictionary.pkl").unlink()
    with pytest.raises(InputError, match=r"token_dictionary.*it has .*config\.json"):
        Geneformer(str(folder)).check_applies(some_cells())


def test_medians_must_be_there_for_every_token(tmp_path):
    folder, _ = v1_beside(tmp_path)
    write_dictionaries(folder, V1, "_gc30M", ITSELF, medians={gene: 1.0 for gene in GENES[1:]} | {GENES[4]: 0.0})
    with pytest.raises(InputError, match=f"no positive median for 2 genes .*{GENES[0]}"):
        Geneformer(str(folder)).check_applies(some_cells())


def ids_of(folder, data, cell=0):
    """Tokens of one cell as places in GENES; -2 is <cls>, -1 is <eos>."""
    return [int(i) - 4 for i in next(Geneformer(str(folder)).token_chunks(data)).of(cell)]


def test_ranks_by_hand(tmp_path):
    """Count over median decides; equal values stand in the order of the vocabulary, whatever that of the file."""
    medians = {gene: 1.0 for gene in GENES} | {GENES[3]: 4.0, GENES[140]: 0.5}
    write_dictionaries(tmp_path / "geneformer", V2, "_gc95M", ITSELF, medians)
    (tmp_path / "config.json").write_text(json.dumps(toy_config(N_GENES + 4)))
    counts = np.zeros((1, N_GENES))
    counts[0, [3, 9, 20, 21, 140]] = [8, 2, 3, 2, 2]  # over the medians: 2, 2, 3, 2, 4
    by_hand = [-2, 140, 20, 3, 9, 21, -1]
    assert ids_of(tmp_path, cells(counts)) == by_hand
    assert ids_of(tmp_path, cells(counts).take_genes(np.arange(N_GENES)[::-1])) == by_hand


def test_the_order_is_settled_in_float64(tmp_path):
    """Two medians that are one in float32 keep their order."""
    medians = {gene: 1.0 for gene in GENES} | {GENES[5]: 1.0 + 1e-12}
    write_dictionaries(tmp_path, V2, "_gc95M", ITSELF, medians)
    (tmp_path / "config.json").write_text(json.dumps(toy_config(N_GENES + 4)))
    counts = np.zeros((1, N_GENES))
    counts[0, [5, 90]] = 7
    assert ids_of(tmp_path, cells(counts)) == [-2, 90, 5, -1]


def test_retired_lower_case_and_versioned_ids_are_one_gene_and_summed(tmp_path):
    write_dictionaries(tmp_path, V2, "_gc95M", ITSELF | {"ENSG00000999999": GENES[7], "ENSG00000888888": "ENSG00000777777"})
    (tmp_path / "config.json").write_text(json.dumps(toy_config(N_GENES + 4)))
    names = [*GENES[:7], GENES[7].lower(), f"{GENES[8]}.12", *GENES[9:], "ENSG00000999999", "ENSG00000888888"]
    counts = np.zeros((1, N_GENES + 2))
    counts[0, [6, 7, 8, N_GENES, N_GENES + 1]] = [4, 3, 1, 2, 9]  # gene 7: 3 + 2; the last is no gene of the vocabulary
    assert ids_of(tmp_path, cells(counts, names)) == [-2, 7, 6, 8, -1]


def test_a_cell_is_cut_to_what_fits_between_cls_and_eos(v2):
    counts = np.arange(N_GENES)[::-1][None] + 1
    assert ids_of(v2, cells(counts)) == [-2, *range(62), -1]


def test_stored_zeros_are_no_tokens(v2):
    counts = np.zeros((1, N_GENES))
    counts[0, [3, 4]] = 1
    with_zero = cells(sparse.csr_matrix((np.float32([1, 1, 0]), [3, 4, 9], [0, 3]), shape=(1, N_GENES)))
    assert ids_of(v2, with_zero) == ids_of(v2, cells(counts)) == [-2, 3, 4, -1]


@pytest.mark.parametrize("layout", ["old_v1", "v2_gc95m"])
def test_cells_without_known_genes_get_a_vector(tmp_path, layout):
    folder, _ = LAYOUTS[layout](tmp_path)
    counts = np.zeros((3, N_GENES + 1))
    counts[0, :20], counts[1, N_GENES] = 2, 5  # one cell with genes, one with an unknown gene, one with nothing
    data = cells(counts, [*GENES, "ENSG00000999999"])
    model = Geneformer(str(folder), pooling="mean", device="cpu").fit(data, seed=0)
    found = model.embed(data).aligned_to(data.cell_ids).values
    assert found[0].any() and not found[1:].any()
    assert np.array_equal(model.embed(data.take([2])).values[0], found[2])
    if layout == "v2_gc95m":
        assert Geneformer(str(folder), device="cpu").fit(data, seed=0).embed(data).values.any(axis=1).all()
    assert np.array_equal(np.unique(model.reconstruct(data, hide=0.5).rows), [0])


@pytest.mark.parametrize(
    ("options", "message"), [({"layer": 1}, "layer is 1"), ({"layer": -5}, "has 4 layers"), ({"pooling": "max"}, "pooling is 'max'")]
)
def test_options_that_make_no_sense_are_refused(v2, options, message):
    with pytest.raises(InputError, match=message):
        Geneformer(str(v2), **options).check_applies(some_cells())


def test_the_lowest_layer_is_the_embedding_of_tokens(v2):
    data = some_cells(3)
    model = Geneformer(str(v2), layer=-4, device="cpu").fit(data, seed=0)
    net = model.net
    cls = net.norm(net.words.weight[2] + net.types.weight[0] + net.positions.weight[0])
    assert np.allclose(model.embed(data).values, cls.numpy(), atol=1e-6)


def test_a_fine_tuned_checkpoint_embeds_but_predicts_no_genes(tmp_path):
    folder, tensors = v2_gc95m(tmp_path)
    bert = {name: tensor for name, tensor in tensors.items() if name.startswith("bert.")}
    data, expected = some_cells(), Geneformer(str(folder)).fit(some_cells(), seed=0).embed(some_cells()).values
    save_file({**bert, "classifier.weight": torch.zeros(3, 12), "classifier.bias": torch.zeros(3)}, folder / "model.safetensors")
    model = Geneformer(str(folder)).fit(data, seed=0)
    np.testing.assert_array_equal(model.embed(data).values, expected)
    with pytest.raises(NotApplicable, match="fine-tuned.*has no head"):
        model.reconstruct(data)
    assert UntrainedGeneformer(str(folder)).fit(data, seed=0).embed(data).values.shape == expected.shape


def test_half_a_head_is_an_error(tmp_path):
    folder, tensors = v2_gc95m(tmp_path)
    save_file({name: tensor for name, tensor in tensors.items() if name != "cls.predictions.bias"}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"missing \(1\): head.bias"):
        Geneformer(str(folder)).fit(some_cells(), seed=0)


def test_symbols_are_found_by_the_official_names(tmp_path):
    v1_beside(tmp_path)
    symbols = [f"Sym{i}" for i in range(N_GENES)]
    (tmp_path / "gene_name_id_dict_gc30M.pkl").write_bytes(pickle.dumps({**dict(zip(symbols, GENES, strict=True)), "OTHER": "ENSG9"}))
    data = some_cells()
    named = cells(data.values, symbols)
    model = Geneformer(str(tmp_path)).fit(data, seed=0)
    np.testing.assert_array_equal(model.embed(named).values, model.embed(data).values)
