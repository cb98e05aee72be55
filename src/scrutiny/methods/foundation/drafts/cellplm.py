"""Drafts of CellPLM: cells as tokens, with a mixture of Gaussians on top."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .layout import COMMON, Draft, Layout


def write(draft: Draft) -> None:
    genes, sizes = draft.genes("ensembl_id"), draft.sizes
    draft.write_json(
        "cellplm.config.json",
        {
            "out_dim": len(genes.names),
            "enc_hid": sizes["width"],
            "enc_layers": sizes["layers"],
            "enc_head": sizes["heads"],
            "post_latent_dim": sizes["latent"],
            "num_clusters": sizes["clusters"],
            "dec_hid": sizes["decoder_width"],
            "dec_layers": sizes["decoder_layers"],
            "norm": "layernorm",
            "gene_list": genes.names.tolist(),
        },
    )


def weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {"cellplm.best.safetensors": {"model_state_dict": tensors}}


SIZES = {name: COMMON[name] for name in ("width", "layers", "heads")}
CELLPLM = Layout({**SIZES, "latent": 64, "clusters": 16, "decoder_width": 128, "decoder_layers": 2}, write, weights)
