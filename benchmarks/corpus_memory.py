"""Peak memory of building a corpus, and how fast it is read: it should stay as it is when the corpus grows.

Builds a corpus of one made-up file and one of eight (default: 20,000 cells x 20,000 genes, 500 entries a cell each), every build in a
process of its own, prints cells and seconds beside the peak of resident memory, and appends a line of JSON for each to
``benchmarks/results/corpus_memory.jsonl``.

    python benchmarks/corpus_memory.py
    python benchmarks/corpus_memory.py --files 1 --cells 400000 --per-cell 1000      # one file that stays on disk
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from large_file import peak_mb, write_made_up

HERE = Path(__file__).parent


def measure(folder: Path) -> dict[str, float]:
    """Seconds to build a corpus of all files in a folder, cells a second of reading it again, and peak resident memory in MB."""
    from scrutiny.data.corpus_build import build_corpus
    from scrutiny.data.corpus_config import CorpusConfig

    table = {"files": ["*.h5ad"], "organism": "human", "min_counts": 0, "genes": 8000}
    start = time.perf_counter()
    corpus = build_corpus(CorpusConfig.from_fields(table, folder, "benchmark"), folder / "corpus")
    built = time.perf_counter()
    for shard in corpus.train:
        corpus.read(shard)
    read = time.perf_counter() - built
    found = {"kept": corpus.n_cells, "build_s": round(built - start, 1), "peak_mb": peak_mb()}
    return {**found, "read_cells_per_s": round(corpus.manifest["cells"]["train"] / read)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--per-cell", type=int, default=500)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    for n_files in asked.files:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(n_files):
                write_made_up(Path(folder) / f"file_{i}.h5ad", asked.cells, asked.genes, asked.per_cell, seed=i)
            done = subprocess.run([sys.executable, __file__, "--measure", folder], capture_output=True, text=True, check=True)
        sizes = {"files": n_files, "cells": n_files * asked.cells, "genes": asked.genes, "per_cell": asked.per_cell}
        _note({**sizes, **json.loads(done.stdout)})


def _note(found: dict[str, float]) -> None:
    print("  ".join(f"{name} {value:,}" for name, value in found.items()))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    place = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "commit": commit, "load": os.getloadavg()[0]}
    with (HERE / "results" / "corpus_memory.jsonl").open("a") as file:
        file.write(json.dumps({**place, **found}) + "\n")


if __name__ == "__main__":
    main()
