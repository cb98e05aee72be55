"""Drafts of scFoundation: counts as real numbers over the expressed genes, and a decoder over all genes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scrutiny.core.errors import InputError
from scrutiny.methods.foundation.scfoundation import ALL, GENE_LIST
from scrutiny.nets.export import write_checkpoint

from .layout import COMMON, Draft, Layout

WEIGHTS = "models.safetensors"
MASK, PADDING = 102, 103
"""Values that stand for "hidden" and "nothing", as in the published models."""


def write(draft: Draft) -> None:
    """The list of genes, and the file of weights with its config and no tensors."""
    genes = draft.genes("symbol")
    lines = (f"{name}\t{place}\n" for place, name in enumerate(genes.names))
    (draft.folder / GENE_LIST).write_text("gene_name\tindex\n" + "".join(lines), "utf-8")
    write_checkpoint({ALL: {"config": config_of(draft, len(genes.names)), "state_dict": {}}}, draft.folder / WEIGHTS)


def config_of(draft: Draft, n_genes: int) -> dict[str, Any]:
    """The fields that the published file has, as far as they say what the net is."""
    sizes = draft.sizes
    width_of_head, rest = divmod(sizes["decoder_width"], sizes["decoder_heads"])
    if rest or width_of_head < 2:
        raise InputError(f"a decoder_width of {sizes['decoder_width']} does not split into {sizes['decoder_heads']} heads of 2 or more")
    encoder = {"module_type": "transformer", "hidden_dim": sizes["width"], "depth": sizes["layers"], "heads": sizes["heads"]}
    decoder = {"hidden_dim": sizes["decoder_width"], "depth": sizes["decoder_layers"], "heads": sizes["decoder_heads"]}
    decoder |= {"module_type": "performer", "dim_head": width_of_head}
    values = {"bin_num": sizes["n_bins"], "bin_alpha": 1.0, "mask_token_id": MASK, "pad_token_id": PADDING}
    model = {**values, "encoder": {**encoder, "norm_first": False}, "decoder": decoder}
    return {"model": "mae_autobin", "model_config": {"mae_autobin": model}, "dataset_config": {"rnaseq": {"seq_len": n_genes + 2}}}


def weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """One set for all outputs, with the config that is there."""
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    return {WEIGHTS: {ALL: {"config": model.entry(model.folder)["config"], "state_dict": named}}}


SIZES = {name: COMMON[name] for name in ("width", "layers", "heads")}
SCFOUNDATION = Layout({**SIZES, "decoder_width": 64, "decoder_layers": 2, "decoder_heads": 4, "n_bins": 100}, write, weights)
