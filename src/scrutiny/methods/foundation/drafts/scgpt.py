"""Drafts of scGPT: genes with binned expression."""

from __future__ import annotations

from .layout import COMMON, Draft, Layout, only_file

SPECIAL = ("<pad>", "<cls>", "<eoc>")


def write(draft: Draft) -> None:
    genes, sizes = draft.genes("symbol"), draft.sizes
    draft.write_json("vocab.json", {word: token for token, word in enumerate([*genes.names.tolist(), *SPECIAL])})
    draft.write_json(
        "args.json",
        {
            "embsize": sizes["width"],
            "nlayers": sizes["layers"],
            "nheads": sizes["heads"],
            "d_hid": sizes["feed_forward"],
            "context": sizes["context"],
            "n_layers_cls": 3,
            "n_bins": sizes["n_bins"],
            "input_emb_style": sizes["values"],
            "cell_emb_style": "cls",
            "pad_token": SPECIAL[0],
            "pad_value": -2,
            "mask_value": -1,
        },
    )


SCGPT = Layout({**COMMON, "n_bins": 51, "values": ("continuous", "none")}, write, only_file("best_model.safetensors"))
