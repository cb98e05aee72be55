"""Drafts of SCimilarity: a perceptron from log counts to a vector of length 1, and its mirror back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor

from scrutiny.nets.export import write_checkpoint
from scrutiny.nets.scimilarity import DECODER, turned

from .layout import Draft, Layout


def write(draft: Draft) -> None:
    """Genes and shapes; a file of the decoder without tensors says that there is one."""
    genes, sizes = draft.genes("symbol"), draft.sizes
    (draft.folder / "gene_order.tsv").write_text("".join(f"{name}\n" for name in genes.names), "utf-8")
    widths = [len(genes.names), *[sizes["width"]] * sizes["layers"], sizes["latent"]]
    names = [*(f"network.{layer}.1.weight" for layer in range(sizes["layers"])), f"network.{sizes['layers']}.weight"]
    draft.write_json("layer_sizes.json", {name: [above, below] for name, (below, above) in zip(names, pairwise(widths), strict=True)})
    if sizes["decoder"]:
        write_checkpoint({"state_dict": {}}, draft.folder / "decoder.safetensors")


def weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Encoder and decoder in files of their own."""
    decoder = {name.removeprefix(DECODER): tensor for name, tensor in tensors.items() if name.startswith(DECODER)}
    encoder = turned({name: tensor for name, tensor in tensors.items() if not name.startswith(DECODER)})
    files = {"encoder.safetensors": {"state_dict": encoder}}
    return files | ({"decoder.safetensors": {"state_dict": decoder}} if decoder else {})


SCIMILARITY = Layout({"width": 128, "layers": 3, "latent": 64, "decoder": True}, write, weights)
