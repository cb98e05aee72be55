"""The families as what is trained: which of their parts an objective may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
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
    family = model.card.twin_of or model.card.name
    if family not in SUBJECTS:
        raise InputError(f"the family '{family}' cannot be pretrained; those that can are {', '.join(sorted(SUBJECTS))}")

    def tokenise(cells: Cells) -> Any:
        return model.tokens(Counts(0, cells.n_cells, cells.counts, cells.totals), matched, cells.ids)

    common = {"family": family, "net": model.net, "cells": getattr(model, "embed_batch", None), "tokenise": tokenise}
    return Subject(**common, **SUBJECTS[family](model, matched))


def _geneformer(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.genes.tokens[matched.words],
        "masks": {"ids": files.genes.special["<mask>"]},
        "width": files.config.hidden_size,
        "n_words": files.config.vocab_size,
        "genes": net.words,
        "logits": net.logits,
    }


def _scgpt(model: Any, matched: Matched) -> dict[str, Any]:
    files, net = model.files, model.net
    with_cell_head = net.cell_head is not None

    def value_from_cell(cells: torch.Tensor, ids: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return net.cell_head(cells, net.embed_genes(ids), cell)

    return {
        "hidden": lambda net, batch: net(batch),
        "gene_tokens": files.tokens[matched.words],
        "masks": {"values": files.config.mask_value},
        "width": files.config.embsize,
        "n_words": files.config.n_words,
        "genes": net.embed_genes,
        "value": lambda hidden: net.context_head(hidden).squeeze(1),
        "value_from_cell": value_from_cell if with_cell_head else None,
    }


SUBJECTS: dict[str, Callable[[Any, Matched], dict[str, Any]]] = {"geneformer": _geneformer, "scgpt": _scgpt}
"""Family -> what its `Subject` has beside the common parts."""


def in_training(family: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a family that make it feed its net in training as published models were, where using it is another matter."""
    return {"binning": "one", "max_length": sizes["context"]} if family == "scgpt" else {}
