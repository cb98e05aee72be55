"""scFoundation: a transformer over the expressed genes of a cell, and a Performer over all genes (Hao et al. 2024).

Counts are read as real numbers: a soft choice among learned bins. The two last tokens of a cell tell the sequencing depth that it has
(source, S) and the one that is asked for (target, T).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .layers import Block
from .performer import PerformerBlock, block_names, n_features_of
from .tokens import Batch
from .weights import NameMap

MODULES = {"encoder": "transformer", "decoder": "performer"}
"""What the authors published; their code knows others."""
NOT_SIZES = ("bin_alpha", "mask_token_id", "pad_token_id")
MOST_LAYERS, LARGEST = 1_000, 10_000_000
"""Numbers that no serious config exceeds; making the modules for larger ones would not end."""


@dataclass(frozen=True)
class ScFoundationConfig:
    """Sizes.

    ``seq_len`` genes, T and S; ``mask_token_id`` and ``pad_token_id`` are values that stand for "hidden" and "nothing".
    """

    seq_len: int
    bin_num: int
    bin_alpha: float
    mask_token_id: float
    pad_token_id: float
    width: int
    depth: int
    n_heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    decoder_head_width: int

    @property
    def n_genes(self) -> int:
        return self.seq_len - 2

    @property
    def target(self) -> int:
        """Id of T."""
        return self.seq_len - 2

    @property
    def source(self) -> int:
        """Id of S."""
        return self.seq_len - 1

    @property
    def n_features(self) -> int:
        """Random features of the decoder."""
        return n_features_of(self.decoder_head_width)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], source: str) -> ScFoundationConfig:
        """From the config inside a checkpoint: fields of the model and of the data set are put together, the latter win.

        Raises
        ------
        InputError
            If a field is missing or out of all reason, or asks for an architecture that was never published.
        """
        try:
            merged = {**fields["model_config"][fields["model"]], **fields["dataset_config"]["rnaseq"]}
            encoder, decoder = merged["encoder"], merged["decoder"]
            modules = {name: merged[name].get("module_type", known) for name, known in MODULES.items()}
            norm_first = encoder.get("norm_first", False)
            config = cls(
                **{name: merged[name] for name in ("seq_len", "bin_num", "bin_alpha", "mask_token_id", "pad_token_id")},
                width=encoder["hidden_dim"],
                depth=encoder["depth"],
                n_heads=encoder["heads"],
                decoder_width=decoder["hidden_dim"],
                decoder_depth=decoder["depth"],
                decoder_heads=decoder["heads"],
                decoder_head_width=decoder["dim_head"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the config in {source} lacks a field, or one is of an odd kind: {error}") from error
        if modules != MODULES or norm_first:
            raise InputError(f"{source} has {modules}, norm_first {norm_first}; known are {MODULES}, normalised after each residual")
        for name, value in asdict(config).items():
            most = MOST_LAYERS if name.endswith("depth") else LARGEST
            if not isinstance(value, int | float) or name not in NOT_SIZES and not (isinstance(value, int) and 0 < value <= most):
                raise InputError(f"the config in {source} says {name} is {value!r}; expected a whole number from 1 to {most:,}")
        if config.width % config.n_heads:
            raise InputError(f"the config in {source}: width {config.width} does not split into {config.n_heads} heads")
        return config


class ValueEmbedding(nn.Module):
    """A real number as a mixture of learned bins. The values of mask and padding have vectors of their own."""

    def __init__(self, n_bins: int, d_model: int, alpha: float, mask: float, padding: float) -> None:
        super().__init__()
        self.first = nn.Linear(1, n_bins)
        self.second = nn.Linear(n_bins, n_bins)
        self.bins = nn.Embedding(n_bins, d_model)
        self.masked = nn.Embedding(1, d_model)
        self.padded = nn.Embedding(1, d_model)
        self.alpha, self.mask, self.padding = alpha, mask, padding

    def weights(self, values: Tensor) -> Tensor:
        """(n,) -> (n, n_bins), the share of each bin; in float32 under autocast, as these are the counts."""
        with torch.autocast(values.device.type, enabled=False):
            x = F.leaky_relu(self.first(values.float()[:, None]), 0.1)
            return torch.softmax(self.alpha * x + self.second(x), dim=-1)

    def forward(self, values: Tensor) -> Tensor:
        """(n,) -> (n, D)."""
        x = self.weights(values) @ self.bins.weight
        for value, table in ((self.mask, self.masked), (self.padding, self.padded)):
            x = torch.where((values == value)[:, None], table.weight.to(x.dtype), x)
        return x


class ScFoundationNet(nn.Module):
    """Tokens with ``ids`` (gene, T, S) and ``values`` to states of the expressed genes, and from these to all genes."""

    def __init__(self, config: ScFoundationConfig) -> None:
        super().__init__()
        self.config = config
        d, narrow = config.width, config.decoder_width
        self.values = ValueEmbedding(config.bin_num, d, config.bin_alpha, config.mask_token_id, config.pad_token_id)
        self.genes = nn.Embedding(config.seq_len + 1, d)
        self.encoder = nn.ModuleList(Block(d, config.n_heads, 4 * d) for _ in range(config.depth))
        self.encoder_norm = nn.LayerNorm(d)
        self.narrow = nn.Linear(d, narrow)
        self.decoder = nn.ModuleList(
            PerformerBlock(narrow, config.decoder_heads, config.decoder_head_width, config.n_features, bias=True)
            for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(narrow)
        self.norm = nn.LayerNorm(narrow)
        self.head = nn.Linear(narrow, 1)

    def embed_tokens(self, batch: Batch) -> Tensor:
        """(N,) -> (N, D), what enters the encoder."""
        return self.values(batch.columns["values"]) + self.genes(batch.columns["ids"])

    def forward(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """(N, D) normalised states after the last layer of the encoder; after ``n_layers``: as they are there."""
        x = self.embed_tokens(batch)
        for layer in self.encoder[:n_layers]:
            x = layer(x, batch.lengths)
        return self.encoder_norm(x) if n_layers is None else x

    def decode(self, hidden: Tensor, batch: Batch, *, coupled: bool = False) -> Tensor:
        """(N, D) states of the encoder -> (B, n_genes, D') states of all genes, expressed or not.

        Genes of ``batch.cells["masked"]`` (B, n_genes), where there is such an array, enter as hidden; others that the encoder was not
        shown, as not expressed. ``coupled``: with the key maximum of the whole batch, see `performer`.
        """
        config = self.config
        x = self.values(hidden.new_zeros(1)).expand(batch.n_cells, config.seq_len, -1).clone()  # (B, T, D)
        if "masked" in batch.cells:
            x[:, : config.n_genes][batch.cells["masked"]] = self.values.masked.weight[0].to(x.dtype)
        x[batch.cell, batch.columns["ids"]] = hidden.to(x.dtype)
        x = self.narrow(x + self.genes.weight[: config.seq_len]).flatten(0, 1)  # (B * T, D')
        for layer in self.decoder:
            x = layer(x, [config.seq_len] * batch.n_cells, coupled=coupled)
        return self.norm(self.decoder_norm(x)).unflatten(0, (batch.n_cells, -1))[:, : config.n_genes]  # (B, n_genes, D')

    def expression(self, states: Tensor) -> Tensor:
        """(B, n, D') states of genes -> (B, n) ln(1 + 1e4 * share of all counts) at the depth that was asked for."""
        return self.head(states.flatten(0, 1)).view(states.shape[:2])


SCFOUNDATION_NAMES = NameMap(
    renamed=(
        (r"token_emb\.mlp\.(weight|bias)", r"values.first.\1"),
        (r"token_emb\.mlp2\.(weight|bias)", r"values.second.\1"),
        (r"token_emb\.emb\.weight", "values.bins.weight"),
        (r"token_emb\.emb_mask\.weight", "values.masked.weight"),
        (r"token_emb\.emb_pad\.weight", "values.padded.weight"),
        (r"pos_emb\.weight", "genes.weight"),
        (r"encoder\.transformer_encoder\.(\d+)\.self_attn\.in_proj_(weight|bias)", r"encoder.\1.attention.qkv.\2"),
        (r"encoder\.transformer_encoder\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"encoder.\1.attention.out.\2"),
        (r"encoder\.transformer_encoder\.(\d+)\.linear([12])\.(weight|bias)", r"encoder.\1.ff\2.\3"),
        (r"encoder\.transformer_encoder\.(\d+)\.norm([12])\.(weight|bias)", r"encoder.\1.norm\2.\3"),
        (r"encoder\.norm\.(weight|bias)", r"encoder_norm.\1"),
        (r"decoder_embed\.(weight|bias)", r"narrow.\1"),
        *block_names(r"decoder\.performer\.net\.layers", "decoder"),
        (r"decoder\.norm\.(weight|bias)", r"decoder_norm.\1"),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"to_final\.(weight|bias)", r"head.\1"),
    ),
    dropped=((r"decoder\.performer\.calls_since_last_redraw", "counts training steps until new random matrices"),),
)
