"""CellPLM: a transformer in which cells are the tokens, with attention between the cells of a sample and a mixture of Gaussians on top.

Wen et al. 2024. Attention is that of Flowformer (Wu et al. 2022), whose cost grows with the number of cells and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .dictionaries import read_dictionary
from .tokens import Batch
from .weights import NameMap

NORMS = {"groupnorm": lambda d: nn.GroupNorm(4, d), "layernorm": nn.LayerNorm}
LATENT_HIDDEN = 512
"""Width of the hidden layer of the latent net, fixed in the official code."""
DECODED = 128
"""Width of the last hidden layer of the decoder, fixed in the official code."""
FIRST_GENES = 0.005
"""Standard deviation that gene vectors start from."""
EPS = 1e-6
CELLS_AT_A_TIME = 8_192
"""For what is done cell by cell, so that wide layers do not hold all cells at once."""
ONLY = {"enc_mod": "flowformer", "latent_mod": "gmvae", "dec_mod": "nbmlp", "input_covariate": False, "dsbn": False}
"""Choices of the official code of which the published model, and this one, have one."""


@dataclass(frozen=True)
class CellPlmConfig:
    """Sizes as ``<name>.config.json`` has them."""

    out_dim: int
    enc_hid: int
    enc_layers: int
    post_latent_dim: int
    num_clusters: int
    dec_hid: int
    dec_layers: int
    batch_num: int = 0
    dataset_num: int = 0
    platform_num: int = 0
    enc_head: int = 8
    norm: str = "layernorm"

    @classmethod
    def from_json(cls, path: Path) -> CellPlmConfig:
        """Raises InputError if a field is missing or asks for a part that the published model has not."""
        fields = read_dictionary(path)
        other = {name: fields[name] for name, known in ONLY.items() if fields.get(name, known) != known}
        if other or fields.get("norm", cls.norm) not in NORMS:
            raise InputError(f"{path} asks for {other or {'norm': fields['norm']}}; known are {ONLY} and norm {sorted(NORMS)}")
        try:
            config = cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})
        except TypeError as error:
            raise InputError(f"{path} lacks a field: {error}") from error
        if config.enc_hid % config.enc_head:
            raise InputError(f"{path} has the width {config.enc_hid}, which {config.enc_head} heads do not divide")
        return config

    @property
    def covariates(self) -> dict[str, int]:
        """What the decoder may be told of a cell, with how many values each; none of no values."""
        numbers = {"batch": self.batch_num, "dataset": self.dataset_num, "platform": self.platform_num}
        return {name: n for name, n in numbers.items() if n}


class Counts(NamedTuple):
    """A negative binomial for every gene: mean (N, V), up to the depth of the cell, and dispersion (V,)."""

    mean: Tensor
    dispersion: Tensor


class CellPlmNet(nn.Module):
    """Cells to vectors, those of a sample together. Here B are samples and N the cells of all of them laid end to end."""

    def __init__(self, config: CellPlmConfig) -> None:
        super().__init__()
        d, n_clusters = config.enc_hid, config.num_clusters
        self.genes = GeneTable(config.out_dim, d)
        self.cell = nn.Linear(d, d)
        self.cell_norm = NORMS[config.norm](d)
        self.layers = nn.ModuleList(FlowBlock(d, config.enc_head) for _ in range(config.enc_layers))
        self.norm = nn.LayerNorm(d)
        self.cluster = nn.Linear(d, n_clusters)
        self.latent_hidden = nn.Linear(d + n_clusters, LATENT_HIDDEN)
        self.latent = nn.Linear(LATENT_HIDDEN, config.post_latent_dim)
        self.decoder = Decoder(config)

    def read(self, cells: Batch) -> Tensor:
        """Columns ``ids`` (gene) and ``values`` (log count) of cells -> (N, D), each cell by itself."""
        return self.cell_norm(F.relu(self.cell(self.genes(cells))))

    def encode(self, x: Tensor, lengths: Sequence[int], n_layers: int | None = None) -> Tensor:
        """(N, D) -> (N, D) after the first ``n_layers`` layers; None: after all. ``lengths`` are the cells of each sample."""
        for layer in self.layers[:n_layers]:
            x = layer(x, lengths)
        return x

    def forward(self, samples: Batch) -> Tensor:
        """Columns ``x`` (N, D), as `read` gives it, and ``noise`` (N, n_clusters) -> latent vectors (N, D')."""
        h = self.norm(self.encode(samples.columns["x"], samples.lengths))
        logits = self.cluster(h) + samples.columns["noise"]
        chances = logits.softmax(dim=1)
        hard = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(chances.dtype)
        chosen = hard + chances - chances.detach()  # (N, n_clusters), one cluster a cell; in training the gradient is that of the chances
        return self.latent(F.relu(self.latent_hidden(torch.cat([h, chosen], dim=1))))


class GeneTable(nn.Module):
    """A vector a gene; a cell is their sum, weighted by its log counts."""

    def __init__(self, n_genes: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_genes, d_model))

    def reset(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.weight, 0.0, FIRST_GENES, generator=generator)

    def forward(self, cells: Batch) -> Tensor:
        """-> (B, D). Reads the rows of expressed genes only."""
        ids, values = cells.columns["ids"], cells.columns["values"]
        return F.embedding_bag(ids, self.weight, cells.start, mode="sum", per_sample_weights=values)


class FlowBlock(nn.Module):
    """A layer normalised before attention and before the feed-forward net."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = FlowAttention(d_model, n_heads)
        self.norm2 = nn.LayerNorm(d_model)
        self.ff1 = nn.Linear(d_model, 2 * d_model)
        self.ff2 = nn.Linear(2 * d_model, d_model)

    def forward(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """(N, D) -> (N, D)."""
        x = x + self.attention(self.norm1(x), lengths)
        return torch.cat([part + self.ff2(F.gelu(self.ff1(self.norm2(part)))) for part in x.split(CELLS_AT_A_TIME)])


class FlowAttention(nn.Module):
    """Attention as a flow network: what a token gives out and what it takes in are both conserved. Linear in the number of tokens."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """(N, D) -> (N, D)."""
        heads = self.qkv(x).unflatten(1, (3, self.n_heads, -1))  # (N, 3, H, E)
        with torch.autocast(x.device.type, enabled=False):  # sums over all cells of a sample need float32
            mixed = torch.cat([flow_attention(*sample.float().unbind(1)) for sample in heads.split(list(lengths))])  # (N, H, E)
        return self.out(mixed.flatten(1))


def flow_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Flow attention among all tokens: q, k, v (T, H, E) -> (T, H, E)."""
    q, k = q.sigmoid(), k.sigmoid()
    incoming, outgoing = 1 / _flow(q, k.sum(0)), 1 / _flow(k, q.sum(0))  # (T, H) each
    kept_by_sink = _flow(q, torch.einsum("the,th->he", k, outgoing))  # (T, H)
    kept_by_source = _flow(k, torch.einsum("the,th->he", q, incoming)).clamp(-1.0, 1.0)  # (T, H)
    competition = kept_by_source.softmax(dim=0) * len(k)  # (T, H)
    mixed = torch.einsum("the,thf->hef", k, v * competition[..., None])  # (H, E, E)
    return torch.einsum("the,hef->thf", q, mixed) * (incoming * kept_by_sink.sigmoid())[..., None]


def _flow(tokens: Tensor, total: Tensor) -> Tensor:
    """(tokens + EPS) . (total + EPS) of each head: (T, H, E), (H, E) -> (T, H)."""
    total = total + EPS
    return torch.einsum("the,he->th", tokens, total) + EPS * total.sum(-1)


class Decoder(nn.Module):
    """Latent vectors to negative binomials of all genes, given what is known of where a cell comes from."""

    def __init__(self, config: CellPlmConfig) -> None:
        super().__init__()
        d, norm = config.dec_hid, NORMS[config.norm]
        widths = [config.post_latent_dim, *[d] * (config.dec_layers - 1)]
        self.layers = nn.ModuleList(DecoderLayer(before, d, norm(d), config) for before in widths[:-1])
        self.hidden = nn.Linear(widths[-1], DECODED)
        self.mean = nn.Linear(DECODED, config.out_dim)
        self.dispersion = Dispersion(config.out_dim)

    def forward(self, latent: Tensor, covariates: dict[str, Tensor] | None = None) -> Counts:
        """(N, D') and numbers (N,) of batch, dataset and platform, as far as they are those of pretraining."""
        x = latent
        for layer in self.layers:
            x = layer(x, covariates or {})
        mean = self.mean(F.relu(self.hidden(x))).exp().clamp(1e-5, 1e6)
        return Counts(mean, self.dispersion.logs.exp().clamp(1e-4, 1e4))


class DecoderLayer(nn.Module):
    """Linear, PReLU, norm, and a vector for the batch, the data set and the platform of a cell."""

    def __init__(self, before: int, width: int, norm: nn.Module, config: CellPlmConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(before, width)
        self.act = nn.PReLU()
        self.norm = norm
        self.covariates = nn.ModuleDict({name: Covariate(n, width, NORMS[config.norm](width)) for name, n in config.covariates.items()})

    def forward(self, x: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        x = self.norm(self.act(self.linear(x)))
        for name, covariate in self.covariates.items():
            x = x + covariate(covariates.get(name))
        return x


class Covariate(nn.Module):
    """A vector for each batch, data set or platform of pretraining."""

    def __init__(self, n_values: int, width: int, norm: nn.Module) -> None:
        super().__init__()
        self.table = nn.Embedding(n_values, width)
        self.act = nn.PReLU()
        self.norm = norm

    def forward(self, numbers: Tensor | None) -> Tensor:
        """(N,) -> (N, width); without numbers (1, width), of the sum of all vectors, as in the official code."""
        x = self.table.weight.sum(0, keepdim=True) if numbers is None else self.table(numbers)
        return self.norm(self.act(x))


class Dispersion(nn.Module):
    """Logarithms of the dispersions of all genes."""

    def __init__(self, n_genes: int) -> None:
        super().__init__()
        self.logs = nn.Parameter(torch.empty(n_genes))

    def reset(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.logs, generator=generator)


def _layer(inner: str) -> str:
    return rf"encoder\.layers\.(\d+)\.{inner}\.(weight|bias)"


_INFERENCE = r"latent\.layers\.1\.inference\."
_COVARIATE = r"decoder\.covariate_layers\.(\d+)\.(batch|dataset|platform)\."
CELLPLM_NAMES = NameMap(
    renamed=(
        (r"embedder\.feat_enc\.emb", "genes.weight"),
        (r"embedder\.extra_linear\.0\.(weight|bias)", r"cell.\1"),
        (r"embedder\.extra_linear\.3\.(weight|bias)", r"cell_norm.\1"),
        (_layer(r"self_attn\.query_projection"), r"layers.\1.attention.qkv.\2#0"),
        (_layer(r"self_attn\.key_projection"), r"layers.\1.attention.qkv.\2#1"),
        (_layer(r"self_attn\.value_projection"), r"layers.\1.attention.qkv.\2#2"),
        (_layer(r"self_attn\.out_projection"), r"layers.\1.attention.out.\2"),
        (_layer(r"_ff_block\.0"), r"layers.\1.ff1.\2"),
        (_layer(r"_ff_block\.3"), r"layers.\1.ff2.\2"),
        (_layer(r"norm1"), r"layers.\1.norm1.\2"),
        (_layer(r"norm2"), r"layers.\1.norm2.\2"),
        (r"pre_latent_norm\.norm\.(weight|bias)", r"norm.\1"),
        (_INFERENCE + r"inference_qyx\.0\.logits\.(weight|bias)", r"cluster.\1"),
        (_INFERENCE + r"inference_qzyx\.0\.(weight|bias)", r"latent_hidden.\1"),
        (_INFERENCE + r"inference_qzyx\.2\.mu\.(weight|bias)", r"latent.\1"),
        (r"decoder\.layers\.(\d+)\.0\.(weight|bias)", r"decoder.layers.\1.linear.\2"),
        (r"decoder\.layers\.(\d+)\.1\.weight", r"decoder.layers.\1.act.weight"),
        (r"decoder\.layers\.(\d+)\.3\.(weight|bias)", r"decoder.layers.\1.norm.\2"),
        (_COVARIATE + r"0\.weight", r"decoder.layers.\1.covariates.\2.table.weight"),
        (_COVARIATE + r"1\.weight", r"decoder.layers.\1.covariates.\2.act.weight"),
        (_COVARIATE + r"2\.(weight|bias)", r"decoder.layers.\1.covariates.\2.norm.\3"),
        (r"decoder\.out_layer\.dec_1\.(weight|bias)", r"decoder.hidden.\1"),
        (r"decoder\.out_layer\.dec_mean\.0\.(weight|bias)", r"decoder.mean.\1"),
        (r"decoder\.out_layer\.dec_disp", "decoder.dispersion.logs"),
    ),
    dropped=(
        (r"embedder\.norm0\.(weight|bias)", "made by the official code and used by nothing in it"),
        (r"embedder\.pe_enc\.(missing_pe|pe_enc\.weight)", "positions of cells on a slide, switched off in the official code"),
        (_INFERENCE + r"inference_qzyx\.2\.var\.(weight|bias)", "spread of the latent vector, for training only"),
        (_INFERENCE + r"y_(mu|var)\.(weight|bias)", "prior of the latent vector, for training only"),
    ),
)
