"""BERT encoders over gene tokens: Geneformer V1 and V2, and the cell side of LangCell.

Devlin et al. 2019; the layout is that of Hugging Face ``BertModel`` and ``BertForMaskedLM``: learned positions, one token type, layers
normalised after each residual, a prediction head tied to the token table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .layers import Block
from .tokens import Batch
from .weights import NameMap

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class BertConfig:
    """Sizes as ``config.json`` names them."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    hidden_act: str = "relu"
    layer_norm_eps: float = 1e-12
    type_vocab_size: int = 2

    @classmethod
    def from_json(cls, path: Path) -> BertConfig:
        """Raises InputError if a field is missing or no such architecture is known."""
        return cls.from_fields(json.loads(path.read_text()), str(path))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: str) -> BertConfig:
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        try:
            config = cls(**known)
        except TypeError as error:
            raise InputError(f"{source} lacks a field: {error}") from error
        if config.hidden_act not in ACTIVATIONS or fields.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(f"{source} asks for hidden_act {config.hidden_act}; known are {sorted(ACTIVATIONS)} with absolute positions")
        return config


class Bert(nn.Module):
    """Token ids to hidden states. ``with_head``: also the masked-token head."""

    initial_std = 0.02

    def __init__(self, config: BertConfig, *, with_head: bool = True) -> None:
        super().__init__()
        d, eps = config.hidden_size, config.layer_norm_eps
        activation = ACTIVATIONS[config.hidden_act]
        self.words = nn.Embedding(config.vocab_size, d, padding_idx=0)
        self.positions = nn.Embedding(config.max_position_embeddings, d)
        self.types = nn.Embedding(config.type_vocab_size, d)
        self.norm = nn.LayerNorm(d, eps=eps)
        self.layers = nn.ModuleList(
            Block(d, config.num_attention_heads, config.intermediate_size, activation=activation, eps=eps)
            for _ in range(config.num_hidden_layers)
        )
        self.head = MaskedTokenHead(d, config.vocab_size, activation, eps) if with_head else None

    def embed_tokens(self, batch: Batch) -> Tensor:
        """(N,) ids -> (N, D), the hidden state before the first layer."""
        return self.norm(self.words(batch.columns["ids"]) + self.types.weight[0] + self.positions(batch.position))

    def forward(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """Hidden states (N, D) after the first ``n_layers`` layers; None: after all."""
        x = self.embed_tokens(batch)
        for layer in self.layers[:n_layers]:
            x = layer(x, batch.lengths)
        return x

    def first(self, batch: Batch, n_layers: int) -> Tensor:
        """As `forward`, of the first token of each cell only: (B, D)."""
        if not n_layers:
            return self.embed_tokens(batch)[batch.start]
        return self.layers[n_layers - 1].first(self(batch, n_layers - 1), batch)

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, D) last hidden states -> (n, V)."""
        return self.head(hidden, self.words.weight)


class MaskedTokenHead(nn.Module):
    """Dense layer, activation, norm, then the token table as output matrix."""

    def __init__(self, d_model: int, n_words: int, activation: Any, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model, eps=eps)
        self.bias = nn.Parameter(torch.zeros(n_words))
        self.activation = activation

    def reset(self, generator: torch.Generator) -> None:
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(hidden))) @ words.T + self.bias


def _layer(inner: str) -> str:
    return rf"(?:bert\.)?encoder\.layer\.(\d+)\.{inner}\.(weight|bias)"


BERT_NAMES = NameMap(
    renamed=(
        (r"(?:bert\.)?embeddings\.word_embeddings\.weight", "words.weight"),
        (r"(?:bert\.)?embeddings\.position_embeddings\.weight", "positions.weight"),
        (r"(?:bert\.)?embeddings\.token_type_embeddings\.weight", "types.weight"),
        (r"(?:bert\.)?embeddings\.LayerNorm\.(weight|bias)", r"norm.\1"),
        (_layer(r"attention\.self\.query"), r"layers.\1.attention.qkv.\2#0"),
        (_layer(r"attention\.self\.key"), r"layers.\1.attention.qkv.\2#1"),
        (_layer(r"attention\.self\.value"), r"layers.\1.attention.qkv.\2#2"),
        (_layer(r"attention\.output\.dense"), r"layers.\1.attention.out.\2"),
        (_layer(r"attention\.output\.LayerNorm"), r"layers.\1.norm1.\2"),
        (_layer(r"intermediate\.dense"), r"layers.\1.ff1.\2"),
        (_layer(r"output\.dense"), r"layers.\1.ff2.\2"),
        (_layer(r"output\.LayerNorm"), r"layers.\1.norm2.\2"),
        (r"cls\.predictions\.transform\.dense\.(weight|bias)", r"head.dense.\1"),
        (r"cls\.predictions\.transform\.LayerNorm\.(weight|bias)", r"head.norm.\1"),
        (r"cls\.predictions\.bias", "head.bias"),
    ),
    dropped=(
        (r"(?:bert\.)?embeddings\.position_ids", "the numbers 0, 1, 2 ..."),
        (r"cls\.predictions\.decoder\.(weight|bias)", "tied to the token table and to cls.predictions.bias"),
        (r"(?:bert\.)?pooler\.dense\.(weight|bias)", "no model here uses the pooler"),
    ),
)
