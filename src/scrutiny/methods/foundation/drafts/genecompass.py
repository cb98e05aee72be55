"""Drafts of GeneCompass: ranked genes with their expression, and prior knowledge that is made up."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scrutiny.data.draws import cell_generator
from scrutiny.nets.export import write_checkpoint
from scrutiny.nets.genecompass import MASK, PAD, PRIORS

from .layout import COMMON, Draft, Layout, only_file
from .ranks import V1, bert_fields

WEIGHTS = "model.safetensors"


def write(draft: Draft) -> None:
    """Config and dictionaries; the file of weights has what the model is given and is not trained."""
    genes, n_dims = draft.genes("ensembl_id", medians=True), draft.sizes["knowledge"]
    tokens = dict(zip(V1, (PAD, MASK), strict=True)) | {name: token for token, name in enumerate(genes.names.tolist(), len(V1))}
    draft.write_json("tokens.json", tokens)
    draft.write_json("gene_median.json", dict(zip(genes.names.tolist(), genes.medians.tolist(), strict=True)))
    draft.write_json("config.json", bert_fields(draft, len(tokens)))
    draft.notes.append(f"prior knowledge is made up: {n_dims} random numbers of each kind, drawn by the name of the gene")
    tables = {f"bert.embeddings.{kind}_knowledge": torch.from_numpy(drawn(list(tokens), n_dims, kind)) for kind in PRIORS}
    write_checkpoint({**tables, "bert.embeddings.homologous_index": torch.arange(len(tokens))}, draft.folder / WEIGHTS)


def drawn(names: list[str], n_dims: int, kind: str) -> NDArray[np.float32]:
    """Normal numbers (n, n_dims) that depend on name and kind alone."""
    return np.stack([cell_generator(0, f"{kind}:{name}").standard_normal(n_dims, dtype=np.float32) for name in names])


GENECOMPASS = Layout({**COMMON, "activation": ("gelu", "relu"), "knowledge": 32}, write, only_file(WEIGHTS))
