"""Seconds of training the linear probe: ours against scikit-learn's on the same vectors, to the same loss and at the defaults.

    python benchmarks/probe_speed.py                             100,000 cells x 512 dimensions, 20 labels
    python benchmarks/probe_speed.py --cells 10000 --dims 128

The vectors are made up: overlapping groups of unequal sizes in correlated dimensions of falling spread, as embeddings have. Both sides get
the standardised float32 vectors, run on all cores, one after the other; elapsed and processor seconds are kept, since the machine may be
shared. The loss is computed in float64, here, from the slopes and intercepts of each. A line is appended to results/probe_speed.jsonl.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "probe_speed.jsonl"
PACKAGES = ("scrutiny", "scikit-learn", "numpy", "scipy")


def made_up_vectors(n_cells, n_dims, n_labels, seed=0):
    rng = np.random.default_rng(seed)
    shares = np.maximum(rng.dirichlet(np.full(n_labels, 0.7)), 0.003)
    codes = rng.choice(n_labels, n_cells, p=shares / shares.sum())
    spread = (1 + np.arange(n_dims)) ** -0.9
    centres = rng.normal(size=(n_labels, n_dims)) * 0.35 * spread
    turn, _ = np.linalg.qr(rng.normal(size=(n_dims, n_dims)))
    vectors = (centres[codes] + rng.normal(size=(n_cells, n_dims)) * spread) @ turn
    return ((vectors - vectors.mean(axis=0)) / vectors.std(axis=0)).astype(np.float32), codes


def loss(vectors, codes, slopes, intercepts):
    """Mean of -log p + |slopes|² / (2 n_cells), what both make least at C = 1."""
    from scipy.special import logsumexp

    scores = vectors @ slopes + intercepts
    own = scores[np.arange(len(codes)), codes]
    return float((logsumexp(scores, axis=1) - own).mean() + np.square(slopes).sum() / (2 * len(codes)))


def timed(work):
    elapsed, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, {"seconds": round(time.perf_counter() - elapsed, 2), "cpu_seconds": round(time.process_time() - processor, 2)}


def ours(vectors, codes):
    from scrutiny.metrics.logistic import fit_logistic

    found, took = timed(lambda: fit_logistic(vectors, codes))
    return {**took, "steps": found.n_iterations, "loss": loss(vectors, codes, found.slopes, found.intercepts)}


def theirs(vectors, codes, tolerance):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model, took = timed(lambda: LogisticRegression(tol=tolerance, max_iter=1000).fit(vectors, codes))
    reached = loss(vectors, codes, model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64))
    return {**took, "tol": tolerance, "steps": int(model.n_iter_[0]), "loss": reached}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--tolerances", type=float, nargs="*", default=[1e-4], help="of scikit-learn; 1e-4 is its default")
    asked = parser.parse_args()
    vectors, codes = made_up_vectors(asked.cells, asked.dims, asked.labels)
    ours(vectors[:2000], codes[:2000] % 5)  # imports and first calls are not what is measured
    found = ours(vectors, codes)
    others = [theirs(vectors, codes, tolerance) for tolerance in asked.tolerances]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent).stdout.strip()
    record = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {package: version(package) for package in PACKAGES},
        "cells": asked.cells,
        "dims": asked.dims,
        "labels": asked.labels,
        "ours": found,
        "scikit-learn": others,
        "ratio_cpu": [round(other["cpu_seconds"] / found["cpu_seconds"], 1) for other in others],
        "ratio": [round(other["seconds"] / found["seconds"], 1) for other in others],
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
