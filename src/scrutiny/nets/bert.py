"""BERT encoders over gene tokens: Geneformer V1 and V2, and the cell side of LangCell.

Devlin et al. 2019; the layout is that of Hugging Face ``BertModel`` and ``BertForMaskedLM``: learned positions, one token type, layers
normalised after each residual, a prediction head tied to the token table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .dictionaries import read_dictionary
from .layers import Block, cell_mean
from .tokens import Batch
from .weights import NameMap

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}
POSITIONS = ("absolute", "none")
"""A learned vector for each place, as in all published models; or nothing that tells the order, which is ours alone."""
MOST_LAYERS, LARGEST = 1_000, 10_000_000
"""Numbers that no serious config exceeds; making the modules for larger ones would not end."""


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
    position_embedding_type: str = "absolute"

    @classmethod
    def from_json(cls, path: Path) -> BertConfig:
        """Raises InputError if a field is missing or no such architecture is known."""
        return cls.from_fields(read_dictionary(path), str(path))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: str) -> BertConfig:
        """As `from_json`, from the fields themselves; ``source`` is named in errors. Fields that change nothing here are passed over."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        try:
            config = cls(**known)
        except TypeError as error:
            raise InputError(f"{source} lacks a field: {error}") from error
        if config.hidden_act not in ACTIVATIONS or config.position_embedding_type not in POSITIONS:
            asked = f"hidden_act {config.hidden_act} and position_embedding_type {config.position_embedding_type}"
            raise InputError(f"{source} asks for {asked}; known are {sorted(ACTIVATIONS)} and {list(POSITIONS)}")
        for name, size in config.sizes.items():
            most = MOST_LAYERS if name == "num_hidden_layers" else LARGEST
            if not isinstance(size, int) or not 0 < size <= most:
                raise InputError(f"{source} says {name} is {size!r}; expected a whole number from 1 to {most:,}")
        if config.hidden_size % config.num_attention_heads:
            raise InputError(f"{source}: hidden_size {config.hidden_size} does not split into {config.num_attention_heads} heads")
        return config

    @property
    def sizes(self) -> dict[str, int]:
        """The fields that are counts."""
        others = ("hidden_act", "layer_norm_eps", "position_embedding_type")
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in others}


class Bert(nn.Module):
    """Token ids to hidden states. ``with_head``: also the masked-token head."""

    initial_std = 0.02

    def __init__(self, config: BertConfig, *, with_head: bool = True) -> None:
        super().__init__()
        d, eps = config.hidden_size, config.layer_norm_eps
        activation = ACTIVATIONS[config.hidden_act]
        self.words = nn.Embedding(config.vocab_size, d, padding_idx=0)
        self.positions = nn.Embedding(config.max_position_embeddings, d) if config.position_embedding_type == "absolute" else None
        self.types = nn.Embedding(config.type_vocab_size, d)
        self.norm = nn.LayerNorm(d, eps=eps)
        self.layers = nn.ModuleList(
            Block(d, config.num_attention_heads, config.intermediate_size, activation=activation, eps=eps)
            for _ in range(config.num_hidden_layers)
        )
        self.head = MaskedTokenHead(d, config.vocab_size, activation, eps) if with_head else None

    def embed_tokens(self, batch: Batch) -> Tensor:
        """(N,) ids -> (N, D), the hidden state before the first layer."""
        x = self.words(batch.columns["ids"]) + self.types.weight[0]
        return self.norm(x if self.positions is None else x + self.positions(batch.position))

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

    def logits(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor:
        """(n, D) last hidden states -> (n, V), or (n, k) of these tokens (k,) alone."""
        return self.head(hidden, self.words.weight, ids)


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

    def forward(self, hidden: Tensor, words: Tensor, ids: Tensor | None = None) -> Tensor:
        words, bias = (words, self.bias) if ids is None else (words[ids], self.bias[ids])
        return self.norm(self.activation(self.dense(hidden))) @ words.T + bias


def mean_between(hidden: Tensor, batch: Batch, n_start: int, n_end: int) -> Tensor:
    """Mean over the tokens of each cell without its first and last ones: (N, D) -> (B, D). A cell without others gets zeros."""
    if not n_start + n_end:
        return cell_mean(hidden, batch)
    inner = (batch.position >= n_start) & (batch.position < batch.length[batch.cell] - n_end)  # (N,)
    total = hidden.new_zeros(batch.n_cells, hidden.shape[1], dtype=torch.float32).index_add_(0, batch.cell[inner], hidden[inner].float())
    return total / (batch.length - n_start - n_end).clamp(min=1)[:, None]


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
        (r"classifier\.(weight|bias)", "names the classes that a model was fine-tuned on"),
    ),
    written=((r"(?:embeddings|encoder)\..+", r"bert.\g<0>"),),
)


class CellBert(nn.Module):
    """A `Bert` without its head, and the projection of the first token into the space that cells share with texts: LangCell."""

    initial_std = Bert.initial_std

    def __init__(self, config: BertConfig, d_out: int) -> None:
        super().__init__()
        self.bert = Bert(config, with_head=False)
        self.projection = nn.Linear(config.hidden_size, d_out)

    def forward(self, batch: Batch) -> Tensor:
        """Unit vectors (B, d_out). Every cell must have a token."""
        first = self.bert.first(batch, len(self.bert.layers))  # (B, D)
        return F.normalize(self.projection(first).float(), dim=1)


LANGCELL_NAMES = NameMap(
    renamed=(
        *((pattern, f"bert.{new}") for pattern, new in BERT_NAMES.renamed if not new.startswith("head.")),
        (r"cell_proj\.(weight|bias)", r"projection.\1"),
    ),
    dropped=BERT_NAMES.dropped,
)
"""For the tensors of ``cell_bert`` under their own names, and those of ``cell_proj.bin`` with its name before theirs."""
