"""Drafts of scBERT: every gene of the vocabulary in every cell, with the class of its expression."""

from __future__ import annotations

from scrutiny.methods.foundation.scbert import SIZES as SIZES_FILE
from scrutiny.nets.performer import n_features_of

from .layout import COMMON, Draft, Layout, only_file


def write(draft: Draft) -> None:
    """Genes, and the sizes, which the published model leaves to the tensors."""
    genes, sizes = draft.genes("symbol"), draft.sizes
    draft.write_json("panglao_10000.json", genes.names.tolist())
    draft.write_json(
        SIZES_FILE,
        {
            "n_classes": sizes["classes"] + 1,  # the mask
            "n_tokens": len(genes.names) + 1,
            "width": sizes["width"],
            "depth": sizes["layers"],
            "n_heads": sizes["heads"],
            "head_width": sizes["head_width"],
            "n_features": n_features_of(sizes["head_width"]),
        },
    )


SIZES = {name: COMMON[name] for name in ("width", "layers", "heads")}
SCBERT = Layout({**SIZES, "head_width": 32, "classes": 6}, write, only_file("panglao_pretrain.safetensors"))
