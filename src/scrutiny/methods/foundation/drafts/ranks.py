"""Drafts of Geneformer and of the cell side of LangCell: BERTs over genes ranked by their medians."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .layout import COMMON, Draft, Genes, Layout, Sizes, only_file

V1, V2 = ("<pad>", "<mask>"), ("<pad>", "<mask>", "<cls>", "<eos>")
BERT: Sizes = {**COMMON, "activation": ("relu", "gelu"), "positions": ("learned", "none")}
POSITIONS = {"learned": "absolute", "none": "none"}
"""What we say -> what ``config.json`` does; the second is no field of a published model."""


def bert_fields(draft: Draft, n_words: int) -> dict[str, Any]:
    """``config.json``, as `transformers.BertForMaskedLM` reads it too."""
    sizes = draft.sizes
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": n_words,
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["feed_forward"],
        "max_position_embeddings": sizes["context"],
        "hidden_act": sizes["activation"],
        "position_embedding_type": POSITIONS[sizes.get("positions", "learned")],
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }


def write_dictionaries(draft: Draft, special: tuple[str, ...]) -> Genes:
    """Tokens and medians by Ensembl id."""
    genes = draft.genes("ensembl_id", medians=True)
    draft.write_json("token_dictionary.json", {word: token for token, word in enumerate([*special, *genes.names.tolist()])})
    draft.write_json("gene_median_dictionary.json", dict(zip(genes.names.tolist(), genes.medians.tolist(), strict=True)))
    return genes


def write_geneformer(draft: Draft) -> None:
    special = V2 if draft.sizes["special_tokens"] else V1
    genes = write_dictionaries(draft, special)
    if "symbol" in draft.table:  # so that data without Ensembl ids can be read too
        known = draft.table[draft.table["ensembl_id"].isin(genes.names) & (draft.table["symbol"] != "")]
        once = known.drop_duplicates("symbol", keep=False)
        draft.write_json("gene_name_id_dict.json", dict(zip(once["symbol"], once["ensembl_id"], strict=True)))
    draft.write_json("config.json", bert_fields(draft, len(special) + len(genes.names)))


def write_langcell(draft: Draft) -> None:
    genes = write_dictionaries(draft, V1)
    fields = bert_fields(draft, len(V1) + len(genes.names) + 1)  # and <cls>, which the dictionary does not have
    draft.write_json("cell_bert/config.json", {**fields, "cell_proj_size": draft.sizes["projection"]})


def langcell_files(model: Any, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The encoder, and the projection in a file of its own."""
    projection = {name: tensor for name, tensor in tensors.items() if name.startswith("cell_proj.")}
    encoder = {name: tensor for name, tensor in tensors.items() if name not in projection}
    named = {name.removeprefix("cell_proj."): tensor for name, tensor in projection.items()}
    return {"cell_bert/model.safetensors": encoder, "cell_proj.safetensors": named}


GENEFORMER = Layout({**BERT, "special_tokens": True}, write_geneformer, only_file("model.safetensors"))
LANGCELL = Layout({**BERT, "projection": 64}, write_langcell, langcell_files)
