"""Cells per second of training on a processor: ours against a plain loop of the same net.

    python benchmarks/pretraining_speed.py pbmc3k.h5ad sc_mixology.h5ad                 contexts 512 and 2,048, one thread and two
    python benchmarks/pretraining_speed.py pbmc3k.h5ad --context 512 --threads 1 --steps 4

The same cells in the same steps from the same weights, one process, the sides by turns: ours as `scrutiny pretrain` runs it, in float32
and in bfloat16, and the loop as it is usually written: ``BertForMaskedLM`` of transformers in float32, cells padded to the longest of the
batch with a mask, logits at every place, AdamW, tokens made between the steps; once with all cells of a step in one batch, once with as
many batches as ours. All are given our tokeniser and start with the same loss, which is checked. Sums over the steps go to
results/pretraining_speed.jsonl, in seconds of the clock and of the processor: the latter tell the ratio on a machine that is busy with
other things. Reading shards is in ours only. How many cells a second are prepared in the background stands beside.

    python benchmarks/pretraining_speed.py pbmc3k.h5ad --memory

Peak memory of two short trainings that show as many cells, of a corpus and of one that is eight times as large.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM

from scrutiny.data.corpus import Corpus
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.corpus_config import CorpusConfig
from scrutiny.methods.foundation.pretraining import Work
from scrutiny.nets.bert import BERT_NAMES
from scrutiny.nets.export import official
from scrutiny.nets.tokens import joined, padded
from scrutiny.tuning.config import pretraining_of
from scrutiny.tuning.distributed import World
from scrutiny.tuning.feed import Place

RESULTS = Path(__file__).parent / "results" / "pretraining_speed.jsonl"
SIZES = {"width": 128, "layers": 4, "heads": 4, "feed_forward": 512}
TOKENS_PER_BATCH, ACCUMULATE = 4_096, 4
"""As a processor likes best: what a layer makes of a batch stays near it."""
SHARD_CELLS = 512
TIMES = 8
"""How many times as large the larger corpus is."""


def work_of(corpus, folder, sizes, **training):
    """A pretraining as its command runs it."""
    tables = {
        "corpus": {"folder": str(corpus.folder)},
        "model": {"family": "geneformer", "special_tokens": False, "activation": "gelu", **sizes},
        "objective": {"name": "masked_rank"},
        "training": {"learning_rate": 1e-3, **training},
    }
    config = pretraining_of(tables, Path(), "the benchmark", default_name="benchmark")
    work = Work(config, Path(folder), corpus, World(0, 1, torch.device("cpu")))
    work.prepare()
    return work


class Ours:
    """The loop of `scrutiny pretrain`, a step at a time."""

    def __init__(self, corpus, folder, sizes, precision):
        batches = {"tokens_per_batch": TOKENS_PER_BATCH, "accumulate": ACCUMULATE}
        self.work = work_of(corpus, folder, sizes, precision=precision, steps=1_000_000, **batches)
        self.trainer = self.work.trainer(lambda report: None)
        self.drawn, self.n_prepared, self.preparing = {}, 0, 0.0
        self.steps = replace(self.trainer.feed, prepare=self.prepare).steps(Place())

    def prepare(self, cells, rng):
        """As the feed does, remembering what it was of."""
        state, began = rng.bit_generator.state, time.thread_time()
        tokens = self.work.draw(cells, rng)
        self.preparing += time.thread_time() - began
        self.n_prepared += cells.n_cells
        self.drawn[id(tokens)] = cells, state
        return tokens

    def step(self):
        step = next(self.steps)
        self.last = [self.drawn.pop(id(tokens)) for tokens in step.batches]
        return self.trainer._step(step)


class Plain:
    """The loop as it is usually written, around the net of transformers; it is fed what the other side was fed last."""

    def __init__(self, corpus, folder, sizes, other, *, accumulate):
        self.work, self.other, self.accumulate = work_of(corpus, folder, sizes, steps=1), other, accumulate
        config = self.work.model.files.config
        same = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "position_embedding_type"}
        self.net = BertForMaskedLM(BertConfig(**same, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).train()
        lacking = self.net.load_state_dict(official(self.work.model.net.state_dict(), BERT_NAMES), strict=False).missing_keys
        if not all(name.startswith("cls.predictions.decoder.") for name in lacking):  # tied
            raise RuntimeError(f"the net of transformers has other weights: {lacking}")
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)

    def step(self):
        batches = [self.draw(*drawn) for drawn in self.other.last]
        losses = [self.backward(tokens, len(batches)) for tokens in batches] if self.accumulate else [self.backward(joined(batches), 1)]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(np.mean(losses))

    def draw(self, cells, state):
        rng = np.random.default_rng()
        rng.bit_generator.state = state
        return self.work.draw(cells, rng)

    def backward(self, tokens, n_batches):
        ids, true, hidden = (torch.from_numpy(padded(tokens, column)) for column in ("ids", "true", "to_find"))
        is_real = torch.arange(ids.shape[1]) < torch.from_numpy(tokens.lengths)[:, None]
        loss = self.net(ids, attention_mask=is_real.long(), labels=torch.where(hidden, true, -100)).loss
        (loss / n_batches).backward()
        return float(loss.detach())


def measure(corpus, context, n_threads, n_steps):
    torch.set_num_threads(n_threads)
    sizes = {**SIZES, "context": context}
    with tempfile.TemporaryDirectory() as folder:
        ours = {precision: Ours(corpus, f"{folder}/{precision}", sizes, precision) for precision in ("float32", "bfloat16")}
        plain = {"plain": False, "plain_accumulating": True}
        sides = {**ours, **{name: Plain(corpus, f"{folder}/{name}", sizes, ours["float32"], accumulate=how) for name, how in plain.items()}}
        first = {name: side.step() for name, side in sides.items()}  # warms up, and counts operations
        if not np.allclose(list(first.values()), first["float32"], rtol=0.01):
            raise RuntimeError(f"the sides are not the same net: {first}")
        state = ours["float32"].trainer.state
        n_cells, n_tokens = state.cells, state.tokens
        clock, processor = ({name: [] for name in sides} for _ in range(2))
        for _ in range(n_steps):
            for name, side in sides.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                side.step()
                clock[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - began_cpu)
        n_cells, n_tokens = state.cells - n_cells, state.tokens - n_tokens
        return {
            "context": context,
            "threads": n_threads,
            "steps": n_steps,
            "cells": n_cells,
            "tokens_per_cell": n_tokens / n_cells,
            "cells_per_second": {name: n_cells / sum(seconds) for name, seconds in clock.items()},
            "cells_per_processor_second": {name: n_cells / sum(seconds) for name, seconds in processor.items()},
            **{f"times_{of}": {name: sum(clock[of]) / sum(clock[name]) for name in ours} for of in plain},
            **{f"times_{of}_by_processor": {name: sum(processor[of]) / sum(processor[name]) for name in ours} for of in plain},
            "prepared_cells_per_processor_second": {name: side.n_prepared / side.preparing for name, side in ours.items()},
            "gflop_per_cell": state.flops_per_token * n_tokens / n_cells / 1e9,
        }


def train_briefly(folder, times):
    """So many cells of a corpus whose shards are listed several times, for a tiny net; returns the peak memory of this process in MB."""
    corpus = Corpus(folder)
    corpus.train = corpus.train * times
    with tempfile.TemporaryDirectory() as out:
        tiny = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16, "context": 64}
        work_of(corpus, out, tiny, epochs=float(TIMES), validate=1).trainer(lambda report: None).run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(corpus):
    """Peak memory by size of the corpus, each in a process of its own."""
    code = "import sys; from pretraining_speed import train_briefly; print(train_briefly(sys.argv[1], int(sys.argv[2])))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(corpus.folder)]
    peaks = {}
    for times in (1, TIMES):
        done = subprocess.run([*command, str(times)], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
        peaks[f"{times} x {corpus.manifest['cells']['train']} cells"] = float(done.stdout)
    return {"peak_mb": peaks, "shard_cells": SHARD_CELLS}


def about():
    asked = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = {"cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg()}
    return {"when": when, "commit": commit, "machine": machine, "torch": torch.__version__, "transformers": transformers.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="cells with counts, any format that scrutiny reads")
    parser.add_argument("--context", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fields = {"files": [str(Path(file).absolute()) for file in options.files], "genes": 8000, "shard_cells": SHARD_CELLS}
        corpus = build_corpus(CorpusConfig.from_fields(fields, Path(), "the benchmark"), Path(folder) / "corpus")
        if options.memory:
            found = [memory(corpus)]
        else:
            found = (measure(corpus, *at, options.steps) for at in itertools.product(options.context, options.threads))
        for line in found:
            line = {**about(), "files": [Path(file).name for file in options.files], **line}
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line, indent=2))


if __name__ == "__main__":
    main()
