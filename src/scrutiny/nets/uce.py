"""UCE: a transformer over the protein embeddings of a cell's genes, laid out chromosome by chromosome.

Rosen et al. 2023. Layers are normalised after each residual, positions are sinusoids. The vector of a cell is that of its first token,
put through a decoder; another head tells from it and a gene's protein embedding whether the cell expresses the gene.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .dictionaries import read_dictionary
from .layers import Block
from .tokens import Batch
from .untrusted import check_sizes
from .weights import NameMap

TABLE = "pe_embedding.weight"
"""Official name of the table of token vectors: protein embeddings by ESM2, and a random vector a chromosome."""
PAD = 0
SAMPLE = 1024
"""Genes that the published models draw for a cell, with replacement."""
PAIRS = 8192
"""Cells x genes that the expression head takes at a time."""
PUBLISHED_WIDTH, PUBLISHED_HEADS, OTHER_HEADS = 1280, 20, 4


@dataclass(frozen=True)
class UceConfig:
    """Sizes. ``decoder`` and ``binary`` are the widths of the two heads, input and output included; ``sample``: genes drawn for a cell."""

    token_dim: int
    d_model: int
    n_heads: int
    d_ff: int
    n_layers: int
    longest: int
    decoder: tuple[int, ...]
    binary: tuple[int, ...]
    sample: int = SAMPLE

    @classmethod
    def from_json(cls, path: Path) -> UceConfig:
        """Sizes as a draft of ours has them. Raises InputError if one is missing or odd, or the heads do not divide the width."""
        fields = read_dictionary(path)
        check_sizes(fields, str(path), layers="n_layers")
        try:
            config = cls(**{name: tuple(size) if name in ("decoder", "binary") else size for name, size in fields.items()})
        except TypeError as error:
            raise InputError(f"{path} lacks a size, or one is odd: {error}") from error
        if config.d_model % config.n_heads:
            raise InputError(f"{path} is {config.d_model} wide, which {config.n_heads} heads do not divide")
        return config

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], n_heads: int | None, source: str) -> UceConfig:
        """Sizes from the official tensors, which tell all but the number of heads: by default that of the published models, or 4.

        Raises
        ------
        InputError
            If a tensor that tells a size is missing, or the heads do not divide the width.
        """
        try:
            d_model, token_dim = tensors["encoder.0.weight"].shape
            n_layers = 1 + max(int(m[1]) for name in tensors if (m := re.match(r"transformer_encoder\.layers\.(\d+)\.", name)))
            config = cls(
                token_dim,
                d_model,
                n_heads or (PUBLISHED_HEADS if d_model == PUBLISHED_WIDTH else OTHER_HEADS),
                len(tensors["transformer_encoder.layers.0.linear1.weight"]),
                n_layers,
                len(tensors["pos_encoder.pe"]),
                _widths(tensors, "decoder"),
                _widths(tensors, "binary_decoder"),
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"{source} tells no sizes of a model of UCE ({error}); it has {sorted(tensors)[:5]}") from error
        if d_model % config.n_heads:
            raise InputError(f"{source} is {d_model} wide, which {config.n_heads} heads do not divide; give the number as n_heads")
        return config


def _widths(tensors: Mapping[str, Tensor], head: str) -> tuple[int, ...]:
    """Input, hidden and output widths of a head."""
    names = (f"{head}.{i}.0.weight" for i in range(len(tensors)))
    hidden = [tensors[name].shape for name in names if name in tensors]
    return (hidden[0][1], *(shape[0] for shape in hidden), len(tensors[f"{head}.{len(hidden)}.weight"]))


class UceNet(nn.Module):
    """Token ids to the vectors of cells.

    Parameters
    ----------
    table
        (n_tokens, token_dim) the vectors of all tokens. It is 3 GB in the published models and takes no part in training, so it stays where
        it is, mapped from its file, and goes to no accelerator: the rows of a batch do.
    """

    def __init__(self, config: UceConfig, table: Tensor) -> None:
        super().__init__()
        d = config.d_model
        self.table = table
        self.token_encoder = TokenEncoder(config.token_dim, d)
        self.positions = Positions(config.longest, d)
        self.layers = nn.ModuleList(Block(d, config.n_heads, config.d_ff) for _ in range(config.n_layers))
        self.decoder = Head(config.decoder)
        self.gene_encoder = TokenEncoder(config.token_dim, d)
        self.binary = Head(config.binary)

    def token_vectors(self, ids: Tensor) -> Tensor:
        """(n,) token ids -> (n, token_dim) of length 1, on the device of the weights."""
        return F.normalize(self.table[ids.cpu()].to(self.positions.pe.device).float(), dim=1)

    def embed_tokens(self, ids: Tensor, position: Tensor) -> Tensor:
        """(n,) ids and positions -> (n, D). Every distinct token is encoded once."""
        words, where = torch.unique(ids, return_inverse=True)
        encoded = self.token_encoder(self.token_vectors(words)) * math.sqrt(self.positions.pe.shape[-1])  # (n_words, D)
        return encoded[where] + self.positions(position)

    def forward(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """Hidden states (N, D) after the first ``n_layers`` layers; None: after all."""
        x = self.embed_tokens(batch.columns["ids"], batch.position)
        for layer in self.layers[:n_layers]:
            x = layer(x, batch.lengths)
        return x

    def first(self, batch: Batch, n_layers: int) -> Tensor:
        """As `forward`, of the first token of each cell only: (B, D)."""
        if not n_layers:
            return self(batch, 0)[batch.start]
        return self.layers[n_layers - 1].first(self(batch, n_layers - 1), batch)

    def as_published(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """As `forward`, with the mask of the official code: cells are padded to the longest, and padding is attended to.

        The mask is 1 for padding and 0 for tokens, and as numbers that are not true or false such a mask is *added* to the attention
        logits. So the tokens of a cell see its padding with e times the weight, and a vector depends on the other cells of its batch.
        """
        n_cells, longest = batch.n_cells, max(batch.lengths)
        is_token = torch.arange(longest, device=batch.device) < batch.length[:, None]  # (B, T)
        ids = torch.full((n_cells, longest), PAD, device=batch.device)
        ids[is_token] = batch.columns["ids"]
        x = self.embed_tokens(ids.flatten(), torch.arange(longest, device=batch.device).repeat(n_cells)).view(n_cells, longest, -1)
        added = (~is_token).to(x.dtype)[:, None, None, :]  # (B, 1, 1, T)
        for layer in self.layers[:n_layers]:
            x = _layer_with_mask(layer, x, added)  # (B, T, D)
        return x[is_token]

    def log_odds(self, cells: Tensor, genes: Tensor) -> Tensor:
        """Vectors of cells (B, D') and of genes (G, D) by `gene_encoder` -> log-odds (B, G) that each cell expresses each gene."""
        left, right = self._halves(cells, genes)
        parts = right.split(max(1, PAIRS // len(cells)))
        return torch.cat([self.binary.after_first(left[:, None] + part).squeeze(2) for part in parts], dim=1)

    def log_odds_of(self, cells: Tensor, genes: Tensor, cell: Tensor, gene: Tensor) -> Tensor:
        """As `log_odds`, of the pairs (n,) of cell and gene alone: (n,)."""
        left, right = self._halves(cells, genes)
        return self.binary.after_first(left[cell] + right[gene]).squeeze(1)

    def _halves(self, cells: Tensor, genes: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer of the expression head makes of cells (B, d) and of genes (G, d); their sum is its output."""
        first = self.binary.linears[0]
        of_cell, of_gene = first.weight.split([cells.shape[1], genes.shape[1]], dim=1)
        return F.linear(cells, of_cell, first.bias), F.linear(genes, of_gene)


def _layer_with_mask(layer: Block, x: Tensor, added: Tensor) -> Tensor:
    """A layer on padded tokens (B, T, D) with numbers (B, 1, 1, T) added to the attention logits of each key."""
    attention = layer.attention
    split = attention.qkv(x).unflatten(2, (3, attention.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, E)
    return layer.finish(x, F.scaled_dot_product_attention(*split, attn_mask=added.to(split.dtype)).transpose(1, 2))


class TokenEncoder(nn.Module):
    """Vectors of tokens to the width of the net."""

    def __init__(self, token_dim: int, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(token_dim, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(n, token_dim) -> (n, D)."""
        return self.norm(F.gelu(self.linear(x)))


class Positions(nn.Module):
    """Sines and cosines of the place of a token."""

    def __init__(self, longest: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty(longest, 1, d_model))

    def reset(self, generator: torch.Generator) -> None:
        """Vaswani et al. 2017; nothing is drawn."""
        d = self.pe.shape[-1]
        angles = torch.arange(len(self.pe))[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(10_000.0) / d))  # (longest, D / 2)
        self.pe.copy_(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, None, :d])

    def forward(self, position: Tensor) -> Tensor:
        """(n,) -> (n, D)."""
        return self.pe[position, 0]


class Head(nn.Module):
    """Linear, layer norm, GELU; again and again; and a linear layer at the end."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(d, e) for d, e in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[1:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.after_first(self.linears[0](x))

    def after_first(self, x: Tensor) -> Tensor:
        """What comes of the output of the first linear layer."""
        for norm, linear in zip(self.norms, self.linears[1:], strict=True):
            x = linear(F.gelu(norm(x)))
        return x


def _layer(inner: str) -> str:
    return rf"transformer_encoder\.layers\.(\d+)\.{inner}"


UCE_NAMES = NameMap(
    renamed=(
        (r"encoder\.0\.(weight|bias)", r"token_encoder.linear.\1"),
        (r"encoder\.2\.(weight|bias)", r"token_encoder.norm.\1"),
        (r"pos_encoder\.pe", "positions.pe"),
        (_layer(r"self_attn\.in_proj_(weight|bias)"), r"layers.\1.attention.qkv.\2"),
        (_layer(r"self_attn\.out_proj\.(weight|bias)"), r"layers.\1.attention.out.\2"),
        (_layer(r"linear([12])\.(weight|bias)"), r"layers.\1.ff\2.\3"),
        (_layer(r"norm([12])\.(weight|bias)"), r"layers.\1.norm\2.\3"),
        (r"decoder\.(\d+)\.0\.(weight|bias)", r"decoder.linears.\1.\2"),
        (r"decoder\.(\d+)\.1\.(weight|bias)", r"decoder.norms.\1.\2"),
        (r"decoder\.(\d+)\.(weight|bias)", r"decoder.linears.\1.\2"),
        (r"binary_decoder\.(\d+)\.0\.(weight|bias)", r"binary.linears.\1.\2"),
        (r"binary_decoder\.(\d+)\.1\.(weight|bias)", r"binary.norms.\1.\2"),
        (r"binary_decoder\.(\d+)\.(weight|bias)", r"binary.linears.\1.\2"),
        (r"gene_embedding_layer\.0\.(weight|bias)", r"gene_encoder.linear.\1"),
        (r"gene_embedding_layer\.2\.(weight|bias)", r"gene_encoder.norm.\1"),
    ),
    dropped=((re.escape(TABLE), "stays in its file: only the rows of a batch are read"),),
    written=((r"((?:binary_)?decoder\.3)\.0\.(weight|bias)", r"\1.\2"),),  # both heads have three hidden layers, then a linear one
)
