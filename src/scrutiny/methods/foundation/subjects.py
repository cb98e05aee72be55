"""The families as what is trained: which of their parts an objective may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.nets import genecompass
from scrutiny.nets.nicheformer import FIRST_GENE, MASK, PAD
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.tuning.subject import Cells, Subject

from .genes import Counts, Matched
from .model import Published

TOTAL = "total"
"""Column of a corpus with the counts of a cell over all genes that were measured, of which the corpus has kept some."""


def cells_of(model: Published, data: Dataset) -> Cells:
    """The cells of a shard as a model counts them."""
    chunks = list(model.match(data).counts(data, data.n_cells or 1))
    totals = data.obs[TOTAL].to_numpy(np.float64) if TOTAL in data.obs else np.concatenate([chunk.totals for chunk in chunks])
    ontology, studies = (_column(data, name) for name in ("ontology", "study"))
    return Cells(chunks[0].known, totals, data.cell_ids, ontology, studies)


def _column(data: Dataset, name: str) -> NDArray[np.str_]:
    """(n_cells,) str, '' where there is no such column."""
    return data.obs[name].astype(str).to_numpy(str) if name in data.obs else np.full(data.n_cells, "")


def subject_of(model: Published, matched: Matched) -> Subject:
    """A model, weights loaded or drawn, as a subject.

    Raises
    ------
    InputError
        If nobody has said how its family is trained.
    """
    family = family_of(model)

    def tokenise(cells: Cells) -> Any:
        return model.tokens(Counts(0, cells.n_cells, cells.counts, cells.totals), matched, cells.ids)

    common = {"family": family, "net": model.net, "cells": getattr(model, "embed_batch", None), "tokenise": tokenise}
    return Subject(**{**common, **SUBJECTS[family](model, matched)})


def family_of(model: Published) -> str:
    """The family that a model is of, whatever it is called itself: a small one of ours, an untrained twin.

    Raises
    ------
    InputError
        If nobody has said how its family is trained.
    """
    names = (getattr(getattr(cls, "card", None), "name", "") for cls in type(model).__mro__)
    family = next((name for name in names if name in SUBJECTS), None)
    if family is None:
        raise InputError(f"the family of '{model.card.name}' cannot be trained; those that can are {', '.join(sorted(SUBJECTS))}")
    return family


def _geneformer(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.genes.tokens[matched.words],
        "masks": {"ids": files.genes.special["<mask>"]},
        "width": files.config.hidden_size,
        "cell_width": files.config.hidden_size,
        "n_words": files.config.vocab_size,
        "genes": net.words,
        "logits": net.logits,
    }


def _scgpt(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    if files.config.n_known_batches:
        raise InputError(f"{model.folder.path} was fine-tuned on batches and cannot be pretrained further; take the pretrained model")

    def value_from_cell(cells: Tensor, ids: Tensor, cell: Tensor) -> Tensor:
        return net.cell_head(cells, net.embed_genes(ids), cell)

    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.tokens[matched.words],
        "masks": {"values": files.config.mask_value},
        "width": files.config.embsize,
        "cell_width": files.config.embsize,
        "n_words": files.config.n_words,
        "genes": net.embed_genes,
        "value": lambda hidden: net.context_head(hidden).squeeze(1),
        "value_from_cell": value_from_cell if net.cell_head is not None else None,
        "enter": net.embed_tokens,
        "layers": net.layers,
    }


def _scfoundation(model: Any, matched: Matched) -> dict[str, Any]:
    config, net = model.files.config, model.net

    def hidden_values(batch: Batch) -> Tensor:
        masked = batch.cells["hidden"][:, : config.n_genes]
        states = net.decode(net(batch), replace(batch, cells={"masked": masked}))  # (B, n_genes, D')
        return net.head(states[masked]).squeeze(1)

    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": matched.words,
        "masks": {},
        "width": config.width,
        "cell_width": config.width * (4 if model.pooling == "all" else 1),
        "n_words": config.seq_len,
        "genes": net.genes,
        "hidden_values": hidden_values,
        "depths": (config.source, config.target),
        "blocks": "encoder",
        "above": ("encoder_norm",),
    }


def _nicheformer(model: Any, matched: Matched) -> dict[str, Any]:
    """Without padding: it is never attended to, so in training it would be computed for nothing."""
    config, net = model.files.config, model.net
    longest = config.context_length

    def tokenise(cells: Cells) -> Tokens:
        tokens = model.tokens(Counts(0, cells.n_cells, cells.counts, cells.totals), matched, cells.ids)
        n_real = tokens.cells["n_real"]
        return Tokens(n_real, {"ids": tokens.columns["ids"][(np.arange(longest) < n_real[:, None]).ravel()]})

    def cells(batch: Batch) -> Tensor:
        """Padding has outputs, and they count in the vector."""
        ids = torch.full((batch.n_cells * longest,), PAD, device=batch.device)
        ids[batch.cell * longest + batch.position] = batch.columns["ids"]
        return model.embed_batch(Batch((longest,) * batch.n_cells, {"ids": ids}, {"n_real": batch.length}, batch.device))

    return {
        "hidden": lambda net, batch: net(batch),
        "cells": cells,
        "tokenise": tokenise,
        "gene_tokens": matched.words + FIRST_GENE,
        "masks": {"ids": MASK},
        "width": config.dim_model,
        "cell_width": config.dim_model,
        "n_words": config.n_tokens,
        "genes": net.words,
        "logits": net.logits,
    }


def _genecompass(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    width = files.config.bert.hidden_size
    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.tokens[matched.words],
        "masks": {"ids": genecompass.MASK, "values": genecompass.MASKED_VALUE},
        "width": width,
        "cell_width": width,
        "n_words": files.config.bert.vocab_size,
        "genes": net.words,
        "logits": net.logits,
        "value": net.values,
    }


def _scbert(model: Any, matched: Matched) -> dict[str, Any]:
    config, net = model.files.config, model.net
    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": matched.words,
        "masks": {"ids": config.n_classes - 1},
        "width": config.width,
        "cell_width": config.width,
        "n_words": config.n_tokens,
        "class_logits": net.logits,
        "above": ("norm",),
    }


def _uce(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net

    def log_odds(cells: Tensor, ids: Tensor, cell: Tensor) -> Tensor:
        words, which = torch.unique(ids, return_inverse=True)
        return net.log_odds_of(cells, net.gene_encoder(net.token_vectors(words)), cell, which)

    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.species[matched.organism].tokens[matched.words],
        "masks": {},
        "width": files.config.d_model,
        "cell_width": files.config.decoder[-1],
        "n_words": len(files.table),
        "log_odds": log_odds,
        "above": ("decoder",),
    }


def _cellplm(model: Any, matched: Matched) -> dict[str, Any]:
    """The cells of a batch are one sample; a cell has the likeliest of its clusters, since a batch draws nothing."""
    config, net = model.files.config, model.net

    def cells(batch: Batch) -> Tensor:
        x = net.read(batch)
        columns = {"x": x, "noise": x.new_zeros(len(x), config.num_clusters)}
        return net(Batch((len(x),), columns, {}, batch.device))

    return {
        "hidden": lambda net, batch: net.encode(net.read(batch), (batch.n_cells,)),
        "cells": cells,
        "gene_tokens": matched.words,
        "masks": {},
        "width": config.enc_hid,
        "cell_width": config.post_latent_dim,
        "n_words": config.out_dim,
        "hidden_values": lambda batch: torch.log1p(net.decoder(cells(batch)).mean)[batch.cells["hidden"]],
        "above": ("norm", "cluster", "latent_hidden", "latent"),
        "together": True,
    }


def _langcell(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    return {
        "hidden": lambda net, batch: net.bert(batch),
        "gene_tokens": files.genes.tokens[matched.words],
        "masks": {},
        "width": files.config.hidden_size,
        "cell_width": net.projection.out_features,
        "n_words": files.config.vocab_size,
        "blocks": "bert.layers",
        "above": ("projection",),
    }


def _scimilarity(model: Any, matched: Matched) -> dict[str, Any]:
    """A cell is one vector in every layer; its tokens are what the first one reads."""
    config, net = model.files.config, model.net
    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": matched.words,
        "masks": {},
        "width": config.latent,
        "cell_width": config.latent,
        "n_words": config.n_genes,
        "profiles": net.decoder,
        "above": ("out",),
    }


SUBJECTS: dict[str, Callable[[Any, Matched], dict[str, Any]]] = {
    "cellplm": _cellplm,
    "genecompass": _genecompass,
    "geneformer": _geneformer,
    "langcell": _langcell,
    "nicheformer": _nicheformer,
    "scbert": _scbert,
    "scfoundation": _scfoundation,
    "scgpt": _scgpt,
    "scimilarity": _scimilarity,
    "uce": _uce,
}
"""Family -> what its `Subject` has beside, or in the place of, the common parts."""


def in_training(family: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a family that make it feed its net in training as published models were, where using it is another matter."""
    return {"binning": "one", "max_length": sizes["context"]} if family == "scgpt" else {}
