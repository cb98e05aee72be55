"""CellPLM against the reference implementation (parity fixture) and against stock layers under the official names."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS, TASKS
from scrutiny.data.read import read
from scrutiny.engine.applies import obstacle
from scrutiny.methods.foundation.cellplm import CellPlm
from scrutiny.nets.cellplm import CELLPLM_NAMES, CellPlmConfig, CellPlmNet, flow_attention
from scrutiny.nets.tokens import Tokens, batch_of
from scrutiny.testing import check_embedder, check_net, check_reconstructor

SEED, TOLERANCE = 91, 1e-4
"""As the README of the fixture says: relative to activations of order 7."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "parity" / "cellplm"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    """Cells without a role: the column ``batch`` is not looked at."""
    return read(folder / "cells.h5ad", organism="human")


@pytest.fixture(scope="module")
def model(folder: Path) -> CellPlm:
    return CellPlm(str(folder)).with_seed(0)


def test_genes_are_those_of_the_reference(model, data, expected):
    matched = model.match(data)
    order = np.argsort(expected["gene_index"])
    assert np.array_equal(matched.words, expected["gene_index"][order])
    assert np.array_equal(matched.gene_ids, data.genes[expected["gene_columns"][order]])


def test_hidden_states_are_those_of_the_reference(model, data, expected):
    (tokens,) = model.token_chunks(data)
    net, cells = model.net, batch_of(tokens)
    with torch.inference_mode():
        read_in = net.read(cells)
        encoded = net.encode(read_in, [24])
        found = {
            "log1p_matmul": net.genes(cells),
            "embedder_output": read_in,
            "encoder_hidden": encoded,
            "pre_latent_norm": net.norm(encoded),
            "cluster_logits": net.cluster(net.norm(encoded)),
        }
    for name, values in found.items():
        np.testing.assert_allclose(values.numpy(), expected[name], rtol=1e-5, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize(
    ("options", "has_batch", "name"),
    [
        ({}, False, "cell_emb_no_gumbel"),
        ({"by_batch": False}, True, "cell_emb_no_gumbel"),
        ({}, True, "cell_emb_no_gumbel_by_batch"),
        ({"batch_size": 8}, False, "cell_emb_no_gumbel_bs8"),
        ({"batch_size": 1}, False, "cell_emb_no_gumbel_alone"),
    ],
)
def test_vectors_are_those_of_the_reference(folder, data, expected, options, has_batch, name):
    cells = data.with_roles(batch="batch") if has_batch else data
    found = CellPlm(str(folder), noise=False, **options).fit_embed(cells, seed=0).aligned_to(data.cell_ids)
    np.testing.assert_allclose(found.values, expected[name], atol=TOLERANCE)


def test_the_stream_of_random_numbers_is_that_of_the_reference(folder, data, expected):
    found = CellPlm(str(folder), compat="official").fit_embed(data, seed=SEED).values
    np.testing.assert_allclose(found, expected["cell_emb_seeded"], atol=TOLERANCE)
    assert not np.allclose(found, expected["cell_emb_no_gumbel"], atol=0.01)


def test_noise_is_that_of_the_reference(folder, expected):
    model = CellPlm(str(folder), compat="official").with_seed(SEED)
    found = model._noise(np.array(["cell"] * 24), model._stream())
    np.testing.assert_allclose(found, expected["gumbel_noise"], rtol=1e-6)


def test_decoder_is_that_of_the_reference(model, expected):
    latent = torch.from_numpy(expected["decoder_latent"])
    told = {name: torch.from_numpy(expected[f"decoder_{name}"][:6]).long() for name in ("batch", "dataset")}
    with torch.inference_mode():
        found = model.net.decoder(latent, told)
    assert np.array_equal(expected["decoder_recon"], expected["decoder_mean"])
    np.testing.assert_allclose(found.mean[:, :1000].numpy(), expected["decoder_mean"], rtol=1e-4)
    np.testing.assert_allclose(found.dispersion[:1000].expand(6, 1000).numpy(), expected["decoder_disp"], rtol=1e-5)


def test_it_keeps_the_contract_of_embedders(folder, data):
    columns = {"l": np.arange(data.n_cells) % 3, "b": np.arange(data.n_cells) % 2}
    cells = replace(data, obs=data.obs.assign(**columns), roles={"label": "l", "batch": "b"})
    check_embedder(lambda: CellPlm(str(folder)), data=cells)
    check_embedder(lambda: CellPlm(str(folder), noise=False), data=cells)
    check_reconstructor(lambda: CellPlm(str(folder), noise=False), data=cells)


def test_draws_belong_to_the_cell(folder, data):
    model, few = CellPlm(str(folder), batch_size=1), data.take(np.array([5, 2, 9]))
    everyone = model.fit_embed(data, seed=3).values
    np.testing.assert_allclose(model.fit_embed(few, seed=3).values, everyone[[5, 2, 9]], atol=TOLERANCE)
    assert not np.allclose(model.fit_embed(data, seed=4).values, everyone, atol=0.01)


def test_the_untrained_twin_follows_its_seed(folder, data):
    twin = METHODS.get("control/untrained_cellplm")
    first, again, other = (twin(str(folder), noise=False).fit_embed(data, seed=seed).values for seed in (1, 1, 2))
    trained = CellPlm(str(folder), noise=False).fit_embed(data, seed=1).values
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=0.05) and not np.allclose(first, trained, atol=0.05)
    assert twin(noise=False).card.seeded and not CellPlm(noise=False).card.seeded and CellPlm().card.seeded
    assert not hasattr(twin, "embed")


def test_gene_vectors_are_the_rows_of_the_table(model, data, expected):
    found = model.embed_genes(data)
    (tokens,) = model.token_chunks(data)
    column = pd.Index(model.match(data).words).get_indexer(tokens.of(0))
    np.testing.assert_allclose(tokens.of(0, "values") @ found.values[column], expected["log1p_matmul"][0], rtol=1e-5, atol=TOLERANCE)


def test_tasks_with_an_unseen_query_are_not_applicable(folder, data):
    cells = replace(data, obs=data.obs.assign(l=np.arange(24) % 3), roles={"label": "l"})
    assert "the query must stay unseen" in str(obstacle(CellPlm(str(folder)), TASKS.get("label_transfer").card, cells))


# Other sizes -------------------------------------------------------------------------------------------------------------------------

IDS = np.array([f"ENSG{i:011}" for i in range(300)])
INNER = 512
"""Width that the official code fixes."""


def norm(kind: str, d: int) -> nn.Module:
    return nn.GroupNorm(4, d) if kind == "groupnorm" else nn.LayerNorm(d)


class Reference(nn.Module):
    """The published model of stock layers under its own names; attention as Wu et al. 2022 write it, with all flows spelt out."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        d, kind, k, z, h = config["enc_hid"], config["norm"], config["num_clusters"], config["post_latent_dim"], config["dec_hid"]
        self.heads = config["enc_head"]
        self.embedder = nn.ModuleDict(
            {
                "norm0": norm(kind, d),
                "extra_linear": nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Dropout(), norm(kind, d)),
                "pe_enc": nn.ModuleDict({"pe_enc": nn.Embedding(20, d)}),
                "feat_enc": nn.Module(),
            }
        )
        self.embedder["pe_enc"].missing_pe = nn.Parameter(torch.empty(d))
        self.embedder["feat_enc"].emb = nn.Parameter(torch.empty(len(IDS), d))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(flow_layer(d) for _ in range(config["enc_layers"]))})
        self.pre_latent_norm = nn.ModuleDict({"norm": nn.LayerNorm(d)})
        inference = nn.ModuleDict(
            {
                "inference_qyx": nn.ModuleList([nn.ModuleDict({"logits": nn.Linear(d, k)})]),
                "inference_qzyx": nn.ModuleList(
                    [nn.Linear(d + k, INNER), nn.ReLU(), nn.ModuleDict({"mu": nn.Linear(INNER, z), "var": nn.Linear(INNER, z)})]
                ),
                "y_mu": nn.Linear(k, z),
                "y_var": nn.Linear(k, z),
            }
        )
        self.latent = nn.ModuleDict({"layers": nn.ModuleList([nn.Identity(), nn.ModuleDict({"inference": inference})])})
        widths = [z, *[h] * (config["dec_layers"] - 1)]
        out = nn.ModuleDict({"dec_1": nn.Linear(widths[-1], 128), "dec_mean": nn.Sequential(nn.Linear(128, len(IDS)))})
        out.dec_disp = nn.Parameter(torch.empty(len(IDS)))
        known = {name: config[f"{name}_num"] for name in ("batch", "dataset", "platform") if config.get(f"{name}_num")}
        self.decoder = nn.ModuleDict(
            {
                "layers": nn.ModuleList(nn.Sequential(nn.Linear(a, h), nn.PReLU(), nn.Dropout(), norm(kind, h)) for a in widths[:-1]),
                "covariate_layers": nn.ModuleList(
                    nn.ModuleDict({name: nn.Sequential(nn.Embedding(n, h), nn.PReLU(), norm(kind, h)) for name, n in known.items()})
                    for _ in (widths[:-1] if known else [])
                ),
                "out_layer": out,
            }
        )

    def attention(self, layer: nn.ModuleDict, x: Tensor) -> Tensor:
        q, k, v = (
            layer["self_attn"][f"{name}_projection"](x).unflatten(1, (self.heads, -1)).transpose(0, 1) for name in ("query", "key", "value")
        )  # (H, N, E)
        q, k, eps, n = q.sigmoid(), k.sigmoid(), 1e-6, len(x)
        incoming = ((q + eps) * (k.sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)  # (H, N, 1)
        outgoing = ((k + eps) * (q.sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
        sink = ((q + eps) * ((k / outgoing).sum(1, keepdim=True) + eps)).sum(-1, keepdim=True)
        source = ((k + eps) * ((q / incoming).sum(1, keepdim=True) + eps)).sum(-1, keepdim=True).clamp(-1, 1)
        out = (q / incoming) @ (k.transpose(1, 2) @ (v * source.softmax(1) * n)) * sink.sigmoid()
        return layer["self_attn"]["out_projection"](out.transpose(0, 1).flatten(1))

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (N, V) of cells of one sample -> latent vectors (N, D'), the likeliest cluster of each."""
        x = self.embedder["extra_linear"](torch.log1p(counts) @ self.embedder["feat_enc"].emb)
        for layer in self.encoder["layers"]:
            x = x + self.attention(layer, layer["norm1"](x))
            x = x + layer["_ff_block"](layer["norm2"](x))
        x = self.pre_latent_norm["norm"](x)
        inference = self.latent["layers"][1]["inference"]
        logits = inference["inference_qyx"][0]["logits"](x)
        chosen = F.one_hot(logits.argmax(1), logits.shape[1]).float()
        return inference["inference_qzyx"][2]["mu"](F.relu(inference["inference_qzyx"][0](torch.cat([x, chosen], 1))))

    def means(self, latent: Tensor) -> Tensor:
        """(N, D') -> (N, V) of cells of which no batch is known."""
        x = latent
        covariates = self.decoder["covariate_layers"] or [{}] * len(self.decoder["layers"])
        for layer, known in zip(self.decoder["layers"], covariates, strict=True):
            x = layer(x) + sum(c[2](c[1](c[0].weight.sum(0, keepdim=True))) for c in known.values())
        out = self.decoder["out_layer"]
        return out["dec_mean"](F.relu(out["dec_1"](x))).exp().clamp(1e-5, 1e6)


def flow_layer(d: int) -> nn.ModuleDict:
    projections = nn.ModuleDict({f"{name}_projection": nn.Linear(d, d) for name in ("query", "key", "value", "out")})
    feed_forward = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(), nn.Linear(2 * d, d), nn.Dropout())
    return nn.ModuleDict({"self_attn": projections, "_ff_block": feed_forward, "norm1": nn.LayerNorm(d), "norm2": nn.LayerNorm(d)})


SMALL = {
    **{"enc_mod": "flowformer", "latent_mod": "gmvae", "dec_mod": "nbmlp", "norm": "groupnorm", "out_dim": len(IDS), "dataset": "any"},
    **{"enc_hid": 16, "enc_head": 4, "enc_layers": 3, "post_latent_dim": 5, "num_clusters": 3, "dec_hid": 12, "dec_layers": 2},
    **{"batch_num": 4, "dataset_num": 2, "gene_list": [str(gene) for gene in IDS]},
}


def save(folder: Path, **changes) -> Reference:
    config = {**SMALL, **changes}
    net, generator = Reference(config).eval(), torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            parameter.uniform_(0.5, 1.5, generator=generator) if is_scale else parameter.normal_(0, 0.25, generator=generator)
    torch.save({"epoch": 3, "model_state_dict": net.state_dict(), "optimizer": {"lr": 0.1}}, folder / "other.best.ckpt")
    (folder / "other.config.json").write_text(json.dumps(config))
    return net


@pytest.fixture
def cells() -> Dataset:
    """Forty cells of the known genes in another order and of some that are not known."""
    rng = np.random.default_rng(3)
    counts = sparse.csr_matrix(rng.poisson(0.4, (40, 330)))
    genes = rng.permutation([*IDS, *(f"ENSG9{i:010}" for i in range(30))])
    return from_arrays("toy", counts, pd.DataFrame(index=[f"c{i}" for i in range(40)]), genes, organism="human")


def counts_of(data: Dataset) -> Tensor:
    return torch.from_numpy(data.values[:, data.var.index.get_indexer(IDS)].toarray())


VARIANTS = [
    {},
    {"norm": "layernorm", "enc_layers": 1, "enc_head": 2, "batch_num": 0, "platform_num": 3},
    {"batch_num": 0, "dataset_num": 0, "dec_layers": 1, "num_clusters": 7},
    {"dec_layers": 4, "enc_hid": 32, "enc_head": 8, "post_latent_dim": 9},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_other_sizes_are_read_from_the_config(tmp_path, cells, changes):
    net = save(tmp_path, **changes)
    model = CellPlm(str(tmp_path), noise=False)
    with torch.no_grad():
        latent = net(counts_of(cells))
        means = net.means(latent)
    np.testing.assert_allclose(model.fit_embed(cells, seed=0).values, latent.numpy(), atol=TOLERANCE)
    found = model.reconstruct(cells, zeros="all")
    log_counts = {"predicted": means, "true": counts_of(cells)}
    column = pd.Index(IDS).get_indexer(found.gene_ids)[found.columns]
    for name, counts in log_counts.items():
        whole = torch.log1p(1e4 * counts / counts.sum(1, keepdim=True)).numpy()
        np.testing.assert_allclose(getattr(found, name), whole[found.rows, column], rtol=1e-3, atol=TOLERANCE)
    assert len(found.true) == 40 * 300 and not found.hidden.any() and found.quantity == "log count"


def test_hidden_genes_are_not_shown(tmp_path, cells):
    net = save(tmp_path)
    model = CellPlm(str(tmp_path), noise=False)
    found = model.reconstruct(cells, hide=0.5, zeros="all")
    gone, expressed = found.hidden.reshape(40, -1), found.true.reshape(40, -1) > 0
    for kind in (expressed, ~expressed):
        assert np.array_equal((gone & kind).sum(1), np.round(kind.sum(1) / 2))
    shown = counts_of(cells).clone()
    shown[:, pd.Index(IDS).get_indexer(found.gene_ids)] *= torch.from_numpy(~gone)
    with torch.no_grad():
        means = net.means(net(shown))[:, pd.Index(IDS).get_indexer(found.gene_ids)]
    wanted = torch.log1p(1e4 * means / means.sum(1, keepdim=True)).numpy()
    np.testing.assert_allclose(found.predicted.reshape(40, -1), wanted, rtol=1e-3, atol=TOLERANCE)


def test_hidden_states_of_a_layer(tmp_path, cells):
    save(tmp_path)
    last, before, none = (CellPlm(str(tmp_path), layer=layer).fit_embed(cells, seed=0).values for layer in (0, -1, -3))
    model = CellPlm(str(tmp_path)).with_seed(0)
    (tokens,) = model.token_chunks(cells)
    with torch.inference_mode():
        x = model.net.read(batch_of(tokens))
        np.testing.assert_allclose(none, x.numpy(), atol=1e-6)
        np.testing.assert_allclose(last, model.net.layers[2](torch.from_numpy(before), [40]).numpy(), atol=1e-5)


def test_flow_attention_is_linear_in_the_values_and_keeps_the_order():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 50, 2, 4, generator=generator)
    order = torch.randperm(50, generator=generator)
    torch.testing.assert_close(flow_attention(q, k, v)[order], flow_attention(q[order], k[order], v[order]))
    torch.testing.assert_close(flow_attention(q, k, 3 * v), 3 * flow_attention(q, k, v))


def test_what_does_not_fit_is_refused(tmp_path, cells):
    save(tmp_path)
    cases = [
        ({"enc_mod": "performer"}, "asks for"),
        ({"norm": "batchnorm"}, "asks for"),
        ({"enc_head": 3}, "3 heads do not divide"),
        ({"gene_list": ["a", "a"]}, "300 different genes"),
        ({"enc_layers": 2}, "left over"),
        ({"num_clusters": 4}, "shape"),
    ]
    for change, said in cases:
        (tmp_path / "other.config.json").write_text(json.dumps({**SMALL, **change}))
        with pytest.raises(InputError, match=said):
            CellPlm(str(tmp_path)).fit_embed(cells, seed=0)
    (tmp_path / "other.config.json").write_text(json.dumps({name: value for name, value in SMALL.items() if name != "dec_hid"}))
    with pytest.raises(InputError, match="dec_hid"):
        CellPlm(str(tmp_path)).match(cells)
    save(tmp_path)
    with pytest.raises(InputError, match="layer is -4"):
        CellPlm(str(tmp_path), layer=-4).match(cells)
    with pytest.raises(InputError, match="batch_size is 0"):
        CellPlm(batch_size=0)
    with pytest.raises(NotApplicable, match="expected at least 100"):
        CellPlm(str(tmp_path)).match(cells.take_genes(np.arange(90)))
    torch.save({"state_dict": {}}, tmp_path / "other.best.ckpt")
    with pytest.raises(InputError, match="model_state_dict"):
        CellPlm(str(tmp_path)).fit_embed(cells, seed=0)


def test_the_net_keeps_the_contract_of_nets(tmp_path):
    save(tmp_path)
    model, generator = CellPlm(str(tmp_path)), torch.Generator().manual_seed(1)
    lengths = np.array([4, 1, 7])
    columns = {"x": torch.randn(12, 16, generator=generator).numpy(), "noise": np.zeros((12, 3), np.float32)}

    def compute(net, samples):
        latent = net(samples)
        return torch.cat([latent, net.decoder(latent).mean.log()], dim=1)

    check_net(
        lambda: CellPlmNet(CellPlmConfig.from_json(tmp_path / "other.config.json")),
        tokens=Tokens(lengths, columns),
        tensors=model.tensors(model.folder),
        names=CELLPLM_NAMES,
        compute=compute,
    )
