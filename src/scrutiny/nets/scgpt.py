"""scGPT: a transformer over pairs of gene and binned expression, without positions, that sums a cell up in its first token, <cls>.

Cui et al. 2024, Nature Methods 21:1470. The layout is that of ``TransformerModel`` in bowang-lab/scGPT: the whole-human model, the organ
variants, and what is fine-tuned from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrutiny.core.errors import InputError

from .layers import Block
from .tokens import Batch
from .weights import NameMap

INPUTS = ("continuous", "none")
"""How a value enters (``input_emb_style``): through a small net, as in all published models; or not at all, which is ours alone."""
MAX_VALUE = 512.0
"""Larger expression values count as this."""
D_QUERY = 64
"""Width of the hidden layer of the cell heads that are not inner products."""
DOMAIN_EPS = 6.1e-5
"""Of the batch norms."""

CellHead = Literal["", "inner product", "concat query", "sum query"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class ScgptConfig:
    """Sizes as ``args.json`` names them, and what only the tensors of a checkpoint tell.

    Attributes
    ----------
    n_words, padding
        Size of the vocabulary, special tokens included, and the id of ``pad_token``.
    context
        Tokens of a cell at most, <cls> included. No published file says so: it is the default of the official code, or what a model of
        ours was drafted with.
    pad_value, mask_value
        Expression value of <cls> (and of padding, of which there is none here), and of genes whose value is hidden.
    cell_head
        How gene and cell vector are brought together to predict a value (``mvc_decoder_style``); "": the checkpoint has no such head.
    n_batches
        Rows of the table of batches that the heads read (``use_batch_labels``); 0: none.
    n_domains, affine
        Batch norms before the first layer, one for each batch of fine-tuning (``domain_spec_batchnorm``) or a single one; whether they
        have a scale and shift beside mean and variance.
    """

    n_words: int
    padding: int
    embsize: int
    nheads: int
    d_hid: int
    nlayers: int
    n_layers_cls: int = 3
    n_bins: int = 51
    context: int = 1200
    input_emb_style: str = "continuous"
    pad_value: float = -2
    mask_value: float = -1
    cell_head: CellHead = "inner product"
    n_batches: int = 0
    n_domains: int = 0
    affine: bool = False

    @property
    def n_known_batches(self) -> int:
        """Batches of fine-tuning that any part of the model tells apart."""
        return max(self.n_domains, self.n_batches)

    @classmethod
    def from_files(cls, args: Mapping[str, Any], words: Mapping[str, int], shapes: Mapping[str, Shape], source: str) -> ScgptConfig:
        """From ``args.json``, the vocabulary, and the shapes of the tensors by official name (none: a pretrained model is meant).

        Raises
        ------
        InputError
            If a field is missing or the architecture is another one.
        """
        _check_style(args, source)
        taken = ("embsize", "nheads", "d_hid", "nlayers", "n_layers_cls", "n_bins", "pad_value", "mask_value", "context", "input_emb_style")
        try:
            config = cls(
                n_words=len(words),
                padding=words[args.get("pad_token", "<pad>")],
                **{name: args[name] for name in taken if name in args},
                **(_told_by_tensors(shapes, args["embsize"], source) if shapes else {}),
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"{source} lacks a field: {error}") from error
        _check_sizes(config, shapes, source)
        return config


def _check_style(args: Mapping[str, Any], source: str) -> None:
    """Refuse what no published model is, so that nothing runs through a net that it was not trained in."""
    for field, known in {"input_emb_style": INPUTS, "cell_emb_style": ("cls",), "pre_norm": (False,)}.items():
        if args.get(field, known[0]) not in known:
            raise InputError(f"{source} asks for {field} = {args[field]!r}; known is {known[0]!r}, as in all published models")


def _check_sizes(config: ScgptConfig, shapes: Mapping[str, Shape], source: str) -> None:
    """Refuse sizes that cannot be, or that the tensors contradict, before anything of these sizes is made."""
    sizes = {name: getattr(config, name) for name in ("embsize", "nheads", "d_hid", "nlayers", "n_layers_cls", "n_bins", "context")}
    if odd := {name: size for name, size in sizes.items() if type(size) is not int or size < 1}:
        raise InputError(f"{source} has {odd}; expected whole numbers from 1")
    if config.embsize % config.nheads:
        raise InputError(f"{source}: an embsize of {config.embsize} cannot be shared by {config.nheads} heads")
    if not shapes:
        return
    layers = len({name.split(".")[2] for name in shapes if name.startswith("transformer_encoder.layers.")})
    told = {"nlayers": config.nlayers, "vocabulary and embsize": (config.n_words, config.embsize)}
    found = {"nlayers": layers, "vocabulary and embsize": shapes.get("encoder.embedding.weight")}
    for what, size in told.items():
        if found[what] != size:
            raise InputError(f"{source}, or the vocabulary beside it, says {what} = {size}; the weights have {found[what]}")


def _told_by_tensors(shapes: Mapping[str, Shape], d: int, source: str) -> dict[str, Any]:
    """The optional parts: fine-tuning adds them without a word in ``args.json``."""
    domains = {name.split(".")[2] for name in shapes if name.startswith("dsbn.bns.")}
    return {
        "cell_head": _cell_head(shapes, d, source),
        "n_batches": shapes.get("batch_encoder.embedding.weight", (0,))[0],
        "n_domains": len(domains) or int("bn.running_mean" in shapes),
        "affine": "dsbn.bns.0.weight" in shapes or "bn.weight" in shapes,
    }


def _cell_head(shapes: Mapping[str, Shape], d: int, source: str) -> CellHead:
    if not any(name.startswith("mvc_decoder.") for name in shapes):
        return ""
    if "mvc_decoder.W.weight" in shapes:
        return "inner product"
    styles: dict[Shape, CellHead] = {(D_QUERY, d + D_QUERY): "concat query", (D_QUERY, d): "sum query"}
    found = shapes.get("mvc_decoder.fc1.weight", ())
    if found not in styles:
        raise InputError(f"{source}: the mvc_decoder has neither W nor a known fc1 (found {found}, expected one of {list(styles)})")
    return styles[found]


class ScgptNet(nn.Module):
    """Pairs of gene and value to hidden states, and the two heads of pretraining.

    Parameters
    ----------
    domain
        Which batch of fine-tuning the cells count as; without effect on a pretrained model.
    """

    def __init__(self, config: ScgptConfig, domain: int = 0) -> None:
        super().__init__()
        d = config.embsize
        self.domain = domain
        self.words = nn.Embedding(config.n_words, d, padding_idx=config.padding)
        self.word_norm = nn.LayerNorm(d)
        self.values = ValueEncoder(d) if config.input_emb_style == "continuous" else None
        self.domains = nn.ModuleList(nn.BatchNorm1d(d, eps=DOMAIN_EPS, affine=config.affine) for _ in range(config.n_domains))
        self.layers = nn.ModuleList(Block(d, config.nheads, config.d_hid) for _ in range(config.nlayers))
        self.batches = BatchTable(config.n_batches, d) if config.n_batches else None
        d_in = 2 * d if config.n_batches else d
        self.context_head = nn.Sequential(nn.Linear(d_in, d), nn.LeakyReLU(), nn.Linear(d, d), nn.LeakyReLU(), nn.Linear(d, 1))
        self.cell_head = _make_cell_head(config.cell_head, d, d_in)

    def embed_genes(self, ids: Tensor) -> Tensor:
        """(n,) ids -> (n, D), the vectors of genes before any value is known."""
        return self.word_norm(self.words(ids))

    def embed_tokens(self, batch: Batch) -> Tensor:
        """(N,) ids and values -> (N, D), the hidden state before the first layer."""
        x = self.embed_genes(batch.columns["ids"])
        if self.values is not None:
            x = x + self.values(batch.columns["values"])
        if not len(self.domains):
            return x
        return self.domains[self.domain if len(self.domains) > 1 else 0](x)  # a single one is for all batches

    def forward(self, batch: Batch, n_layers: int | None = None) -> Tensor:
        """Hidden states (N, D) after the first ``n_layers`` layers; None: after all."""
        x = self.embed_tokens(batch)
        for layer in self.layers[:n_layers]:
            x = layer(x, batch.lengths)
        return x

    def first(self, batch: Batch, n_layers: int) -> Tensor:
        """As `forward`, of <cls> only: (B, D)."""
        if not n_layers:
            return self.embed_tokens(batch)[batch.start]
        return self.layers[n_layers - 1].first(self(batch, n_layers - 1), batch)

    def predict(self, batch: Batch) -> Tensor:
        """Expression value of the gene of each token, (N, 2): by its own last hidden state, and by the vector of its cell.

        (N, 1) where the checkpoint has no head for the latter.
        """
        x = self(batch)
        in_context = self.context_head(self._beside_batch(x))
        if self.cell_head is None:
            return in_context
        from_cell = self.cell_head(self._beside_batch(x[batch.start]), self.embed_genes(batch.columns["ids"]), batch.cell)
        return torch.cat([in_context.float(), from_cell.float()[:, None]], dim=1)

    def _beside_batch(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, 2 D) where the heads also read the batch."""
        if self.batches is None:
            return x
        return torch.cat([x, self.batches(self.domain).expand(len(x), -1)], dim=1)


class ValueEncoder(nn.Module):
    """An expression value as a vector."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, d)
        self.linear2 = nn.Linear(d, d)
        self.norm = nn.LayerNorm(d)

    def forward(self, values: Tensor) -> Tensor:
        """(N,) -> (N, D). Bins are few, so each distinct value is encoded once."""
        distinct, which = torch.unique(values, return_inverse=True)
        x = F.relu(self.linear1(distinct.clamp(max=MAX_VALUE)[:, None]))  # (n_distinct, D)
        return self.norm(self.linear2(x))[which]


class BatchTable(nn.Module):
    """A vector for each batch of fine-tuning."""

    def __init__(self, n_batches: int, d: int) -> None:
        super().__init__()
        self.words = nn.Embedding(n_batches, d)
        self.norm = nn.LayerNorm(d)

    def forward(self, batch: int) -> Tensor:
        """(D,)."""
        return self.norm(self.words.weight[batch])


class InnerProductHead(nn.Module):
    """Value of a gene = (a query of its vector, turned linearly) times the vector of the cell."""

    def __init__(self, d: int, d_in: int) -> None:
        super().__init__()
        self.query = nn.Linear(d, d)
        self.turn = nn.Linear(d, d_in, bias=False)

    def forward(self, cells: Tensor, genes: Tensor, cell: Tensor) -> Tensor:
        """(B, d_in) cells, (N, D) genes, (N,) the cell of each gene -> (N,)."""
        turned = cells @ self.turn.weight  # (B, D): the cells are turned, since they are fewer than the genes
        return (torch.sigmoid(self.query(genes)) * turned[cell]).sum(dim=1)


class QueryHead(nn.Module):
    """Value of a gene = a small net of (a query of its vector) and the vector of the cell, side by side or summed."""

    def __init__(self, d: int, *, summed: bool) -> None:
        super().__init__()
        self.summed = summed
        self.query = nn.Linear(d, d if summed else D_QUERY)
        self.fc1 = nn.Linear(d if summed else d + D_QUERY, D_QUERY)
        self.activation = nn.PReLU()
        self.fc2 = nn.Linear(D_QUERY, 1)

    def forward(self, cells: Tensor, genes: Tensor, cell: Tensor) -> Tensor:
        """(B, D) cells, (N, D) genes, (N,) the cell of each gene -> (N,)."""
        queries = torch.sigmoid(self.query(genes))  # (N, D) summed, (N, D_QUERY) side by side
        x = cells[cell] + queries if self.summed else torch.cat([cells[cell], queries], dim=1)
        return self.fc2(self.activation(self.fc1(x))).squeeze(1)


def _make_cell_head(style: CellHead, d: int, d_in: int) -> nn.Module | None:
    if style == "inner product":
        return InnerProductHead(d, d_in)
    return QueryHead(d, summed=style == "sum query") if style else None


LAYER = r"transformer_encoder\.layers\.(\d+)\."

SCGPT_NAMES = NameMap(
    renamed=(
        (r"encoder\.embedding\.weight", "words.weight"),
        (r"encoder\.enc_norm\.(weight|bias)", r"word_norm.\1"),
        (r"value_encoder\.(linear1|linear2|norm)\.(weight|bias)", r"values.\1.\2"),
        (LAYER + r"self_attn\.(?:_impl\.)?Wqkv\.(weight|bias)", r"layers.\1.attention.qkv.\2"),  # flash-attn 1, and wrapped
        (LAYER + r"self_attn\.in_proj_(weight|bias)", r"layers.\1.attention.qkv.\2"),  # torch.nn.MultiheadAttention
        (LAYER + r"self_attn\.(?:_impl\.)?out_proj\.(weight|bias)", r"layers.\1.attention.out.\2"),
        (LAYER + r"linear([12])\.(weight|bias)", r"layers.\1.ff\2.\3"),
        (LAYER + r"norm([12])\.(weight|bias)", r"layers.\1.norm\2.\3"),
        (r"dsbn\.bns\.(\d+)\.(\w+)", r"domains.\1.\2"),
        (r"bn\.(\w+)", r"domains.0.\1"),
        (r"batch_encoder\.embedding\.weight", "batches.words.weight"),
        (r"batch_encoder\.enc_norm\.(weight|bias)", r"batches.norm.\1"),
        (r"decoder\.fc\.([024])\.(weight|bias)", r"context_head.\1.\2"),
        (r"mvc_decoder\.gene2query\.(weight|bias)", r"cell_head.query.\1"),
        (r"mvc_decoder\.W\.weight", "cell_head.turn.weight"),
        (r"mvc_decoder\.fc([12])\.(weight|bias)", r"cell_head.fc\1.\2"),
        (r"mvc_decoder\.hidden_activation\.weight", "cell_head.activation.weight"),
    ),
    dropped=(
        (r"flag_encoder\.weight", "marks the genes to be generated in pretraining; here every gene has a value or is masked"),
        (r"cls_decoder\..+", "names the types of the cells that a model was fine-tuned on; the official embedding does not read it"),
        (r"grad_reverse_discriminator\..+", "the adversary of fine-tuning against batches"),
        (r"decoder\.zero_logit\.[024]\.(weight|bias)", "chance of a zero; the official prediction is that of decoder.fc, without it"),
        (r"mvc_decoder\.W_zero_logit\.(weight|bias)", "chance of a zero; the official prediction is that of W, without it"),
    ),
)
