"""Made-up stores with runs, outputs and study facts, written through the Store itself."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from made_tables import CONTROLS, FAMILY, PRIMARY, deal

from scrutiny.core.cards import MethodCard, MetricCard, TaskCard
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.scores import Cost, Replicates, Run, RunSpec, Score, Status
from scrutiny.engine.store import Store

CHEAP = {"hvg_pca": 0.8, "harmony": 0.82, "scvi": 0.78, "hvg": 0.77, "depth": 0.3}
OTHER_METRICS = {"asw_label": "cell types", "nmi_kmeans": "cell types", "ilisi": "batches"}


@dataclass
class MadeStore:
    """Truth of a made-up store: method to primary value; all tasks share it."""

    methods: dict[str, float] = field(default_factory=lambda: dict(CHEAP))
    tasks: tuple[str, ...] = ("cell_types", "integration")
    dataset: str = "made"
    labels: tuple[str, ...] = ("T cell", "B cell", "NK cell", "Monocyte")
    n_cells: int = 120
    metrics: dict[str, str] = field(default_factory=lambda: dict(OTHER_METRICS))
    kinds: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=lambda: {"label_origin": "genotype", "citation": "Made et al. 2020"})
    notes: tuple[str, ...] = ("Values are from X.",)
    failed: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict] = field(default_factory=dict)
    """Method to the details of its primary score."""
    beside: dict[str, float] = field(default_factory=dict)
    """Metric to what the gene mean scores, in the details of every method."""
    low: float | None = 0.0
    """Lower bound of the metrics."""
    with_outputs: bool = True
    n_dims: int = 10


def write(folder: Path, made: MadeStore, seed: int = 0) -> Store:
    store = Store(folder)
    rng = np.random.default_rng(seed)
    ids = np.array([f"cell_{i:05d}" for i in range(made.n_cells)])
    label = np.array(made.labels)[np.arange(made.n_cells) % len(made.labels)]
    batch = np.array(["b1", "b2"])[(np.arange(made.n_cells) // len(made.labels)) % 2]
    store.put_cells(f"key-{made.dataset}-{made.n_cells}", {"cell_id": ids, "cell_type": label, "batch": batch})
    methods = {**made.methods, **CONTROLS}
    for task in made.tasks:
        cells = 0.3 * rng.standard_normal((made.n_cells, 1)) + 0.3 * rng.standard_normal((made.n_cells, len(methods)))
        kept, held = deal(cells - cells.mean(axis=0), 3, rng)
        for j, (method, truth) in enumerate(methods.items()):
            output_key = f"out-{made.dataset}-{method}".replace("/", "_")
            if made.with_outputs and task == made.tasks[0]:
                centres = 6 * truth * rng.standard_normal((len(made.labels), made.n_dims))
                values = centres[np.arange(made.n_cells) % len(made.labels)] + rng.standard_normal((made.n_cells, made.n_dims))
                store.put_output(output_key, CellEmbedding(values.astype(np.float32), ids), {})
            store.put(_run(made, task, method, truth, (kept[:, j] + truth, held[:, j] + truth), output_key, rng))
    store.add_study(_study(made, methods))
    return store


def _run(made, task, method, truth, replicates, output_key, rng) -> Run:
    control = method.startswith("control/")
    family = {PRIMARY[task]: FAMILY[PRIMARY[task]], **made.metrics}
    cards = {
        name: {
            "family": f,
            "better": "higher",
            "low": made.low,
            "high": 1.0,
            "floor": "control/shuffle",
            "roof": "control/label_oracle",
            "label_tuned": False,
        }
        for name, f in family.items()
    }
    facts = {
        "kind": "control" if control else made.kinds.get(method, "baseline"),
        "label_column": "" if task == "batch_mixing" else "cell_type",
        "primary": PRIMARY[task],
        "metrics": cards,
        "n_cells": made.n_cells,
        "n_genes": 1000,
        "content": {"values": f"values-{made.n_cells}"},
    }
    spec = RunSpec(method, made.dataset, task, 0, "1", "1", f"data-{made.dataset}-{made.n_cells}")
    more = {"facts": facts, "versions": {"numpy": "2.0"}, "finished": "2026-01-02T03:04:05+00:00"}
    if method in made.failed:
        return Run(spec, Status.FAILED, made.failed[method], **more)
    folds = None if control else Replicates("3 x 5", 5, *(tuple(map(float, r)) for r in replicates))
    scores = [Score(PRIMARY[task], Status.OK, float(truth), details=made.details.get(method, {}), replicates=folds)]
    told = {m: {"gene_mean": value} for m, value in made.beside.items()}
    more_scores = {m: float(np.clip(truth + 0.05 * rng.standard_normal(), 0, 1)) for m in made.metrics}
    scores += [Score(m, Status.OK, value, details=told.get(m, {})) for m, value in more_scores.items()]
    cost = Cost(float(10 * rng.random()), 0.5, 1.0, float(300 + 100 * rng.random()))
    return Run(spec, Status.OK, scores=tuple(scores), cost=cost, output_key=output_key, n_dims=made.n_dims, **more)


def _study(made: MadeStore, methods: dict[str, float]) -> dict:
    names = {*made.metrics, *(PRIMARY[t] for t in made.tasks)}
    metrics = {m: asdict(MetricCard(m, "cell types", "higher", 0, 1, f"How {m} is computed.", "Somebody 2019")) for m in sorted(names)}
    return {
        "datasets": {
            made.dataset: {
                "key": f"key-{made.dataset}-{made.n_cells}",
                "n_cells": made.n_cells,
                "n_genes": 1000,
                "content": {"values": f"values-{made.n_cells}"},
                "organism": "human",
                "roles": {"label": "cell_type", "batch": "batch"},
                "label_columns": ["cell_type"],
                "facts": made.facts,
                "notes": list(made.notes),
                "confounding": {"cell_type": {"n_labels": 4, "n_batches": 2, "cramers_v": 0.02, "labels_in_one_batch": []}},
                "technical_twins": {"cell_type": []},
            }
        },
        "methods": {
            m: asdict(MethodCard(m, f"What {m} does", kind="control" if m in CONTROLS else "baseline", citation="Else 2018"))
            for m in methods
        },
        "tasks": {t: asdict(TaskCard(t, f"What {t} asks", "embed", (PRIMARY[t],), PRIMARY[t])) for t in made.tasks},
        "metrics": metrics,
    }
