"""For every check of the metric contract, a metric that breaks it and is caught; and all built-in metrics pass."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.builtins import METRICS as BUILT_IN
from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import ContractError, NotApplicable
from scrutiny.core.registry import METRICS, metric
from scrutiny.core.scores import Measured
from scrutiny.testing import Outcome, check_metric
from scrutiny.testing.metric import METRIC_CHECKS, example_cells, example_evidence

NOT_HERE = {"hvg_overlap": "needs genes, which an embedding has not"}


@pytest.mark.parametrize("name", [n for n in BUILT_IN if n not in NOT_HERE])
def test_built_in_metrics_keep_the_contract(name):
    given = {"reconstruction": chances_of_being_expressed()} if name.startswith("expressed_") else deepened()
    results = check_metric(METRICS.get(name), given=given)
    may_be_absent = {"check_direction", "check_per_cell"}
    assert {r.check for r in results if r.outcome is Outcome.NOT_APPLICABLE} <= may_be_absent


def chances_of_being_expressed():
    found = example_evidence(example_cells())["reconstruction"]
    return replace(found, true=np.float32(found.true > 0), quantity="log-odds of being expressed")


def deepened():
    """Predictions that are said to be of deeper cells, half the truth having been given."""
    cells = example_cells()
    found = example_evidence(cells)["reconstruction"]
    return {"deepened": replace(found, also={"as given": 0.5 * found.true}), "asked": np.full(cells.n_cells, cells.n_genes)}


def card(**changed):
    fields = {"family": "cell types", "better": "higher", "low": 0.0, "high": 1.0, "recipe": "share of nearest centroids of the own label"}
    return MetricCard("acme/centroids", **{**fields, **changed})


def centroid_accuracy(embedding, labels):
    names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise NotApplicable("one label only")
    sums = np.zeros((len(names), embedding.shape[1]))
    np.add.at(sums, codes, embedding)
    centroids = sums / sizes[:, None]
    return float((np.square(embedding[:, None] - centroids).sum(axis=-1).argmin(axis=1) == codes).mean())


def test_an_honest_metric_passes():
    results = check_metric(metric(card())(centroid_accuracy))
    assert {r.outcome for r in results if r.check != "check_per_cell"} == {Outcome.PASSED}


def percent(embedding, labels):
    return 100 * centroid_accuracy(embedding, labels)


def not_a_float(embedding, labels):
    return str(centroid_accuracy(embedding, labels))


def nan_without_labels(embedding, labels):
    try:
        return centroid_accuracy(embedding, labels)
    except NotApplicable:
        return float("nan")


def crashes_on_few_cells(embedding, labels):
    np.partition(embedding, 10, axis=0)
    return centroid_accuracy(embedding, labels)


def no_reason(embedding, labels):
    if len(np.unique(labels)) < 2:
        raise NotApplicable()
    return centroid_accuracy(embedding, labels)


def unseeded(embedding, labels):
    rows = np.random.default_rng().permutation(len(labels))[:30]
    return centroid_accuracy(embedding[rows], labels[rows]) + np.random.default_rng().uniform(-0.01, 0)


def centres_in_place(embedding, labels):
    embedding -= embedding.mean(axis=0)
    return centroid_accuracy(embedding, labels)


def seeds_numpy(embedding, labels):
    np.random.seed(0)
    return centroid_accuracy(embedding, labels)


def first_cells_only(embedding, labels):
    return centroid_accuracy(embedding[:40] * np.linspace(0, 1, 40)[:, None], labels[:40])


def labels_as_numbers(embedding, labels):
    """A category taken for a quantity: 0.752 as categories and 0.174 as integers, of the same data in a public package."""
    try:
        numbers = labels.astype(float)
    except ValueError:
        return centroid_accuracy(embedding, labels)
    return float(min(1.0, abs(np.corrcoef(embedding[:, 0], numbers)[0, 1])))


def other_per_cell(embedding, labels):
    return Measured(centroid_accuracy(embedding, labels), np.zeros(len(labels)))


@pytest.mark.parametrize(
    ("broken", "changed", "check"),
    [
        (centroid_accuracy, {"recipe": ""}, "check_card"),
        (centroid_accuracy, {"floor": "control/nothing"}, "check_card"),
        (centroid_accuracy, {"low": 1.0}, "check_card"),
        (lambda embedding, labels, *, k: 0.5, {}, "check_card"),
        (percent, {}, "check_value"),
        (not_a_float, {}, "check_value"),
        (nan_without_labels, {}, "check_degenerate"),
        (crashes_on_few_cells, {}, "check_degenerate"),
        (no_reason, {}, "check_degenerate"),
        (unseeded, {}, "check_repeatable"),
        (centres_in_place, {}, "check_evidence_untouched"),
        (seeds_numpy, {}, "check_global_generators_untouched"),
        (first_cells_only, {}, "check_cell_order"),
        (labels_as_numbers, {}, "check_group_names"),
        (centroid_accuracy, {"better": "lower"}, "check_direction"),
        (other_per_cell, {"per_cell": True}, "check_per_cell"),
        (centroid_accuracy, {"per_cell": True}, "check_per_cell"),
    ],
)
def test_a_planted_fault_is_caught(broken, changed, check):
    faulty = metric(card(**changed))(broken)
    results = {r.check: r for r in check_metric(faulty, on_fail="report")}
    assert results[check].outcome is Outcome.FAILED
    with pytest.raises(ContractError, match=check):
        check_metric(faulty)


def test_every_check_has_a_fault_that_it_catches():
    marks = test_a_planted_fault_is_caught.pytestmark[0].args[1]
    assert {check for *_, check in marks} == {check.__name__ for check in METRIC_CHECKS}


def test_evidence_of_an_own_task_can_be_given():
    def mean_age(embedding, ages):
        return float(ages.mean() / 100)

    faulty = metric(card(floor=None, roof=None))(mean_age)
    with pytest.raises(ContractError, match="needs 'ages'.*give data that fit"):
        check_metric(faulty)
    check_metric(faulty, given={"ages": np.linspace(20, 80, example_cells().n_cells)})
