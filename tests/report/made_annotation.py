"""Made-up stores of annotation: methods that tell a planted share of the labels right, scored by the real metrics."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from scrutiny.core.cards import MethodCard, TaskCard
from scrutiny.core.evidence import Evidence
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.registry import METRICS
from scrutiny.core.scores import Cost, Replicates, Run, RunSpec, Score, Status
from scrutiny.engine.store import Store

TYPES = ("B cell", "CD4 T cell", "CD8 T cell", "Monocyte")
PRIMARY = "macro_f1"
CONTROLS = {"control/shuffled_labels": 0.25, "control/label_oracle": 1.0}
ZERO, PROBE = {"head": "knn", "embedder": "net"}, {"head": "logreg", "embedder": "net"}
PUBLISHED = {"weights": {"published": True, "origin": "its authors", "key": "k"}}


@dataclass
class MadeAnnotation:
    """Truth of a made-up store.

    ``right`` maps a method to its share of right cells, or task to share where splits differ; a wrong cell gets the next type of
    ``types``. A name of ``models`` is a model; others are baselines, but for controls.
    """

    right: dict[str, float | dict[str, float]]
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("annotation",)
    dataset: str = "made"
    types: tuple[str, ...] = TYPES
    n_cells: int = 400
    labelled: int = 100
    """Labelled training cells of each type, but for few-shot tasks."""
    elsewhere: dict[str, int] = field(default_factory=dict)
    """Labelled training cells of types that no scored cell has."""
    facts: dict[str, dict] = field(default_factory=dict)
    """Method to more facts of its Runs."""
    costs: dict[str, Cost] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("macro_f1", "accuracy")
    confidence: float = 0.9
    """Probability of the label that is told."""
    record: dict = field(default_factory=dict)
    """More of what the study says of the data set."""
    with_outputs: bool = True
    repeats: int = 4
    draws: tuple[float, ...] = (0.0,)
    """What each draw of the labelled cells adds to the share of right cells, in few-shot tasks."""


def write_annotation(folder: Path, made: MadeAnnotation, seed: int = 0) -> Store:
    store, rng = Store(folder), np.random.default_rng(seed)
    ids = np.array([f"cell_{i:05d}" for i in range(made.n_cells)])
    truth = np.array(made.types)[np.arange(made.n_cells) % len(made.types)]
    batch = np.array(["b1", "b2"])[(np.arange(made.n_cells) // len(made.types)) % 2]
    store.put_cells(f"key-{made.dataset}", {"cell_id": ids, "cell_type": truth, "batch": batch})
    methods = {**made.right, **CONTROLS}
    for task in made.tasks:
        folds = [rng.permutation(np.arange(made.n_cells) % 5) for _ in range(made.repeats)]
        for method, share in methods.items():
            known = share if isinstance(share, float) else share.get(task)
            if known is not None or method in made.failed:
                for draw, added in enumerate(made.draws if "_few_" in task else (0.0,)):
                    told = _told(made, ids, truth, (known or 0.0) + added * (method not in CONTROLS), rng)
                    store.put(_run(store, made, (task, method, draw), told, truth, folds))
    store.add_study(_study(made, methods))
    return store


def _told(made, ids, truth, share, rng) -> LabelPrediction:
    """Exactly ``share`` of the cells of each type are right, which ones is drawn."""
    names = np.unique(made.types)
    after = {name: made.types[(i + 1) % len(made.types)] for i, name in enumerate(made.types)}
    told = truth.copy()
    for name in names:
        own = np.flatnonzero(truth == name)
        wrong = rng.permutation(own)[: round((1 - share) * len(own))]
        told[wrong] = after[name]
    rest = (1 - made.confidence) / (len(names) - 1)
    probabilities = np.where(told[:, None] == names[None, :], made.confidence, rest).astype(np.float32)
    return LabelPrediction(ids, names, probabilities)


def _run(store, made, what, told, truth, folds) -> Run:
    task, method, draw = what
    control = method.startswith("control/")
    cards = {name: METRICS.get(name).card for name in made.metrics}
    in_table = ("family", "better", "low", "high", "floor", "roof", "label_tuned")
    facts = {
        "kind": "control" if control else "model" if method in made.models else "baseline",
        "label_column": "cell_type",
        "primary": PRIMARY,
        "metrics": {name: {field: getattr(card, field) for field in in_table} for name, card in cards.items()},
        "n_cells": made.n_cells,
        "content": {"values": "v"},
        **made.facts.get(method, {}),
    }
    spec = RunSpec(method, made.dataset, task, draw, "1", "1", f"data-{made.dataset}")
    more = {"facts": facts, "versions": {}, "finished": "2026-01-02T03:04:05+00:00"}
    if method in made.failed:
        return Run(spec, Status.NOT_APPLICABLE, made.failed[method], **more)
    key = f"out-{made.dataset}-{task}-{method}-{draw}".replace("/", "_").replace("+", "_")
    if made.with_outputs:
        store.put_output(key, told, {})
    of_type = int(task.rpartition("_")[2]) if "_few_" in task else made.labelled
    labelled = {**dict.fromkeys(made.types, of_type), **made.elsewhere}
    scores = [_score(name, told, truth, folds, labelled) for name in made.metrics]
    cost = made.costs.get(method, Cost(1.0, 0.5, 0.1, 300.0, trainable=10, n_answered=made.n_cells))
    return Run(spec, Status.OK, scores=tuple(scores), cost=cost, output_key=key, **more)


def _score(name, told, truth, folds, labelled) -> Score:
    evidence = Evidence({"prediction": told, "labels": truth, "labelled_cells": labelled})
    whole = evidence.measure(name)

    def value(rows):
        return float(evidence.part(rows)[name])

    if name != PRIMARY:
        return Score(name, Status.OK, float(whole.value), details=dict(whole.details))
    kept = tuple(value(np.flatnonzero(fold != k)) for fold in folds for k in range(5))
    held = tuple(value(np.flatnonzero(fold == k)) for fold in folds for k in range(5))
    return Score(name, Status.OK, float(whole.value), details=dict(whole.details), replicates=Replicates("4 x 5 of cells", 5, kept, held))


def _study(made, methods) -> dict:
    record = {
        "key": f"key-{made.dataset}",
        "n_cells": made.n_cells,
        "n_genes": 1000,
        "content": {"values": "v"},
        "organism": "human",
        "roles": {"label": "cell_type", "batch": "batch"},
        "label_columns": ["cell_type"],
        "facts": {"label_origin": "genotype"},
        "notes": [],
        "confounding": {"cell_type": {"n_labels": len(made.types), "n_batches": 2, "cramers_v": 0.02, "labels_in_one_batch": []}},
        "technical_twins": {"cell_type": []},
    }
    kinds = {m: "control" if m in CONTROLS else "model" if m in made.models else "baseline" for m in methods}
    return {
        "datasets": {made.dataset: record | made.record},
        "methods": {m: asdict(MethodCard(m, f"What {m} does", kind=kind)) for m, kind in kinds.items()},
        "tasks": {t: asdict(TaskCard(t, f"What {t} asks", "predict_labels", made.metrics, PRIMARY)) for t in made.tasks},
        "metrics": {name: asdict(METRICS.get(name).card) for name in made.metrics},
    }
