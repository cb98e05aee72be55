"""Drafts of Nicheformer: genes ranked relative to their mean, filled up to one length."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from scrutiny.methods.foundation.nicheformer import WEIGHTS as PUBLISHED
from scrutiny.nets.export import write_checkpoint
from scrutiny.nets.nicheformer import FIRST_GENE
from scrutiny.nets.weights import read_checkpoint

from .layout import COMMON, Draft, Layout

WEIGHTS = "nicheformer.safetensors"


def write(draft: Draft) -> None:
    """Genes, means, and the file of weights with its fields and no tensors."""
    genes, sizes = draft.genes("ensembl_id", medians=True), draft.sizes
    draft.write_json("model.json", genes.names.tolist())
    np.save(draft.folder / "dissociated_mean_script.npy", genes.medians)
    draft.notes.append("genes are compared to their medians where the published model has means, rounded to whole numbers from 1 as there")
    fields = {
        "dim_model": sizes["width"],
        "nlayers": sizes["layers"],
        "nheads": sizes["heads"],
        "dim_feedforward": sizes["feed_forward"],
        "context_length": sizes["context"],
        "n_tokens": FIRST_GENE + len(genes.names),
        **dict.fromkeys(("specie", "assay", "modality"), sizes["context_tokens"]),
        "learnable_pe": True,
    }
    write_checkpoint({"hyper_parameters": fields, "state_dict": {}}, draft.folder / WEIGHTS)


def weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """With the fields that are there."""
    fields = read_checkpoint(model.folder.file(*PUBLISHED))["hyper_parameters"]
    return {WEIGHTS: {"hyper_parameters": fields, "state_dict": tensors}}


NICHEFORMER = Layout({**COMMON, "context_tokens": True}, write, weights)
