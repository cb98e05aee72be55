"""GeneCompass: a BERT encoder over ranked genes whose embedding is made of the gene, its expression and four kinds of prior knowledge.

Yang et al. 2024, Cell Research 34:830. Written from a description of the layout: a token that names the species comes before the genes,
and the genes of mouse borrow what is known of their human homologues.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .bert import ACTIVATIONS, BERT_NAMES, Bert, BertConfig
from .tokens import Batch
from .weights import NameMap

PRIORS = ("promoter", "co_exp", "gene_family", "peca_grn")
"""In the order in which they are joined."""
PAD, MASK = 0, 1
"""Tokens."""
MASKED_VALUE = -1.0
"""Expression of a gene that is hidden; real ones are positive."""
SPECIES = {"human": 0, "mouse": 1}
KNOWLEDGE = {
    **{f"bert.embeddings.{name}_knowledge": f"priors.{name}.table" for name in PRIORS},
    "bert.embeddings.homologous_index": "homologous",
}
"""What a checkpoint holds that was put in and never trained: official name -> name of ours."""


@dataclass(frozen=True)
class GenecompassConfig:
    """Sizes: ``bert`` as ``config.json`` names them, ``widths`` of the prior tables in the checkpoint, in the order of `PRIORS`."""

    bert: BertConfig
    widths: tuple[int, ...]

    @classmethod
    def from_files(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> GenecompassConfig:
        """Raises InputError if a field or a prior table is missing or odd, or a part is switched off that the published models have."""
        bert = BertConfig.from_fields(fields, source)
        if bert.position_embedding_type != "absolute":
            raise InputError(f"{source} asks for position_embedding_type {bert.position_embedding_type}; expected absolute")
        off = [part for part in ("use_values", "use_cls_token", *(f"use_{name}" for name in PRIORS)) if not fields.get(part, True)]
        if off:
            raise InputError(f"{source} switches off {', '.join(off)}; expected the published models, which have all of them")
        tables = [tensors.get(f"bert.embeddings.{name}_knowledge") for name in PRIORS]
        if any(table is None or table.ndim != 2 or len(table) != bert.vocab_size for table in tables):
            shapes = {name: None if table is None else tuple(table.shape) for name, table in zip(PRIORS, tables, strict=True)}
            raise InputError(f"the checkpoint beside {source} has prior tables {shapes}; expected {bert.vocab_size:,} rows in each")
        return cls(bert, tuple(table.shape[1] for table in tables if table is not None))


class GenecompassNet(Bert):
    """Token ids and values to hidden states. The first token of each cell is its species, whatever its id says."""

    def __init__(self, config: GenecompassConfig) -> None:
        super().__init__(config.bert)
        d = config.bert.hidden_size
        self.priors = nn.ModuleDict({name: Prior(len(self.words.weight), n, d) for name, n in zip(PRIORS, config.widths, strict=True)})
        self.joint = Joint((1 + len(PRIORS)) * d + 1, d)
        self.species = nn.Embedding(len(SPECIES), d)
        self.value_head = ValueHead(config.bert)
        self.register_buffer("homologous", torch.zeros(config.bert.vocab_size, dtype=torch.int64))

    def reset(self, generator: torch.Generator) -> None:
        torch.arange(len(self.homologous), out=self.homologous)

    def embed_tokens(self, batch: Batch) -> Tensor:
        """(N,) ids, (N,) values, (B,) species -> (N, D), the hidden state before the first layer."""
        ids, species = batch.columns["ids"], batch.cells["species"]
        known = torch.where(species[batch.cell] == SPECIES["mouse"], self.homologous[ids], ids)  # (N,) whose knowledge is looked up
        value = batch.columns["values"].to(self.words.weight.dtype)[:, None]
        x = self.joint(torch.cat([self.words(ids), value, *(prior(known) for prior in self.priors.values())], dim=1))  # (N, D)
        x = self.norm(x + self.types.weight[0] + self.positions((batch.position - 1).clamp(min=0)))
        return x.index_copy(0, batch.start, self.species(species).to(x.dtype))

    def values(self, hidden: Tensor) -> Tensor:
        """(n, D) last hidden states -> (n,) expression of the gene at each place."""
        return self.value_head(hidden)


class Prior(nn.Module):
    """A table of what is known of genes, and its projection: (N,) ids -> (N, D)."""

    def __init__(self, n_words: int, width: int, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, d_model)
        self.register_buffer("table", torch.zeros(n_words, width))

    def reset(self, generator: torch.Generator) -> None:
        self.table.normal_(generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        return self.linear(self.table[ids])


class Joint(nn.Module):
    """All that is known of a token brought to the width of the encoder: (N, sum of widths) -> (N, D)."""

    def __init__(self, d_in: int, d_model: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_in, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.outer = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.inner(x))
        return self.outer(x * torch.sigmoid(1.702 * x))  # Hendrycks & Gimpel 2016, the quick form of GELU


class ValueHead(nn.Module):
    """Dense layer, activation, norm, then one number: (n, D) -> (n,)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.out = nn.Linear(config.hidden_size, 1)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.norm(self.activation(self.dense(hidden)))).squeeze(1)


GENECOMPASS_NAMES = NameMap(
    renamed=(
        *((re.escape(official), ours) for official, ours in KNOWLEDGE.items()),
        (r"bert\.embeddings\.(promoter|co_exp|gene_family|peca_grn)_embeddings\.linear1\.(weight|bias)", r"priors.\1.linear.\2"),
        (r"bert\.embeddings\.concat_embeddings\.cat_fc\.(weight|bias)", r"joint.inner.\1"),
        (r"bert\.embeddings\.concat_embeddings\.cat_ln\.(weight|bias)", r"joint.norm.\1"),
        (r"bert\.embeddings\.concat_embeddings\.cat_proj\.(weight|bias)", r"joint.outer.\1"),
        (r"bert\.cls_embedding\.weight", "species.weight"),
        (r"cls4value\.predictions\.transform\.dense\.(weight|bias)", r"value_head.dense.\1"),
        (r"cls4value\.predictions\.transform\.LayerNorm\.(weight|bias)", r"value_head.norm.\1"),
        (r"cls4value\.predictions\.decoder\.(weight|bias)", r"value_head.out.\1"),
        *BERT_NAMES.renamed,
    ),
    dropped=(
        *BERT_NAMES.dropped,
        (r"cls4value\.predictions\.bias", "the parameter cls4value.predictions.decoder.bias under another name"),
        (r"emb_warmup\.(alpha|steps)", "how far prior knowledge was blended in; it is wholly so at the end of training, which is checked"),
    ),
    written=BERT_NAMES.written,
)
