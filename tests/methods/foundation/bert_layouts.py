"""Small checkpoints in the layouts of Geneformer and LangCell, and made-up cells of their made-up genes."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scrutiny.core.dataset import from_arrays

N_GENES = 150
GENES = [f"ENSG{i:011d}" for i in range(N_GENES)]


def toy_config(n_words, **changed):
    sizes = {"vocab_size": n_words, "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 20}
    others = {"max_position_embeddings": 64, "hidden_act": "relu", "layer_norm_eps": 1e-12, "model_type": "bert", "pad_token_id": 0}
    return {**sizes, **others, "torch_dtype": "float32", **changed}


def toy_tensors(config, seed=0):
    """Random weights under the official names (`BertForMaskedLM`)."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForMaskedLM(transformers.BertConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in tensors.items() if "decoder" not in name}


def write_dictionaries(folder, special, mark="", mapping=None, medians=None):
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {word: i for i, word in enumerate([*special, *GENES])}
    medians = {gene: 1.0 for gene in GENES} if medians is None else medians
    written = {"token_dictionary": tokens, "gene_median_dictionary": medians, "ensembl_mapping_dict": mapping}
    for name, content in written.items():
        if content is not None:
            (folder / f"{name}{mark}.pkl").write_bytes(pickle.dumps(content))


V1, V2 = ("<pad>", "<mask>"), ("<pad>", "<mask>", "<cls>", "<eos>")
ITSELF = {gene: gene for gene in GENES}


def cells(counts, genes=GENES):
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    obs = pd.DataFrame(index=[f"cell_{i}" for i in range(counts.shape[0])])
    return from_arrays("made up", counts, obs, list(genes), organism="human")


def some_cells(n_cells=6, seed=0):
    return cells(np.random.default_rng(seed).poisson(0.4, (n_cells, N_GENES)))


def labelled(data, rows):
    """Some cells with made-up labels and batches, of which a method may know nothing."""
    few = data.take(rows)
    turns = np.arange(few.n_cells)
    obs = few.obs.assign(l=np.where(turns % 2, "a", "b"), b=np.where(turns % 3, "x", "y"))
    return replace(few, obs=obs, roles={"label": "l", "batch": "b"})
