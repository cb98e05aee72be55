"""The contract of a metric: named checks that any package can run on its own function."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MetricCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.keys import digest_of_strings
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.ontology import LabelTerms
from scrutiny.core.outputs import FROM_CELL, Reconstruction
from scrutiny.core.registry import METHODS, Metric
from scrutiny.core.scores import Measured
from scrutiny.data.synth import planted, planted_terms
from scrutiny.methods.linear import HvgPca, ScaledPca
from scrutiny.metrics.calibration import Calibration

from .checks import CheckResult, run_checks
from .witness import generators_untouched

SAME = 1e-3
"""Largest difference of values that count as the same, as a share of the range: clusterings may break a tie another way."""


@dataclass(frozen=True, eq=False)
class MetricTrial:
    """A metric to be checked, evidence that it can be computed from, and the cells behind the evidence."""

    metric: Metric
    given: Mapping[str, Any]
    data: Dataset

    @property
    def card(self) -> MetricCard:
        return self.metric.card

    @cached_property
    def base(self) -> Measured:
        """Value on the evidence as it is."""
        return self.measured()

    def measured(self, **changed: Any) -> Measured:
        """Value on the evidence, some of it changed."""
        found = Evidence({**self.given, **changed}).call(self.metric)
        return found if isinstance(found, Measured) else Measured(found)

    def assert_valid(self, value: Any, where: str) -> None:
        low, high, slack = self.card.low, self.card.high, 1e-6
        assert isinstance(value, (float, np.floating)), f"{where}: returned a {type(value).__name__} instead of a float"
        assert np.isfinite(value), f"{where}: returned {value}; raise NotApplicable with the reason instead"
        assert low - slack <= value <= high + slack, f"{where}: {value:.6g} lies outside of the card's bounds [{low:g}, {high:g}]"

    def assert_same(self, first: float, second: float, message: str) -> None:
        span = self.card.high - self.card.low
        limit = SAME * (span if np.isfinite(span) else max(abs(first), 1.0))
        assert abs(first - second) <= limit, f"{message}: {first:.6g} and {second:.6g}"


def check_card(trial: MetricTrial) -> None:
    """The card is complete: recipe, bounds, controls that exist; options are keyword-only and have defaults."""
    card = trial.card
    assert card.name and card.recipe and card.version, "name, recipe and version of the card must not be empty"
    assert card.low < card.high, f"low {card.low} must be below high {card.high}"
    unknown = [name for name in (card.floor, card.roof) if name is not None and name not in METHODS]
    assert not unknown, f"no method is called {unknown}; floor and roof name controls, or are None where the metric is not scaled"
    assert trial.metric.needs, "the function must name its evidence as positional parameters, e.g. (embedding, labels)"
    bare = [name for name, default in card.options.items() if default is inspect.Parameter.empty]
    assert not bare, f"the options {bare} have no default"


def check_value(trial: MetricTrial) -> None:
    """A finite float within the bounds, on good and on useless outputs."""
    trial.assert_valid(trial.base.value, "on a good output")
    odd = {
        "embedding": _odd_embeddings(trial.given["embedding"]),
        "reconstruction": _odd_predictions(trial.given["reconstruction"]),
        "prediction": _odd_labels(trial.given["prediction"]),
    }
    for name, where, output in ((name, *pair) for name, pairs in odd.items() for pair in pairs):
        found = _value_or_none(trial, **{name: output})
        if found is not None:
            trial.assert_valid(found, where)


def check_degenerate(trial: MetricTrial) -> None:
    """Data of which nothing can be said are not applicable, with a reason; never NaN and no other error."""
    _ = trial.base  # a metric that cannot be computed at all has not been tried
    for where, changed in _degenerate(trial.given):
        found = _value_or_none(trial, **changed)
        if found is not None:
            trial.assert_valid(found, where)


def check_repeatable(trial: MetricTrial) -> None:
    """Computed twice, the value is the same to the last bit."""
    first, second = trial.base.value, trial.measured().value
    assert first == second, f"computed twice: {first!r} and {second!r}; seed every draw"


def check_evidence_untouched(trial: MetricTrial) -> None:
    """What is handed over is the same afterwards."""
    copies = deepcopy(dict(trial.given))
    trial.measured(**copies)
    touched = [name for name, value in copies.items() if not _is_equal(value, trial.given[name])]
    assert not touched, f"{touched} changed in place; work on a copy"


def check_global_generators_untouched(trial: MetricTrial) -> None:
    """The global generators of Python, numpy and torch are neither read nor seeded."""
    _ = trial.base  # what a first import does to them is not the metric's doing
    with generators_untouched():
        trial.measured()


def check_cell_order(trial: MetricTrial) -> None:
    """Cells in another order give the same value."""
    rows = np.random.default_rng(1).permutation(len(trial.given["embedding"]))
    shuffled = {name: _taken(value, rows) for name, value in trial.given.items()}
    trial.assert_same(trial.base.value, trial.measured(**shuffled).value, "cells in another order gave another value")


def check_group_names(trial: MetricTrial) -> None:
    """Labels and batches are categories: other names, and numbers as names, give the same value."""
    renamed = {"batch": _renamed(trial.given["batch"]), **_relabelled(trial.given)}
    trial.assert_same(trial.base.value, trial.measured(**renamed).value, "other names of labels and batches gave another value")


def check_direction(trial: MetricTrial) -> None:
    """The card's roof control scores better than its floor control."""
    card = trial.card
    if card.floor is None or card.roof is None:
        raise NotApplicable("the card names no floor or no roof: the metric is not scaled")
    floor, roof = (trial.measured(**_control(name, trial.data)).value for name in (card.floor, card.roof))
    gain = (roof - floor) * (1 if card.better == "higher" else -1)
    assert gain > 0, f"{card.better} is better, but the roof {card.roof} scores {roof:.6g} and the floor {card.floor} {floor:.6g}"


def check_per_cell(trial: MetricTrial) -> None:
    """Contributions of cells, where there are any, have the value as their mean; the card says whether there are."""
    measured = trial.base
    assert trial.card.per_cell == (measured.per_cell is not None), (
        f"per_cell={trial.card.per_cell}, but it returned {measured.per_cell!r:.60}"
    )
    if measured.per_cell is None:
        raise NotApplicable("the value is not a mean over cells")
    assert len(measured.per_cell) == len(trial.given["embedding"]), "one contribution per cell is needed, NaN where a cell does not count"
    trial.assert_same(measured.value, float(np.nanmean(measured.per_cell)), "value and mean of the contributions differ")


METRIC_CHECKS = (
    check_card,
    check_value,
    check_degenerate,
    check_repeatable,
    check_evidence_untouched,
    check_global_generators_untouched,
    check_cell_order,
    check_group_names,
    check_direction,
    check_per_cell,
)


def check_metric(
    metric: Metric,
    *,
    given: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "report"] = "raise",
) -> list[CheckResult]:
    """Run every check on a metric.

    Parameters
    ----------
    given
        Further evidence that it needs, each array with one entry per cell of `example_cells`, in its order. There are ``embedding``,
        ``labels``, ``batch``, ``reference``, ``phase_scores``, ``pseudotime``, ``reconstruction`` (of log counts), ``prediction`` (of
        labels), ``terms``, ``calibration``, ``seen``, ``labelled_cells`` and ``training_cells`` already, and all that is derived from them.
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too.

    Raises
    ------
    ContractError
        If a check fails, with one line for each, unless ``on_fail="report"``.
    """
    data = example_cells()
    trial = MetricTrial(metric, {**example_evidence(data), **(given or {})}, data)
    return run_checks(METRIC_CHECKS, trial, expected_failures=expected_failures or {}, on_fail=on_fail)


def example_cells() -> Dataset:
    """About 140 made-up cells of four labels in three batches; one label is missing in one batch, so that it is isolated."""
    data = planted(150, 80, n_labels=4, n_batches=3, label_effect=0.5, batch_effect=0.3)
    isolated = (data.role("label") == "type_3") & (data.role("batch") == "batch_2")
    return data.take(np.flatnonzero(~isolated))


def example_evidence(data: Dataset) -> dict[str, Any]:
    """What built-in tasks could give for these cells: a decent embedding, groups, numbers to conserve, predicted expression and labels."""
    predicted = ScaledPca(n_dims=5).fit(data, seed=0).reconstruct(data).aligned_to(data.cell_ids)
    reference = HvgPca(n_dims=20).fit(data, seed=0).embed(data).values
    labels, cells = data.role("label"), dict(zip(*(part.tolist() for part in np.unique(data.role("label"), return_counts=True))))
    unseen = max(cells)
    return {
        "embedding": reference[:, :10].copy(),
        "labels": labels,
        "prediction": _by_centroid(reference[:, :2], labels, data.cell_ids),
        "calibration": Calibration(1.5, 0.6, np.array(sorted(cells.keys() - {unseen}))),
        "seen": labels != unseen,
        "labelled_cells": cells,
        "training_cells": {**{name: 100 * n for name, n in cells.items()}, unseen: 1},
        "batch": data.role("batch"),
        "reference": reference,
        "phase_scores": reference[:, 2:4].copy(),
        "pseudotime": reference[:, 0].astype(np.float64),
        "terms": planted_terms(cells),
        "reconstruction": replace(predicted, also={FROM_CELL: 0.5 * predicted.predicted}),
    }


def _by_centroid(vectors: NDArray[np.float32], labels: NDArray[np.str_], cell_ids: NDArray[np.str_]) -> LabelPrediction:
    """Labels by the nearest centroid of the cells that have them, less sure the farther it is."""
    names = np.unique(labels)
    centroids = np.stack([vectors[labels == name].mean(axis=0) for name in names])
    nearness = np.exp(-np.linalg.norm(vectors[:, None] - centroids, axis=2))
    return LabelPrediction(cell_ids, names, (nearness / nearness.sum(axis=1, keepdims=True)).astype(np.float32))


def _control(name: str, data: Dataset) -> dict[str, Any]:
    """What a control gives in place of a method: vectors, labels or both."""
    truth, control = {role: data.role(role) for role in ("label", "batch")}, METHODS.get(name)().fit(data, seed=0)
    given: dict[str, Any] = {}
    if hasattr(control, "embed"):
        given["embedding"] = control.embed(data, truth=truth).aligned_to(data.cell_ids).values
    if hasattr(control, "predict_labels"):
        given["prediction"] = control.predict_labels(data, truth=truth).aligned_to(data.cell_ids)
    return given


def _odd_embeddings(embedding: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(4)
    yield "on shuffled rows", embedding[rng.permutation(len(embedding))]
    yield "on noise", rng.standard_normal(embedding.shape).astype(np.float32)
    yield "in one dimension", embedding[:, :1].copy()
    yield "far from the origin", embedding + np.float32(100)
    yield "with every cell twice", np.repeat(embedding[: (len(embedding) + 1) // 2], 2, axis=0)[: len(embedding)]


def _odd_predictions(found: Reconstruction) -> Iterator[tuple[str, Reconstruction]]:
    rng = np.random.default_rng(4)
    for where, predicted in {
        "with one prediction for all": np.full_like(found.predicted, 1.5),
        "with predictions that are noise": rng.standard_normal(len(found.predicted)).astype(np.float32),
        "with predictions of another size": 1000 * found.predicted,
        "with the truth predicted": found.true,
    }.items():
        yield where, replace(found, predicted=predicted)


def _odd_labels(found: LabelPrediction) -> Iterator[tuple[str, LabelPrediction]]:
    rng = np.random.default_rng(4)
    n_cells, n_labels = found.probabilities.shape
    for where, chances in {
        "with all labels equally likely": np.full((n_cells, n_labels), 1 / n_labels),
        "with one label for all": np.eye(n_labels)[np.zeros(n_cells, int)],
        "with labels that are noise": rng.dirichlet(np.ones(n_labels), n_cells),
    }.items():
        yield where, replace(found, probabilities=chances.astype(np.float32))
    yield "with labels that no cell has", replace(found, label_names=np.char.add("not ", found.label_names))


def _degenerate(given: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    n_cells = len(given["embedding"])
    same = np.full(n_cells, "one")
    alone = np.array([f"group_{i}" for i in range(n_cells)])
    yield "with one label", {"labels": same}
    yield "with one batch", {"batch": same}
    yield "with every cell its own label", {"labels": alone}
    yield "with every cell its own batch", {"batch": alone}
    yield "with batch and label the same", {"batch": given["labels"]}
    yield "with all cells in one place", {"embedding": np.ones_like(given["embedding"])}
    for n in (1, 2, 5):
        yield f"with {n} cells", {name: _taken(value, np.arange(n)) for name, value in given.items()}
    found = given["reconstruction"]
    yield "with one true value for all", {"reconstruction": replace(found, true=np.ones_like(found.true))}
    yield "with one hidden entry", {"reconstruction": replace(found, hidden=np.arange(len(found.rows)) == 0)}
    yield "with nothing predicted", {"reconstruction": replace(found, **_no_entries(found))}


def _no_entries(found: Reconstruction) -> dict[str, Any]:
    names = ("rows", "columns", "predicted", "true", "hidden", "weight")
    cut = {name: getattr(found, name)[:0] for name in names if getattr(found, name) is not None}
    return {**cut, "also": {name: values[:0] for name, values in found.also.items()}}


def _taken(value: Any, rows: NDArray[np.integer]) -> Any:
    if hasattr(value, "part"):
        return value.part(rows)
    return value[rows] if isinstance(value, np.ndarray) else value


def _value_or_none(trial: MetricTrial, **changed: Any) -> float | None:
    try:
        return trial.measured(**changed).value
    except NotApplicable as error:
        assert str(error), "NotApplicable needs a reason"
        return None


def _renamed(groups: NDArray[np.str_]) -> NDArray[np.str_]:
    """Other names, numbers among them, that sort another way."""
    names, codes = np.unique(groups, return_inverse=True)
    order = np.argsort([digest_of_strings([name]) for name in names])
    return np.array([str(10 * rank) for rank in range(len(names))])[np.argsort(order)][codes]


def _relabelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Labels under other names, wherever they are given."""
    prediction, calibration = given["prediction"], given["calibration"]
    names = np.unique(np.concatenate([given["labels"], prediction.label_names, calibration.labels]))
    new = dict(zip(names.tolist(), _renamed(names).tolist()))

    def renamed(labels: NDArray[np.str_]) -> NDArray[np.str_]:
        return np.array([new[name] for name in labels.tolist()])

    order = np.argsort(renamed(prediction.label_names))
    told = LabelPrediction(prediction.cell_ids, renamed(prediction.label_names)[order], prediction.probabilities[:, order])
    counts = {name: {new.get(label, label): n for label, n in given[name].items()} for name in ("labelled_cells", "training_cells")}
    learnt = replace(calibration, labels=np.sort(renamed(calibration.labels)))
    terms = replace(given["terms"], by_label={new.get(label, label): term for label, term in given["terms"].by_label.items()})
    return {"labels": renamed(given["labels"]), "prediction": told, "calibration": learnt, "terms": terms, **counts}


def _is_equal(first: Any, second: Any) -> bool:
    if isinstance(first, LabelTerms):
        anew = [replace(terms, ontology=replace(terms.ontology)).key for terms in (first, second)]  # keys are remembered
        return anew[0] == anew[1]
    if is_dataclass(first) and not hasattr(first, "to_arrays"):
        return all(_is_equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))
    if hasattr(first, "to_arrays"):
        arrays, others = first.to_arrays(), second.to_arrays()
        return arrays.keys() == others.keys() and all(_is_equal(array, others[name]) for name, array in arrays.items())
    return np.array_equal(first, second, equal_nan=np.asarray(first).dtype.kind == "f")
