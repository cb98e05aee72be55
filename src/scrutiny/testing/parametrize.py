"""Contract checks as tests of pytest: one test per thing and check, each with its own name in the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from scrutiny.core.errors import NotApplicable
from scrutiny.core.protocols import Embedder, LabelPredictor, Reconstructor, TransductiveEmbedder
from scrutiny.core.registry import Metric

from . import annotator, embedder, metric, reconstructor, task
from .checks import Check

VERBS = {"embed": (Embedder, TransductiveEmbedder), "reconstruct": (Reconstructor,), "predict_labels": (LabelPredictor,)}


def parametrize_with_checks(
    things: Iterable[Any], *, expected_failures: Mapping[str, Mapping[str, str]] | None = None
) -> Callable[..., Any]:
    """Decorator for a test function with the one argument ``check``; the test has to call it.

    Parameters
    ----------
    things
        Methods and tasks (classes, or functions that give an instance) and metrics, in any mixture.
    expected_failures
        Name of the thing on its card -> name of a check -> why it must fail. Shown as expected failure; a pass is a failure.

    Examples
    --------
    >>> @parametrize_with_checks([HashNet, centroid_accuracy])
    ... def test_contract(check):
    ...     check()
    """
    import pytest

    parameters = []
    for checks, trial, name in (contract for thing in things for contract in _contracts(thing)):
        reasons = (expected_failures or {}).get(name, {})
        for check in checks:
            expected = reasons.get(check.__name__)
            marks = [pytest.mark.xfail(reason=expected, strict=True)] if expected else []
            parameters.append(pytest.param(_bound(check, trial), id=f"{name}-{check.__name__}", marks=marks))
    return pytest.mark.parametrize("check", parameters)


class _Contract(NamedTuple):
    """Checks of a thing, made ready, under its name."""

    checks: tuple[Check, ...]
    trial: Any
    name: str


def _contracts(thing: Any) -> Iterator[_Contract]:
    """A method has one for each of its verbs."""
    if isinstance(thing, Metric):
        cells = metric.example_cells()
        yield _Contract(metric.METRIC_CHECKS, metric.MetricTrial(thing, metric.example_evidence(cells), cells), thing.card.name)
        return
    made = thing()
    has = {verb: isinstance(made, kinds) for verb, kinds in VERBS.items()}
    if not any(has.values()):
        yield _Contract(task.TASK_CHECKS, task.TaskTrial(thing, task.example_cells()), made.card.name)
        return
    data = embedder.example_cells(made.card)
    named = {verb: made.card.name if sum(has.values()) == 1 or verb == "embed" else f"{made.card.name}-{verb}" for verb in VERBS}
    if has["embed"]:
        yield _Contract(embedder.EMBEDDER_CHECKS, embedder.EmbedderTrial(thing, data), named["embed"])
    if has["reconstruct"]:
        yield _Contract(reconstructor.RECONSTRUCTOR_CHECKS, reconstructor.ReconstructorTrial(thing, data), named["reconstruct"])
    if has["predict_labels"]:
        yield _Contract(annotator.ANNOTATOR_CHECKS, annotator.AnnotatorTrial(thing, data), named["predict_labels"])


def _bound(check: Check, trial: Any) -> Callable[[], None]:
    def call() -> None:
        import pytest

        try:
            check(trial)
        except NotApplicable as error:
            pytest.skip(str(error))

    return call
