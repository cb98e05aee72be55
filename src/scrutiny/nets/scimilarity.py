"""SCimilarity: a multilayer perceptron from log counts of 28,231 genes to a vector of length 1, and its mirror back.

Heimberg et al. 2025. Every hidden layer is linear, batch norm, PReLU; the outermost ones are linear alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .dictionaries import read_dictionary
from .tokens import Batch
from .weights import NameMap

FROM_GENES = "network.0.1.weight"
"""The one official matrix that is kept the other way round, a row a gene: see `turned`."""
DECODER = "decoder."
"""Put before the official names of the decoder's file, which are those of the encoder's again."""


@dataclass(frozen=True)
class ScimilarityConfig:
    """Sizes; the decoder has the hidden ones in reverse."""

    n_genes: int
    hidden: tuple[int, ...]
    latent: int
    with_decoder: bool = False

    @classmethod
    def from_layer_sizes(cls, path: Path, *, with_decoder: bool = False) -> ScimilarityConfig:
        """From ``layer_sizes.json``, official name -> shape. Raises InputError if it tells of another architecture."""
        shapes: Mapping[str, list[int]] = read_dictionary(path)
        try:
            matrices = sorted((int(name.split(".")[1]), shape) for name, shape in shapes.items() if len(shape) == 2)
        except (ValueError, AttributeError, IndexError, TypeError) as error:
            raise InputError(f"{path} should give the shape of each tensor network.<layer>...: {error}") from error
        if len(matrices) < 2 or any(lower[0] != upper[1] for (_, lower), (_, upper) in pairwise(matrices)):
            raise InputError(f"{path} gives matrices {[shape for _, shape in matrices]}; expected at least two, each on top of the last")
        widths = [shape[0] for _, shape in matrices]
        return cls(matrices[0][1][1], tuple(widths[:-1]), widths[-1], with_decoder)


class ScimilarityNet(nn.Module):
    """Expressed genes with their log counts to the vectors of cells."""

    def __init__(self, config: ScimilarityConfig) -> None:
        super().__init__()
        hidden = config.hidden
        first = GeneLinear(config.n_genes, hidden[0])
        others = (nn.Linear(d, e) for d, e in pairwise(hidden))
        self.layers = nn.ModuleList(HiddenLayer(linear, width) for linear, width in zip([first, *others], hidden, strict=True))
        self.out = nn.Linear(hidden[-1], config.latent)
        self.decoder = Decoder(config) if config.with_decoder else None

    def hidden(self, batch: Batch, n_layers: int) -> Tensor:
        """Output (B, width) of the first ``n_layers`` hidden layers, at least one."""
        x = self.layers[0](batch)
        for layer in self.layers[1:n_layers]:
            x = layer(x)
        return x

    def forward(self, batch: Batch) -> Tensor:
        """Columns ``ids`` (gene) and ``values`` (log count) -> (B, latent) of length 1."""
        return F.normalize(self.out(self.hidden(batch, len(self.layers))), dim=1)


class Decoder(nn.Module):
    """Vectors of cells back to the log counts of all genes."""

    def __init__(self, config: ScimilarityConfig) -> None:
        super().__init__()
        widths = (config.latent, *reversed(config.hidden))
        self.layers = nn.ModuleList(HiddenLayer(nn.Linear(d, e), e) for d, e in pairwise(widths))
        self.out = nn.Linear(widths[-1], config.n_genes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, latent) -> (B, n_genes)."""
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class HiddenLayer(nn.Module):
    """Linear, batch norm with its running statistics, PReLU with one slope. Dropout lies before it in training only."""

    def __init__(self, linear: nn.Module, width: int) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.BatchNorm1d(width)
        self.act = nn.PReLU()

    def forward(self, x: Tensor | Batch) -> Tensor:
        return self.act(self.norm(self.linear(x)))


class GeneLinear(nn.Module):
    """A linear layer on the genes that a cell expresses: reads their rows of the matrix and no others."""

    def __init__(self, n_genes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_genes, width))
        self.bias = nn.Parameter(torch.empty(width))

    def reset(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(len(self.weight))
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        """(N,) genes and values -> (B, width)."""
        ids, values = batch.columns["ids"], batch.columns["values"]
        return F.embedding_bag(ids, self.weight, batch.start, mode="sum", per_sample_weights=values) + self.bias


def turned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an encoder with the matrix `FROM_GENES` as (n_genes, width): a row lies in one piece and is read by itself."""
    if FROM_GENES not in tensors:
        raise InputError(f"the encoder has no tensor '{FROM_GENES}'; it has {sorted(tensors)[:5]}")
    return {**tensors, FROM_GENES: tensors[FROM_GENES].T.contiguous()}


NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"
SCIMILARITY_NAMES = NameMap(
    renamed=(
        (r"network\.(\d+)\.1\.(weight|bias)", r"layers.\1.linear.\2"),
        (rf"network\.(\d+)\.2\.{NORM}", r"layers.\1.norm.\2"),
        (r"network\.(\d+)\.3\.weight", r"layers.\1.act.weight"),
        (r"network\.\d+\.(weight|bias)", r"out.\1"),
        # The first layer of the decoder has no dropout, so its parts are counted from 0.
        (r"decoder\.network\.0\.0\.(weight|bias)", r"decoder.layers.0.linear.\1"),
        (rf"decoder\.network\.0\.1\.{NORM}", r"decoder.layers.0.norm.\1"),
        (r"decoder\.network\.0\.2\.weight", "decoder.layers.0.act.weight"),
        (r"decoder\.network\.([1-9]\d*)\.1\.(weight|bias)", r"decoder.layers.\1.linear.\2"),
        (rf"decoder\.network\.([1-9]\d*)\.2\.{NORM}", r"decoder.layers.\1.norm.\2"),
        (r"decoder\.network\.([1-9]\d*)\.3\.weight", r"decoder.layers.\1.act.weight"),
        (r"decoder\.network\.\d+\.(weight|bias)", r"decoder.out.\1"),
    ),
)
