"""Seconds and memory of scoring embeddings: ours against scib-metrics, same cells, same metrics, same run.

    python benchmarks/metrics_speed.py                                        both, 20,000 cells, three embeddings
    python benchmarks/metrics_speed.py --alone --cells 5000 20000 100000      ours only, for a plot of cost

Every measurement is a process of its own, the two sides by turns. Cold: the first scoring of the process, with the imports and the
just-in-time compilation that it sets off. Warm: the same embeddings once more. Medians over the repeats go to
results/metrics_speed.jsonl, one line a size and side, with machine, commit and versions.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "metrics_speed.jsonl"
PACKAGES = ("scrutiny", "scib-metrics", "numpy", "scipy", "scikit-learn", "scikit-network", "jax")

METRICS = {
    "isolated_asw": "isolated_labels",
    "nmi_leiden": "nmi_ari_cluster_labels_leiden_nmi",
    "ari_leiden": "nmi_ari_cluster_labels_leiden_ari",
    "nmi_kmeans": "nmi_ari_cluster_labels_kmeans_nmi",
    "ari_kmeans": "nmi_ari_cluster_labels_kmeans_ari",
    "asw_label": "silhouette_label",
    "clisi": "clisi_knn",
    "bras": "bras",
    "ilisi": "ilisi_knn",
    "kbet_label": "kbet_per_label",
    "graph_connectivity_directed": "graph_connectivity",
    "pcr_comparison": "pcr_comparison",
}
"""Every metric of the peer's Benchmarker, under our name and under its own."""


def made_up_cells(n_cells, n_embeddings):
    """50 dimensions, 10 labels (centres sd 3), 4 batches (shift sd 1), noise sd 1.5; further embeddings have other noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    label, batch = rng.integers(0, 10, n_cells), rng.integers(0, 4, n_cells)
    centres = (rng.normal(size=(10, 50)) * 3)[label] + rng.normal(size=(4, 50))[batch]
    noise = (rng.normal(size=(n_cells, 50)) * 1.5 for _ in range(n_embeddings))
    return [(centres + n).astype(np.float32) for n in noise], label.astype(str), batch.astype(str)


def score_ours(embeddings, label, batch):
    from scrutiny.core.errors import NotApplicable
    from scrutiny.core.evidence import Evidence

    scores = []
    for embedding in embeddings:
        evidence = Evidence({"embedding": embedding, "labels": label, "batch": batch, "reference": embeddings[0]})
        scores.append({})
        for metric in METRICS:
            try:
                scores[-1][metric] = evidence[metric]
            except NotApplicable as reason:
                scores[-1][metric] = str(reason)
    return scores


def score_peer(embeddings, label, batch):
    import anndata
    import pandas as pd
    from scib_metrics.benchmark import BatchCorrection, Benchmarker, BioConservation

    cells = anndata.AnnData(embeddings[0], obs=pd.DataFrame({"label": label, "batch": batch}, index=[str(i) for i in range(len(label))]))
    names = [f"X_{i}" for i in range(len(embeddings))]
    cells.obsm.update(dict(zip(names, embeddings)))
    bench = Benchmarker(
        cells,
        "batch",
        "label",
        names,
        BioConservation(nmi_ari_cluster_labels_leiden=True),
        BatchCorrection(),
        pre_integrated_embedding_obsm_key="X_0",
        n_jobs=os.cpu_count(),
        progress_bar=False,
    )
    bench.prepare()
    bench.benchmark()
    table = bench.get_results(min_max_scale=False, clean_names=False)
    return [{ours: float(table.loc[name, theirs]) for ours, theirs in METRICS.items()} for name in names]


def measure(side, n_cells, n_embeddings):
    """Run in a process of its own; prints one JSON object as its last line."""
    score = {"scrutiny": score_ours, "scib-metrics": score_peer}[side]
    cells = made_up_cells(n_cells, n_embeddings)
    cold, cold_cpu, scores = timed(score, cells)
    warm, warm_cpu, _ = timed(score, cells)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    found = {"cold_s": cold, "cold_cpu_s": cold_cpu, "warm_s": warm, "warm_cpu_s": warm_cpu, "peak_memory_mb": memory}
    print(json.dumps(found | {"scores": scores}))


def timed(score, cells):
    """Seconds on the wall, seconds of all cores (what counts where the machine has other work), and the scores."""
    wall, cpu = time.perf_counter(), time.process_time()
    scores = score(*cells)
    return time.perf_counter() - wall, time.process_time() - cpu, scores


def measured(side, n_cells, n_embeddings):
    command = [sys.executable, __file__, "--measure", side, "--cells", str(n_cells), "--embeddings", str(n_embeddings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side} failed on {n_cells} cells:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def about_this_run():
    def version_of(package):
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": {"system": platform.platform(), "cpu": cpu_name(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "python": platform.python_version(),
        "versions": {p: version_of(p) for p in PACKAGES},
    }


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[20_000])
    parser.add_argument("--embeddings", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="ours only")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.cells[0], options.embeddings)
    sides = ["scrutiny"] + ([] if options.alone or find_spec("scib_metrics") is None else ["scib-metrics"])
    RESULTS.parent.mkdir(exist_ok=True)
    for n_cells in options.cells:
        runs = {side: [] for side in sides}
        about = about_this_run()
        for _ in range(options.repeats):
            for side in sides:
                runs[side].append(measured(side, n_cells, options.embeddings))
        report(runs, about | {"cells": n_cells, "dims": 50, "embeddings": options.embeddings, "repeats": options.repeats})


def report(runs, about):
    middle = {}
    for side, found in runs.items():
        middle[side] = {key: statistics.median(run[key] for run in found) for key in found[0] if key != "scores"}
        with RESULTS.open("a") as lines:
            lines.write(json.dumps(about | {"side": side} | middle[side] | {"scores": found[0]["scores"]}) + "\n")
        numbers = "cold {cold_s:.1f} s ({cold_cpu_s:.1f} of cpu), warm {warm_s:.1f} s ({warm_cpu_s:.1f}), {peak_memory_mb:.0f} MB"
        print(f"{about['cells']:>8,} cells  {side:<13} {numbers.format(**middle[side])}", flush=True)
    if len(middle) == 2:
        ours, theirs = middle["scrutiny"], middle["scib-metrics"]
        times = ", ".join(f"{key} {theirs[key] / ours[key]:.1f}" for key in ours)
        print(f"{'':>15} theirs over ours: {times}")


if __name__ == "__main__":
    main()
