"""scBERT: a Performer over all genes of a cell, each with the class of its expression (Yang et al. 2022).

A gene is told apart by its gene2vec vector, which stands where others have learned positions. All sizes are in the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .dictionaries import read_dictionary
from .performer import PerformerBlock, block_names
from .tokens import Batch
from .untrusted import check_sizes
from .weights import NameMap

LAYER = r"performer\.net\.layers\.(\d+)\.0\.fn\.fast_attention\.projection_matrix"


@dataclass(frozen=True)
class ScBertConfig:
    """Sizes. ``n_classes``: those of expression, and the mask, which is the last; ``n_tokens``: genes and the last token."""

    n_classes: int
    n_tokens: int
    width: int
    depth: int
    n_heads: int
    head_width: int
    n_features: int

    @classmethod
    def from_json(cls, path: Path) -> ScBertConfig:
        """Sizes as a draft of ours has them. Raises InputError if one is missing or odd."""
        fields = read_dictionary(path)
        try:
            config = cls(**fields)
        except TypeError as error:
            raise InputError(f"{path} lacks a size, or has one too many: {error}") from error
        check_sizes(fields, str(path), layers="depth")
        return config

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], source: str) -> ScBertConfig:
        """Read the sizes off the shapes. Raises InputError if a tensor that tells one is missing or cannot be."""
        depth = sum(re.fullmatch(LAYER, name) is not None for name in tensors)
        first = "performer.net.layers.0.0.fn"
        try:
            n_classes, width = tensors["token_emb.weight"].shape
            n_tokens, _ = tensors["pos_emb.emb.weight"].shape
            n_features, head_width = tensors[f"{first}.fast_attention.projection_matrix"].shape
            inner, _ = tensors[f"{first}.to_q.weight"].shape
        except (KeyError, ValueError) as error:
            raise InputError(f"{source} is no scBERT: it lacks a tensor, or one has no two dimensions ({error})") from error
        if not head_width or inner % head_width or n_classes < 2:
            raise InputError(f"{source}: queries of {inner} in heads of {head_width}, or {n_classes} classes, make no scBERT")
        return cls(n_classes, n_tokens, width, depth, inner // head_width, head_width, n_features)


class ScBertNet(nn.Module):
    """Classes of all genes to hidden states. ``coupled``: with the key maximum of the whole batch, see `performer`."""

    def __init__(self, config: ScBertConfig) -> None:
        super().__init__()
        d = config.width
        self.classes = nn.Embedding(config.n_classes, d)
        self.genes = nn.Embedding(config.n_tokens, d)
        self.layers = nn.ModuleList(
            PerformerBlock(d, config.n_heads, config.head_width, config.n_features, bias=False) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, config.n_classes)

    def forward(self, batch: Batch, n_layers: int | None = None, *, coupled: bool = False) -> Tensor:
        """(N,) classes -> (N, D) normalised states after the last layer; after ``n_layers``: as they are there."""
        x = self.classes(batch.columns["ids"].int()) + self.genes(batch.position)  # (N, D)
        for layer in self.layers[:n_layers]:
            x = layer(x, batch.lengths, coupled=coupled)
        return self.norm(x) if n_layers is None else x

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, D) states after the last layer -> (n, V)."""
        return self.head(hidden)


class CellTypeHead(nn.Module):
    """The head that scBERT is fine-tuned with: one number a token, then dense layers over all tokens of a cell.

    Parameters
    ----------
    n_tokens
        Of every cell.
    widths
        Of the two dense layers; 512 and 128 in the official code.
    """

    def __init__(self, n_tokens: int, d_model: int, n_types: int, *, widths: tuple[int, int] = (512, 128)) -> None:
        super().__init__()
        self.squeeze = Squeeze(d_model)
        self.dense1 = nn.Linear(n_tokens, widths[0])
        self.dense2 = nn.Linear(widths[0], widths[1])
        self.dense3 = nn.Linear(widths[1], n_types)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        """(N, D) states after the last layer -> (B, n_types)."""
        x = F.relu(self.squeeze(hidden)).view(batch.n_cells, -1)  # (B, T)
        return self.dense3(F.relu(self.dense2(F.relu(self.dense1(x)))))


class Squeeze(nn.Module):
    """A vector to one number: (N, D) -> (N,). The weights have the shape of the convolution over (T, D) that they come from."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 1, 1, d_model))
        self.bias = nn.Parameter(torch.empty(1))

    def reset(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.weight.numel())
        self.weight.uniform_(-bound, bound, generator=generator)
        self.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.flatten() + self.bias


SCBERT_NAMES = NameMap(
    renamed=(
        (r"token_emb\.weight", "classes.weight"),
        (r"pos_emb\.emb\.weight", "genes.weight"),
        *block_names(r"performer\.net\.layers", "layers"),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"to_out\.(weight|bias)", r"head.\1"),
    ),
    dropped=(
        (r"performer\.calls_since_last_redraw", "counts training steps until new random matrices"),
        (r"to_out\.(conv1|fc[123])\.(weight|bias)", "the cell type head of a fine-tuned checkpoint, in place of the pretraining head"),
    ),
    optional=(r"head\.(weight|bias)",),
)
HEAD_NAMES = NameMap(
    renamed=(
        (r"(?:to_out\.)?conv1\.(weight|bias)", r"squeeze.\1"),
        (r"(?:to_out\.)?fc([123])\.(weight|bias)", r"dense\1.\2"),
    ),
)
