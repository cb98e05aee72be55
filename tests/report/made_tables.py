"""Made-up tidy tables whose truth is known: the columns of ``Store.scores()``, replicates dealt from per-cell contributions."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scrutiny.core.cards import TWIN

CONTROLS = {"control/shuffle": 0.1, "control/label_oracle": 0.99, "control/random_projection": 0.5, "control/no_integration": 0.7}
PRIMARY = {
    "cell_types": "probe_logreg_macro_f1",
    "integration": "scib_total",
    "batch_mixing": "ilisi",
    "label_transfer": "probe_logreg_macro_f1",
    "reconstruction": "reconstruction_skill",
    "annotation_few_5": "macro_f1",
}
FAMILY = {
    "scib_total": "overall",
    "ilisi": "batches",
    "probe_logreg_macro_f1": "annotation",
    "reconstruction_skill": "reconstruction",
    "macro_f1": "annotation",
}


def deal(contributions, repeats, rng, folds=5):
    """Means of per-cell contributions (n_cells, n_methods) on the cells outside (kept) and inside (held) each fold."""
    kept, held = [], []
    for _ in range(repeats):
        fold = rng.permutation(np.arange(len(contributions)) % folds)
        kept += [contributions[fold != k].mean(axis=0) for k in range(folds)]
        held += [contributions[fold == k].mean(axis=0) for k in range(folds)]
    return np.array(kept), np.array(held)


@dataclass
class Made:
    """What a made-up comparison consists of; ``truth`` maps method to (kind, true primary value)."""

    truth: dict[str, tuple[str, float]]
    dataset: str = "made"
    task: str = "cell_types"
    label_column: str | None = "cell_type"
    n_cells: int = 400
    repeats: int = 3
    noise: float = 0.3
    seeds: dict[str, list[float]] = field(default_factory=dict)
    """Method to what each of its seeds adds."""
    extra: list[dict] = field(default_factory=list)
    """Further rows, merged over the defaults."""


def row(made: Made, **values) -> dict:
    default = {
        "dataset": made.dataset,
        "method": "hvg_pca",
        "kind": "baseline",
        "task": made.task,
        "label_column": made.label_column,
        "seed": 0,
        "metric": PRIMARY[made.task],
        "status": "ok",
        "value": 0.5,
        "better": "higher",
        "low": 0.0,
        "high": 1.0,
        "floor": "control/shuffle",
        "roof": "control/label_oracle",
        "label_tuned": False,
        "reason": "",
        "seconds": 0.1,
        "seconds_fit": 1.0,
        "seconds_embed": 0.5,
        "seconds_score": 1.0,
        "peak_memory_mb": 300.0,
        "n_cells": made.n_cells,
        "n_dims": 50,
        "replicates_kept": None,
        "replicates_held": None,
        "metric_version": "1",
        "method_version": "1",
        "method_options": json.dumps({}),
        "output_key": "",
    }
    merged = default | values
    merged.setdefault("family", FAMILY.get(merged["metric"], "cell types"))
    merged.setdefault("primary", merged["metric"] == PRIMARY[made.task])
    merged.setdefault("run_key", "-".join(str(merged[k]) for k in ("dataset", "task", "method", "seed", "method_options")))
    return merged


def tidy(*comparisons: Made, seed: int = 0) -> pd.DataFrame:
    """A tidy table of made-up comparisons. Controls of `CONTROLS` are added where ``truth`` does not name them."""
    rng = np.random.default_rng(seed)
    rows = []
    for made in comparisons:
        truth = made.truth | {c: ("control", v) for c, v in CONTROLS.items() if c not in made.truth}
        shared = made.noise * rng.standard_normal((made.n_cells, 1))
        cells = shared + made.noise * rng.standard_normal((made.n_cells, len(truth)))
        cells = cells - cells.mean() + np.array([value for _, value in truth.values()])
        kept, held = deal(cells, made.repeats, rng)
        for j, (method, (kind, _)) in enumerate(truth.items()):
            bare = kind == "control" and not method.startswith(TWIN)
            for s, added in enumerate(made.seeds.get(method, [0.0])):
                rows.append(
                    row(
                        made,
                        method=method,
                        kind=kind,
                        seed=s,
                        value=float(cells[:, j].mean() + added),
                        replicates_kept=None if bare else list(kept[:, j] + added),
                        replicates_held=None if bare else list(held[:, j] + added),
                    )
                )
        rows += [row(made, **values) for values in made.extra]
    return pd.DataFrame(rows)
