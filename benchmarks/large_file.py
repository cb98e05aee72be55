"""Time and memory of reading, preparing and embedding a file larger than memory should need to hold.

Writes a made-up h5ad (default: 500,000 cells x 20,000 genes, 1,000 entries a cell, 4 GB) into a temporary folder, reads and prepares
it in a process of its own, prints seconds per step and the peak of resident memory, and appends a line of JSON to
``benchmarks/results/large_file.jsonl``.

    python benchmarks/large_file.py
    python benchmarks/large_file.py --cells 50000 --per-cell 100
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).parent
N_TYPES = 10
BLOCK = 10_000


def write_made_up(path: Path, n_cells: int, n_genes: int, per_cell: int, seed: int = 0) -> None:
    """An h5ad of counts with ten types: in each of ``per_cell`` equal runs of genes a cell expresses one, popular ones first.

    Which end of a run is popular depends on the type for a tenth of the runs, so there are types to find.
    """
    rng = np.random.default_rng(seed)
    width = n_genes // per_cell
    run_starts, of_type = np.arange(per_cell) * width, np.arange(per_cell) % N_TYPES
    with h5py.File(path, "w") as root:
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = root.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([n_cells, n_genes])})
        x["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * per_cell
        data = x.create_dataset("data", (n_cells * per_cell,), "f4", chunks=(1_000_000,))
        indices = x.create_dataset("indices", (n_cells * per_cell,), "i4", chunks=(1_000_000,))
        types = rng.integers(N_TYPES, size=n_cells)
        for start in range(0, n_cells, BLOCK):
            kind = types[start : start + BLOCK, None]
            within = (width * rng.random((len(kind), per_cell), dtype=np.float32) ** 3).astype(np.int32)
            within = np.where(of_type == kind, width - 1 - within, within)
            entries = slice(start * per_cell, (start + len(kind)) * per_cell)
            indices[entries] = (run_starts + within).ravel()
            data[entries] = 1 + rng.poisson(1.0, within.size)
        _write_table(root, "obs", [f"cell_{i}" for i in range(n_cells)], {"cell_type": types, "batch": np.arange(n_cells) % 4})
        _write_table(root, "var", [f"gene_{j}" for j in range(n_genes)], {})


def _write_table(root: h5py.File, name: str, ids: list[str], columns: dict[str, np.ndarray]) -> None:
    group = root.create_group(name)
    names = np.array(list(columns), dtype=h5py.string_dtype())
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index", "column-order": names})
    for key, values in {"_index": np.array(ids, dtype=h5py.string_dtype()), **columns}.items():
        group[key] = values
        kind = "string-array" if key == "_index" else "array"
        group[key].attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})


def peak_mb():
    """Of this process alone: ``ru_maxrss`` of a child also counts what its parent had when it was forked."""
    status = Path("/proc/self/status")
    if status.exists():
        return round(int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(path: Path) -> dict[str, float]:
    """Seconds of each step and peak resident memory in MB of this process, imports included."""
    from scrutiny.data.prepare import highly_variable, pca
    from scrutiny.data.quality import keep_good
    from scrutiny.data.read import read
    from scrutiny.data.sample import sample
    from scrutiny.data.write import write_embedding
    from scrutiny.engine.embedding import Chosen
    from scrutiny.engine.once import embedded

    seconds: dict[str, float] = {}

    @contextmanager
    def clock(step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[step] = round(time.perf_counter() - start, 2)

    with clock("read"):
        data = read(path, roles={"label": "cell_type", "batch": "batch"})
    with clock("quality"):
        data = keep_good(data)
    with clock("fingerprint"):
        data.fingerprint  # noqa: B018
    with clock("sample_5000"):
        sample(data)
    with clock("variable_genes"):
        columns = highly_variable(data)
    with clock("pca"):
        fitted = pca(data, columns=columns)
    with clock("transform"):
        fitted.transform(data)
    with clock("embed_in_shards"), tempfile.TemporaryDirectory() as folder:  # of a method that costs nothing: reading, shards, writing
        with embedded(data, Chosen("depth"), folder=Path(folder) / "shards") as made:
            write_embedding(made.vectors, Path(folder) / "depth.h5ad", key="X_depth", source=path)
    seconds["total"] = round(sum(seconds.values()), 2)
    return {**seconds, "peak_mb": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=500_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--per-cell", type=int, default=1_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5ad"
        start = time.perf_counter()
        write_made_up(path, asked.cells, asked.genes, asked.per_cell)
        size = path.stat().st_size / 1e9
        print(f"wrote {asked.cells:,} x {asked.genes:,}, {asked.per_cell:,} a cell, {size:.2f} GB in {time.perf_counter() - start:.0f} s")
        done = subprocess.run([sys.executable, __file__, "--measure", str(path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print("\n".join(f"{step:16} {value:>10,}" for step, value in found.items()))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    sizes = {"cells": asked.cells, "genes": asked.genes, "per_cell": asked.per_cell, "gb": round(size, 2)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    place = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "commit": commit}
    results = HERE / "results" / "large_file.jsonl"
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps({**place, **sizes, **found}) + "\n")


if __name__ == "__main__":
    main()
