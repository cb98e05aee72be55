"""SCimilarity against the reference implementation (parity fixture) and against stock layers under the official names."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.read import read
from scrutiny.methods.foundation.scimilarity import Scimilarity, UntrainedScimilarity
from scrutiny.nets.scimilarity import SCIMILARITY_NAMES, ScimilarityConfig, ScimilarityNet
from scrutiny.nets.tokens import Tokens, batch_of
from scrutiny.testing import check_embedder, check_net, check_reconstructor

SYMBOLS = np.array([f"GENE{i}" for i in range(600)])
TOLERANCE = 1e-5
"""As the README of the fixture suggests; hidden layers are sums over thousands of genes: relative 1e-4."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "scimilarity"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return read(folder / "cells.h5ad", organism="human")


def test_genes_and_values_are_those_of_the_reference(folder, data, expected):
    model = Scimilarity(str(folder))
    (tokens,) = model.token_chunks(data)
    assert np.array_equal(tokens.lengths, expected["n_aligned"])
    found = np.zeros(len(expected["lognorm_cell0"]), np.float32)
    found[tokens.of(0)] = tokens.of(0, "values")
    np.testing.assert_allclose(found, expected["lognorm_cell0"], atol=TOLERANCE)
    (counts,) = model.match(data).counts(data)
    assert np.array_equal(np.asarray(counts.known.sum(axis=1)).ravel(), expected["total_aligned"])


def test_vectors_are_those_of_the_reference(folder, data, expected):
    found = Scimilarity(str(folder)).fit(data, seed=0).embed(data).aligned_to(data.cell_ids)
    np.testing.assert_allclose(found.values, expected["cell_emb"], atol=TOLERANCE)


@pytest.mark.parametrize("layer", [-3, -2, -1])
def test_hidden_layers_are_those_of_the_reference(folder, data, expected, layer):
    found = Scimilarity(str(folder), layer=layer).fit(data, seed=0).embed(data)
    np.testing.assert_allclose(found.values, expected[f"layer{3 + layer}"], rtol=1e-4, atol=TOLERANCE)


def test_output_before_it_is_scaled_is_that_of_the_reference(folder, data, expected):
    model = Scimilarity(str(folder)).fit(data, seed=0)
    (tokens,) = model.token_chunks(data)
    with torch.inference_mode():
        found = model.net.out(model.net.hidden(batch_of(tokens), 3))
    np.testing.assert_allclose(found.numpy(), expected["layer3"], rtol=1e-4, atol=TOLERANCE)


def test_it_keeps_the_contract_of_embedders(folder, data):
    columns = {"l": np.arange(data.n_cells) % 3, "b": np.arange(data.n_cells) % 2}
    cells = replace(data, obs=data.obs.assign(**columns), roles={"label": "l", "batch": "b"})
    check_embedder(lambda: Scimilarity(str(folder)), data=cells)


def test_the_untrained_twin_follows_its_seed(folder, data):
    trained = Scimilarity(str(folder)).fit(data, seed=0).embed(data).values
    twin = METHODS.get("control/untrained_scimilarity")
    first, again, other = (twin(str(folder)).fit(data, seed=seed).embed(data).values for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=0.01) and not np.allclose(first, trained, atol=0.01)
    assert UntrainedScimilarity.card.twin_of == "scimilarity"


class Reference(nn.Module):
    """The perceptron as the authors put it together, dropout left out where it has no parts to count."""

    def __init__(self, widths: list[int], *, dropout_first: bool) -> None:
        super().__init__()
        blocks = [
            nn.Sequential(*([nn.Dropout(0.5)] if i or dropout_first else []), nn.Linear(d, e), nn.BatchNorm1d(e), nn.PReLU())
            for i, (d, e) in enumerate(zip(widths[:-2], widths[1:-1]))
        ]
        self.network = nn.ModuleList([*blocks, nn.Linear(widths[-2], widths[-1])])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.network:
            x = layer(x)
        return x


def reference(widths: list[int], seed: int, *, dropout_first: bool) -> Reference:
    generator = torch.Generator().manual_seed(seed)
    net = Reference(widths, dropout_first=dropout_first).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.4, generator=generator)
    return net


def save(folder: Path, hidden: list[int], *, decoder: bool = True) -> tuple[Reference, Reference]:
    """A checkpoint in the official layout for the genes SYMBOLS."""
    widths = [len(SYMBOLS), *hidden, 6]
    encoder, mirror = reference(widths, 0, dropout_first=True), reference(widths[::-1], 1, dropout_first=False)
    torch.save({"state_dict": encoder.state_dict()}, folder / "encoder.ckpt")
    if decoder:
        torch.save({"state_dict": mirror.state_dict()}, folder / "decoder.ckpt")
    (folder / "layer_sizes.json").write_text(json.dumps({name: list(t.shape) for name, t in encoder.state_dict().items()}))
    (folder / "gene_order.tsv").write_text("\n".join(SYMBOLS) + "\n")
    return encoder, mirror


@pytest.fixture
def cells() -> Dataset:
    """Nine cells of the known genes in another order and of some that are not known."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(0.4, (9, 650))
    counts[2] = 0
    genes = rng.permutation([*SYMBOLS, *(f"OTHER{i}" for i in range(50))])
    return from_arrays("toy", counts, pd.DataFrame(index=[f"c{i}" for i in range(9)]), genes, organism="human")


def log_counts(data: Dataset) -> np.ndarray:
    known = data.values[:, data.var.index.get_indexer(SYMBOLS)].toarray()
    return np.log1p(1e4 * known / np.maximum(known.sum(axis=1, keepdims=True), 1))


@pytest.mark.parametrize("hidden", [[5], [12, 9], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]])
def test_any_number_of_layers_is_read_and_mirrored(tmp_path, cells, hidden):
    encoder, mirror = save(tmp_path, hidden)
    model = Scimilarity(str(tmp_path)).fit(cells, seed=0)
    with torch.no_grad():
        vectors = nn.functional.normalize(encoder(torch.from_numpy(log_counts(cells)).float()), dim=1)
        genes = mirror(vectors).numpy()
    np.testing.assert_allclose(model.embed(cells).values, vectors.numpy(), atol=1e-5)
    found = model.reconstruct(cells, zeros="all")
    column = pd.Index(SYMBOLS).get_indexer(found.gene_ids)[found.columns]
    np.testing.assert_allclose(found.predicted, genes[found.rows, column], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.true, log_counts(cells)[found.rows, column], rtol=1e-5)
    assert not found.hidden.any() and len(found.predicted) == 9 * 600 and found.quantity == "log count"


def test_what_deeper_sequencing_would_show_is_what_the_decoder_says(tmp_path, cells):
    """In shares of all counts, of which the model knows some; of genes that it does not know nothing is said."""
    save(tmp_path, [8, 5])
    model = Scimilarity(str(tmp_path)).fit(cells, seed=0)
    rows, columns = np.indices((cells.n_cells, cells.n_genes)).reshape(2, -1)
    found = model.deepen(cells, totals=np.full(cells.n_cells, 1e5), rows=rows, columns=columns).aligned_to(cells.cell_ids)
    plain = model.reconstruct(cells, zeros="all").aligned_to(cells.cell_ids)
    known = np.isin(cells.genes, plain.gene_ids)
    dense = cells.values.toarray().astype(np.float64)
    share = np.where(np.arange(9) == 2, 1.0, dense[:, known].sum(axis=1) / np.maximum(dense.sum(axis=1), 1))  # cell 2 has no counts
    by_gene = dict(zip(zip(plain.rows, plain.gene_ids[plain.columns]), plain.predicted))
    expected = [by_gene[row, gene] for row, gene in zip(found.rows, found.gene_ids[found.columns])]
    np.testing.assert_allclose(found.predicted, np.log1p(np.expm1(np.clip(expected, 0, np.log1p(1e4))) * share[found.rows]), rtol=1e-4)
    assert np.array_equal(np.unique(found.columns), np.flatnonzero(known))


def test_hidden_genes_are_not_shown(tmp_path, cells):
    save(tmp_path, [8, 5])
    model = Scimilarity(str(tmp_path)).fit(cells, seed=4)
    shown, half = (model.reconstruct(cells, hide=share, zeros="all") for share in (0.0, 0.5))
    for kind in (half.true > 0, half.true == 0):
        assert np.array_equal(np.bincount(half.rows, half.hidden & kind, 9), np.round(np.bincount(half.rows, kind, 9) / 2))
    assert not np.allclose(shown.predicted, half.predicted)
    backwards = model.reconstruct(cells.take(np.arange(9)[::-1]), hide=0.5, zeros="all")
    assert np.array_equal(half.hidden.reshape(9, -1), backwards.hidden.reshape(9, -1)[::-1])


def test_the_contract_of_a_method_that_predicts_expression(tmp_path, cells):
    save(tmp_path, [8, 5])
    check_reconstructor(lambda: Scimilarity(str(tmp_path)), data=cells)


def test_what_is_lacking_is_said(tmp_path, cells):
    save(tmp_path, [8, 5], decoder=False)
    with pytest.raises(NotApplicable, match=r"no decoder\.ckpt"):
        Scimilarity(str(tmp_path)).fit(cells, seed=0).reconstruct(cells)
    with pytest.raises(NotApplicable, match=r"no decoder\.ckpt"):
        Scimilarity(str(tmp_path)).fit(cells, seed=0).deepen(cells, totals=np.ones(9), rows=np.arange(9), columns=np.arange(9))
    with pytest.raises(NotApplicable, match="at least 120"):
        Scimilarity(str(tmp_path)).fit(cells, seed=0).embed(cells.take_genes(np.arange(100)))
    with pytest.raises(InputError, match="this model has 2 hidden layers"):
        Scimilarity(str(tmp_path), layer=-3).fit(cells, seed=0)
    with pytest.raises(InputError, match="layer is 1"):
        Scimilarity(layer=1)
    (tmp_path / "gene_order.tsv").write_text("\n".join(SYMBOLS[:-1]))
    with pytest.raises(InputError, match="names 599 genes; the first layer has 600"):
        Scimilarity(str(tmp_path)).match(cells)
    (tmp_path / "gene_order.tsv").write_text("\n".join([*SYMBOLS[:-1], SYMBOLS[0]]))
    with pytest.raises(InputError, match="names 'GENE0' more than once"):
        Scimilarity(str(tmp_path)).match(cells)


def test_odd_layer_sizes_are_refused(tmp_path):
    gap = '{"network.0.1.weight": [4, 9], "network.1.weight": [2, 5]}'
    for text, said in ((gap, "on top of"), ("{}", "at least two"), ("[1]", "expected a dictionary"), ('{"network.0": 3}', "shape")):
        (tmp_path / "layer_sizes.json").write_text(text)
        with pytest.raises(InputError, match=said):
            ScimilarityConfig.from_layer_sizes(tmp_path / "layer_sizes.json")


def test_the_net_keeps_the_contract_of_nets(tmp_path):
    save(tmp_path, [24, 16])
    model, rng = Scimilarity(str(tmp_path)), np.random.default_rng(0)
    lengths = np.array([3, 0, 7, 5])
    tokens = Tokens(lengths, {"ids": rng.integers(0, 600, 15), "values": 9 * rng.random(15, dtype=np.float32)})
    check_net(
        lambda: ScimilarityNet(model.files.config),
        tokens=tokens,
        tensors=model.tensors(model.folder),
        names=SCIMILARITY_NAMES,
        compute=lambda net, batch: torch.cat([x := net(batch), net.decoder(x)], dim=1),
    )
