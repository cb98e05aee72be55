"""Cells per second of fine-tuning on a processor: ours against the same in transformers and peft.

    python benchmarks/adaptation_speed.py                   LoRA and full fine-tuning, float32 and bfloat16
    python benchmarks/adaptation_speed.py --steps 2 --threads 1

A net of the size of Geneformer V1 (6 layers of width 256, 4 heads, 25,426 words, 2,048 positions) with random weights, the same in all
sides, on made-up cells with as many genes as cells of 10x data have: lognormal, median 1,000, cut at 2,048. Same cells in the same steps,
the sides by turns: ours by the loop of `scrutiny adapt` (tokens end to end), and the loop as it is usually written with ``BertModel``,
mean over tokens and a linear head: padded to the longest cell of a batch, PyTorch's attention (sdpa), LoRA by peft on the same matrices
with the same rank. All train the same number of parameters and have the same losses, which is checked.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import peft
import torch
import torch.nn.functional as F
import transformers
from scipy import sparse

from scrutiny.nets.bert import BERT_NAMES, Bert, BertConfig, mean_between
from scrutiny.nets.tokens import Tokens
from scrutiny.nets.weights import build, load
from scrutiny.tuning.adaptation.anatomy import anatomy
from scrutiny.tuning.adaptation.labels import LabelHead, Labels, shown
from scrutiny.tuning.adaptation.ways import Full, Lora
from scrutiny.tuning.feed import Feed, Place, Step
from scrutiny.tuning.loop import Trainer
from scrutiny.tuning.schedule import Training, optimiser
from scrutiny.tuning.subject import Cells, Subject

RESULTS = Path(__file__).parent / "results" / "adaptation_speed.jsonl"
SIZES = {"vocab_size": 25_426, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512}
SIZES |= {"max_position_embeddings": 2_048}
MODULES = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
N_LABELS, RANK, ALPHA, RATE = 10, 8, 16.0, 1e-4


def reference():
    """``BertModel`` with random weights and without dropout, which ours has none of."""
    torch.manual_seed(0)
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = transformers.BertConfig(**SIZES, hidden_act="relu", attn_implementation="sdpa", **quiet)
    return transformers.BertModel(config, add_pooling_layer=False)


def made_up_cells(n_cells, seed=0):
    """Tokens of cells in an order of their own, and labels."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(1_000), 0.5, n_cells), 100, 2_048).astype(int)
    ids = [rng.choice(np.arange(2, SIZES["vocab_size"]), n, replace=False) for n in lengths]
    return ids, rng.integers(0, N_LABELS, n_cells)


def start_of_head():
    generator = torch.Generator().manual_seed(1)
    return {"weight": torch.randn(N_LABELS, 256, generator=generator), "bias": torch.zeros(N_LABELS)}


class Ours:
    """The trainer of `scrutiny adapt` on a net with the weights of the reference."""

    def __init__(self, way, precision, cells, batch, folder, weights):
        self.ids, self.labels = cells
        net = build(lambda: Bert(BertConfig(**SIZES), with_head=False))
        load(net, {name: tensor.clone() for name, tensor in weights.items()}, BERT_NAMES, source="the reference")
        subject = Subject(
            family="geneformer",
            net=net,
            hidden=lambda net, batch: net(batch),
            cells=lambda batch: mean_between(net(batch), batch, 0, 0),
            tokenise=self.tokenise,
            gene_tokens=np.arange(2, SIZES["vocab_size"]),
            masks={},
            width=256,
            cell_width=256,
            n_words=SIZES["vocab_size"],
        )
        trained = {"lora": Lora(RANK, ALPHA), "full": Full()}[way].open(net, anatomy(subject, self.cells(range(2))), seed=0, few=False)
        head = LabelHead(256, N_LABELS)
        head.load_state_dict(start_of_head(), strict=False)
        training = Training(steps=1_000_000, learning_rate=RATE, warmup=0.0, last_rate=1.0, precision=precision)
        feed = Feed(1, lambda shard: None, lambda cells, rng: None, 1, 0)
        self.objective = Labels(head, torch.ones(N_LABELS))
        self.trainer = Trainer(
            subject,
            self.objective,
            feed,
            n_cells=len(self.labels),
            validation=lambda: iter(()),
            training=training,
            folder=Path(folder),
            key=way,
            device=torch.device("cpu"),
            tell=lambda report: None,
            trained=trained,
        )
        self.trainer.state.flops_per_token = 1.0  # counting operations is not what is timed
        self.n_trainable = sum(p.numel() for p in self.trainer.trainee.parameters() if p.requires_grad)
        self.batch = batch

    def cells(self, rows):
        rows = np.asarray(list(rows))
        some = np.full(len(rows), "")
        return Cells(sparse.csr_matrix((len(rows), 1)), np.ones(len(rows)), rows.astype(str), some, some, self.labels[rows])

    def tokenise(self, cells):
        parts = [self.ids[int(row)] for row in cells.ids]
        return Tokens(np.array([len(part) for part in parts]), {"ids": np.concatenate(parts)})

    def step(self, rows):
        return self.trainer._step(Step((shown(self.cells(rows), self.trainer.subject),), len(rows), Place()))


class Theirs:
    """The usual loop."""

    def __init__(self, way, precision, cells, weights):
        self.ids, self.labels = cells
        model = reference()
        model.load_state_dict(weights)
        if way == "lora":
            model = peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=MODULES, lora_dropout=0.0))
        self.model, self.head = model.train(), torch.nn.Linear(256, N_LABELS)
        self.head.load_state_dict(start_of_head())
        both = torch.nn.ModuleList([self.model, self.head])
        self.parameters = [parameter for parameter in both.parameters() if parameter.requires_grad]
        self.adam = optimiser(both, Training(steps=1, learning_rate=RATE))
        self.n_trainable = sum(parameter.numel() for parameter in self.parameters)
        self.precision = precision

    def step(self, rows):
        parts = [torch.from_numpy(self.ids[row]) for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(part) for part in parts])[:, None]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            cells = (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        loss = F.cross_entropy(self.head(cells), torch.from_numpy(self.labels[list(rows)]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return float(loss.detach())


def measure(way, options):
    """Seconds of each side, by the clock and by the processor, after one step that is not timed."""
    n_batches = options.steps + 1
    cells = made_up_cells(n_batches * options.batch)
    weights = {name: tensor.clone() for name, tensor in reference().state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        sides = {f"ours_{p}": Ours(way, p, cells, options.batch, f"{folder}/{p}", weights) for p in ("float32", "bfloat16")}
        sides |= {f"theirs_{p}": Theirs(way, p, cells, weights) for p in ("float32", "bfloat16")}
        if len({side.n_trainable for side in sides.values()}) > 1:
            raise SystemExit(f"not the same is trained: { {name: side.n_trainable for name, side in sides.items()} }")
        clock, processor = ({name: 0.0 for name in sides} for _ in range(2))
        losses = {}
        for number in range(n_batches):
            rows = range(number * options.batch, (number + 1) * options.batch)
            for name, side in sides.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                losses.setdefault(name, []).append(side.step(rows))
                if number:
                    clock[name] += time.perf_counter() - began
                    processor[name] += time.process_time() - began_cpu
    np.testing.assert_allclose(losses["ours_float32"], losses["theirs_float32"], rtol=0.02)
    n_cells = options.steps * options.batch
    lengths = np.array([len(ids) for ids in cells[0]])
    return {
        "way": way,
        "threads": torch.get_num_threads(),
        "steps": options.steps,
        "cells_per_step": options.batch,
        "tokens_per_cell": float(lengths.mean()),
        "padding": float(lengths.reshape(n_batches, -1).max(1).mean() / lengths.mean()),
        "n_trainable": next(iter(sides.values())).n_trainable,
        "cells_per_second": {name: n_cells / seconds for name, seconds in clock.items()},
        "cells_per_processor_second": {name: n_cells / seconds for name, seconds in processor.items()},
        "times_theirs": {p: clock[f"theirs_{p}"] / clock[f"ours_{p}"] for p in ("float32", "bfloat16")},
        "times_theirs_by_processor": {p: processor[f"theirs_{p}"] / processor[f"ours_{p}"] for p in ("float32", "bfloat16")},
        "losses": {name: [round(loss, 4) for loss in found] for name, found in losses.items()},
    }


def memory(way, side, precision, options):
    """Peak memory in MB beyond that before the first step, in a process of its own."""
    if (child := os.fork()) == 0:
        cells = made_up_cells(options.batch)
        weights = {name: tensor.clone() for name, tensor in reference().state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            made = Ours(way, precision, cells, options.batch, folder, weights) if side == "ours" else Theirs(way, precision, cells, weights)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            made.step(range(options.batch))
            found = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            Path(options.scratch).write_text(str(found))
        os._exit(0)
    os.waitpid(child, 0)
    return float(Path(options.scratch).read_text())


def about():
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = {"cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg()}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    return {"when": when, "commit": commit, "machine": machine, **versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", default=["lora", "full"])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--batch", type=int, default=12, help="cells of a step; 12 as in the example of Geneformer for fine-tuning")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sides = [(side, precision) for side in ("ours", "theirs") for precision in ("float32", "bfloat16")]
    with tempfile.TemporaryDirectory() as folder:
        options.scratch = f"{folder}/peak"
        peaks = {way: {f"{side}_{p}": memory(way, side, p, options) for side, p in sides} for way in options.ways}  # before this one grows
        for way in options.ways:
            line = {**about(), **measure(way, options), "peak_mb_of_a_step": peaks[way]}
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line, indent=2))


if __name__ == "__main__":
    main()
