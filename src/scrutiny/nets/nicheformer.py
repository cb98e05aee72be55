"""Nicheformer: a transformer over ranked genes of dissociated and spatial cells, always run on sequences of one fixed length.

Schaar, Tejada-Lapuerta et al. 2024, bioRxiv 2024.04.15.589472. The layout is that of the Lightning module ``Nicheformer`` in
theislab/nicheformer. Padding is never attended to, but it has positions and outputs of its own, which count in the official mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .layers import Block, Keys
from .tokens import Batch
from .weights import NameMap

MASK, PAD = 0, 1
"""Tokens."""
FIRST_GENE = 30
"""Tokens below are special."""
SPARE = 5
"""Rows of the token table beyond the tokens."""


@dataclass(frozen=True)
class NicheformerConfig:
    """Sizes as ``hyper_parameters`` of a checkpoint name them; ``specie``, ``assay``, ``modality``: which context tokens it was given."""

    dim_model: int
    nheads: int
    dim_feedforward: int
    nlayers: int
    n_tokens: int
    context_length: int
    specie: bool = False
    assay: bool = False
    modality: bool = False

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: str) -> NicheformerConfig:
        """Raises InputError if a field is missing or odd, or asks for what no published checkpoint has."""
        try:
            config = cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})
        except TypeError as error:
            raise InputError(f"{source} lacks a field of hyper_parameters: {error}") from error
        sizes = (config.dim_model, config.nheads, config.dim_feedforward, config.nlayers, config.n_tokens, config.context_length)
        if not all(isinstance(size, int) and 0 < size < 10_000_000 for size in sizes) or config.dim_model % config.nheads:
            raise InputError(f"{source} has the sizes {config}; expected positive whole numbers, and a width that splits into its heads")
        if not fields.get("learnable_pe", True) or fields.get("autoregressive", False):
            raise InputError(f"{source} has fixed positions or attends to the left only; expected learnable_pe and no autoregressive")
        return config


class NicheformerNet(nn.Module):
    """Token ids to hidden states.

    Cells have ``context_length`` tokens, of which the first ``n_real`` are not padding; or, without such an array, no padding at all.
    """

    def __init__(self, config: NicheformerConfig) -> None:
        super().__init__()
        d = config.dim_model
        self.words = nn.Embedding(config.n_tokens + SPARE, d, padding_idx=PAD)
        self.positions = nn.Embedding(config.context_length, d)
        self.layers = nn.ModuleList(Block(d, config.nheads, config.dim_feedforward, eps=1e-12) for _ in range(config.nlayers))
        self.head = Head(d, config.n_tokens)

    def forward(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """Hidden states (N, D) after the first ``n_layers`` layers; None: after all."""
        keys = None
        if "n_real" in batch.cells:
            n_real = batch.cells["n_real"].clamp(min=1)  # (B,); softmax over no token at all is not defined
            keys = Keys(torch.nonzero(batch.position < n_real[batch.cell]).squeeze(1), n_real.tolist())
        x = self.words(batch.columns["ids"]) + self.positions(batch.position)  # (N, D)
        for layer in self.layers[:n_layers]:
            x = layer(x, batch.lengths, keys)
        return x

    def logits(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor:
        """(n, D) last hidden states -> (n, V), or (n, k) of these tokens (k,) alone."""
        return self.head(hidden, ids)


class Head(nn.Linear):
    """A linear layer of which some of the outputs (k,) may be asked for alone: (n, D) -> (n, k)."""

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Tensor:
        return super().forward(x) if ids is None else F.linear(x, self.weight[ids], self.bias[ids])


def _layer(inner: str) -> str:
    return rf"encoder\.layers\.(\d+)\.{inner}"


NICHEFORMER_NAMES = NameMap(
    renamed=(
        (r"embeddings\.weight", "words.weight"),
        (r"positional_embedding\.weight", "positions.weight"),
        (_layer(r"self_attn\.in_proj_(weight|bias)"), r"layers.\1.attention.qkv.\2"),
        (_layer(r"self_attn\.out_proj\.(weight|bias)"), r"layers.\1.attention.out.\2"),
        (_layer(r"linear([12])\.(weight|bias)"), r"layers.\1.ff\2.\3"),
        (_layer(r"norm([12])\.(weight|bias)"), r"layers.\1.norm\2.\3"),
        (r"classifier_head\.(weight|bias)", r"head.\1"),
    ),
    dropped=(
        (r"encoder_layer\..*", "the template that the layers were copied from; it was never trained"),
        (r"(pooler_head|cls_head)\.(weight|bias)", "no output here uses them"),
        (r"pos", "the numbers 0, 1, 2 ..."),
    ),
)
