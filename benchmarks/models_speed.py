"""Cells per second of transformer-sized models on a processor: ours against the usual padded ``nn.TransformerEncoder``.

    python benchmarks/models_speed.py pbmc.h5ad                       scGPT and Geneformer V1 at their real sizes, random weights
    python benchmarks/models_speed.py pbmc.h5ad --model geneformer --cells 200 --repeats 5

Same cells, same weights, one process, the sides by turns: float32 as the reference code does it (batches of 32 cells in the order of the
file, padded to the longest, a padding mask), the same with the batch that suits a processor best (4 cells), ours in float32 and ours in
bfloat16. The reference is given our tokens and our token vectors, so only the encoder is compared, to its advantage. Medians go to
results/models_speed.jsonl with how faithful the vectors are and how close the encoder comes to the matrix products that this machine
can do.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scrutiny.core.registry import METHODS
from scrutiny.data.read import read
from scrutiny.metrics.neighbors import nearest
from scrutiny.nets.inference import Runner
from scrutiny.nets.tokens import batch_of

RESULTS = Path(__file__).parent / "results" / "models_speed.jsonl"
BATCHES = {"reference": 32, "reference_small": 4}
"""Cells of a batch of the reference: as usual, and as a processor likes best."""
NEIGHBORS = 15


def geneformer_folder(folder, data):
    """Geneformer V1 (6 layers of 256, 2,048 tokens) with the genes of the data and their medians; no weights."""
    values = data.values.tocsc()
    columns = np.split(values.data, values.indptr[1:-1])
    medians = {gene: float(np.median(column)) for gene, column in zip(data.genes, columns) if len(column)}
    sizes = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512}
    fields = {**sizes, "hidden_act": "relu", "max_position_embeddings": 2048, "vocab_size": len(medians) + 2}
    (folder / "config.json").write_text(json.dumps(fields))
    tokens = {"<pad>": 0, "<mask>": 1, **{gene: i + 2 for i, gene in enumerate(medians)}}
    (folder / "token_dictionary.json").write_text(json.dumps(tokens))
    (folder / "gene_median_dictionary.json").write_text(json.dumps(medians))


def scgpt_folder(folder, data):
    """scGPT as published (12 layers of 512, 1,200 tokens) with the genes of the data; no weights."""
    sizes = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "n_layers_cls": 3, "n_bins": 51, "max_seq_len": 1200}
    (folder / "args.json").write_text(json.dumps({**sizes, "pad_token": "<pad>", "pad_value": -2, "mask_value": -1, "dropout": 0.2}))
    (folder / "vocab.json").write_text(json.dumps({gene: i for i, gene in enumerate([*data.genes, "<pad>", "<cls>", "<eoc>"])}))


FOLDERS = {"geneformer": geneformer_folder, "scgpt": scgpt_folder}


class Reference:
    """The encoder of a model as ``nn.TransformerEncoder`` with the same weights."""

    def __init__(self, name, method):
        self.name, self.method, net = name, method, method.net
        block = net.layers[0]
        sizes = {"d_model": block.norm1.normalized_shape[0], "nhead": block.attention.n_heads, "dim_feedforward": block.ff1.out_features}
        layer = nn.TransformerEncoderLayer(**sizes, batch_first=True, layer_norm_eps=block.norm1.eps)
        self.encoder = nn.TransformerEncoder(layer, self.n_layers).eval()
        for ours, theirs in zip(net.layers, self.encoder.layers):
            theirs.self_attn.in_proj_weight.data, theirs.self_attn.in_proj_bias.data = ours.attention.qkv.weight, ours.attention.qkv.bias
            for mine, its in ((ours.attention.out, theirs.self_attn.out_proj), (ours.ff1, theirs.linear1), (ours.ff2, theirs.linear2)):
                its.weight.data, its.bias.data = mine.weight, mine.bias
            theirs.norm1.load_state_dict(ours.norm1.state_dict())
            theirs.norm2.load_state_dict(ours.norm2.state_dict())

    @property
    def n_layers(self):
        """Geneformer takes the second to last layer, so that the last one need not run on either side."""
        return len(self.method.net.layers) - (self.name == "geneformer")

    def embed(self, tokens, n_cells):
        batches = np.split(np.arange(tokens.n_cells), range(n_cells, tokens.n_cells, n_cells))
        return np.concatenate([self.batch(tokens.take(rows)) for rows in batches])

    def batch(self, tokens):
        with torch.inference_mode():
            batch = batch_of(tokens)
            flat = self.method.net.embed_tokens(batch)
            is_real = torch.arange(max(batch.lengths)) < batch.length[:, None]
            padded = flat.new_zeros(*is_real.shape, flat.shape[1])
            padded[is_real] = flat
            hidden = self.encoder(padded, src_key_padding_mask=~is_real)
            if self.name == "scgpt":
                return nn.functional.normalize(hidden[:, 0], dim=1).numpy()
            return ((hidden * is_real[..., None]).sum(1) / batch.length[:, None]).numpy()


def gflop_per_cell(net, lengths, n_layers):
    """Matrix products of the encoder, a multiplication and an addition counted as two."""
    d, ff = net.layers[0].norm1.normalized_shape[0], net.layers[0].ff1.out_features
    tokens = np.asarray(lengths, dtype=float)
    return float(np.mean(n_layers * (tokens * (8 * d * d + 4 * d * ff) + 4 * tokens**2 * d)) / 1e9)


def peak_gflops(d, dtype):
    """What matrix products of the model's own shape reach here: 4,096 tokens by (d, 3 d), the best of ten."""
    x, layer = torch.randn(4096, d, dtype=dtype), nn.Linear(d, 3 * d).to(dtype)
    with torch.inference_mode():
        layer(x)
        seconds = min(timed(lambda: layer(x))[0] for _ in range(10))
    return 2 * 4096 * d * 3 * d / seconds / 1e9


def timed(work):
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def faithful(reference, found):
    """Smallest cosine after centring, and mean share of the 15 nearest cells that are the same."""
    a, b = (values - values.mean(0) for values in (reference, found))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    near = [nearest(values, NEIGHBORS).indices for values in (reference, found)]
    kept = np.mean([len(np.intersect1d(*pair)) / NEIGHBORS for pair in zip(*near)])
    return {"min_cosine": float(cosine.min()), "neighbors_kept": float(kept)}


def measure(name, data, repeats):
    with tempfile.TemporaryDirectory() as folder:
        FOLDERS[name](Path(folder), data)
        method = METHODS.get(f"control/untrained_{name}")(folder, device="cpu").fit(data, seed=0)
        tokens = next(method.token_chunks(data))
        reference = Reference(name, method)
        runners = {"float32": Runner(torch.device("cpu")), "bfloat16": Runner(torch.device("cpu"), "bfloat16")}

        def ours(precision):
            values = None
            for rows, part in runners[precision]([tokens], method.embed_batch):
                values = np.empty((tokens.n_cells, part.shape[1]), np.float32) if values is None else values
                values[rows] = part
            return values

        sides = {name: partial(reference.embed, tokens, n) for name, n in BATCHES.items()}
        sides |= {name: partial(ours, name) for name in runners}
        first = {side: work() for side, work in sides.items()}  # also warms up
        seconds = {side: [] for side in sides}
        for _ in range(repeats):
            for side, work in sides.items():
                seconds[side].append(timed(work)[0])
        d = method.net.layers[0].norm1.normalized_shape[0]
        work = gflop_per_cell(method.net, tokens.lengths, reference.n_layers)
        rate = {side: tokens.n_cells / statistics.median(taken) for side, taken in seconds.items()}
        peaks = {"float32": peak_gflops(d, torch.float32), "bfloat16": peak_gflops(d, torch.bfloat16)}
        seconds_to_tokens = timed(lambda: next(method.token_chunks(data)))[0]
        return {
            "model": name,
            "cells": tokens.n_cells,
            "tokens": [int(tokens.lengths.min()), float(tokens.lengths.mean()), int(tokens.lengths.max())],
            "repeats": repeats,
            "cells_per_second": rate,
            **{f"times_{of}": {side: statistics.median(np.divide(seconds[of], seconds[side])) for side in runners} for of in BATCHES},
            "faithful": {side: faithful(first["reference"], first[side]) for side in runners},
            "gflop_per_cell": work,
            "share_of_peak": {side: rate[side] * work / peaks[side] for side in runners},
            "peak_gflops": peaks,
            "tokens_cells_per_second": tokens.n_cells / seconds_to_tokens,
        }


def about():
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    machine = {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()}
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"when": when, "commit": commit, "machine": machine, "torch": torch.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="cells with counts, any format that scrutiny reads")
    parser.add_argument("--model", nargs="+", default=sorted(FOLDERS), choices=sorted(FOLDERS))
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data = read(options.file)
    rows = np.sort(np.random.default_rng(0).choice(data.n_cells, min(options.cells, data.n_cells), replace=False))
    for name in options.model:
        line = {**about(), "file": Path(options.file).name, **measure(name, data.take(rows), options.repeats)}
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line, indent=2))


if __name__ == "__main__":
    main()
