"""Search for options: the same number of trials for every method, judged on a part of the training cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.labels import UNLABELLED
from scrutiny.core.registry import require
from scrutiny.data.splits import GROUPS
from scrutiny.metrics.probes import macro_f1, probe_folds

Space = Mapping[str, tuple[Any, ...]]
"""Options -> the values to choose from, the default first."""
REQUIRES = ("optuna",)
EXTRA = "annotation"
MAX_FOLDS = 3
"""Folds on which a trial is judged; each means one fit."""
TRIALS = "trials"
"""Option of methods that can search; 0: they do not."""

Answer = Callable[[Mapping[str, Any], NDArray[np.intp], NDArray[np.intp]], NDArray[np.str_]]
"""Of options, rows to learn from and rows to tell: the labels told (n_told,)."""


@dataclass(frozen=True)
class Found:
    """What a search came to. ``trials`` counts the defaults, and combinations that came up again; ``fitted`` does not."""

    chosen: Mapping[str, Any]
    score: float
    score_of_defaults: float
    budget: int
    trials: int
    fitted: int
    seconds: float


def searching_card(card: MethodCard, trials: int, *, seconds_per_trial: float) -> MethodCard:
    """The card of a method that tries options on parts of the training cells: it draws, and reads the groups that they come from.

    ``seconds_per_trial`` are for 1,000 cells, of what every trial does anew. Raises InputError if ``trials`` is below 0.
    """
    if trials < 0:
        raise InputError(f"{TRIALS} is {trials}; expected 0 (no search) or more")
    if not trials:
        return card
    groups = frozenset(GROUPS)
    return replace(
        card,
        reads=card.reads | groups,
        optional=card.optional | (groups - card.reads),
        seeded=True,
        requires=(*card.requires, *REQUIRES),
        extra=card.extra or EXTRA,
        seconds_per_1000_cells=card.seconds_per_1000_cells + trials * seconds_per_trial,
    )


def told_of_search(space: Space, answer: Answer, labels: NDArray[np.str_], groups: NDArray[np.str_] | None, **how: Any) -> dict[str, Any]:
    """`search_by_validation` as facts of a Run; too few labelled cells to hold some out leave the defaults, and the reason is told.

    Returns
    -------
    dict
        ``search``: the fields of `Found`; or ``chosen``, empty, with ``reason``, ``budget`` and no trials.
    """
    try:
        return {"search": asdict(search_by_validation(space, answer, labels, groups, **how))}
    except NotApplicable as error:
        return {"search": {"chosen": {}, "reason": str(error), "budget": how[TRIALS], "trials": 0, "fitted": 0, "seconds": 0.0}}


def search(
    space: Space, evaluate: Callable[[dict[str, Any]], float], *, trials: int, seconds: float | None = None, seed: int = 0
) -> Found:
    """The options with the highest score, by the tree-structured Parzen estimator of Optuna; of equal ones the first that was tried.

    The defaults are the first trial, so nothing worse than them is chosen. A combination that comes up again is not evaluated again.

    Parameters
    ----------
    seconds
        After which no trial begins; None: no limit. With a limit the choice depends on the machine.

    Raises
    ------
    MissingDependency
        If Optuna is not installed.
    """
    require(REQUIRES, EXTRA, needed_by="a search for options")
    import optuna

    started, known = time.perf_counter(), dict[tuple[Any, ...], float]()

    def score_of(trial: optuna.Trial) -> float:
        at = {name: trial.suggest_categorical(name, range(len(values))) for name, values in space.items()}
        key = tuple(at.values())
        if key not in known:
            known[key] = evaluate({name: space[name][i] for name, i in at.items()})
        return known[key]

    def stop_at_the_end(study: optuna.Study, trial: object) -> None:
        is_over = seconds is not None and time.perf_counter() - started > seconds
        if is_over or len(known) == prod(len(values) for values in space.values()):
            study.stop()

    with _quiet(optuna):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial({name: 0 for name in space})
        study.optimize(score_of, n_trials=trials, callbacks=[stop_at_the_end])
    best = max(known, key=known.__getitem__)
    return Found(
        chosen={name: space[name][i] for name, i in zip(space, best)},
        score=known[best],
        score_of_defaults=known[(0,) * len(space)],
        budget=trials,
        trials=len(study.trials),
        fitted=len(known),
        seconds=time.perf_counter() - started,
    )


def search_by_validation(
    space: Space,
    answer: Answer,
    labels: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
    *,
    trials: int,
    seconds: float | None = None,
    seed: int = 0,
) -> Found:
    """The options whose answers have the highest macro-F1 on training cells that are held out in turn; see `validation`.

    Parameters
    ----------
    answer
        Learns from some of the training cells with the options and tells the labels of others; cells without a label (`UNLABELLED`) are
        among those to learn from.
    labels, groups
        (n_cells,) of the training cells; groups are donors or batches.

    Raises
    ------
    NotApplicable
        If there are too few labelled cells to hold some out.
    """
    folds = validation(labels, groups)
    truth = np.concatenate([labels[fold.held_out] for fold in folds])

    def evaluate(options: dict[str, Any]) -> float:
        return macro_f1(truth, np.concatenate([answer(options, fold.train, fold.held_out) for fold in folds]))

    return search(space, evaluate, trials=trials, seconds=seconds, seed=seed)


class Fold(NamedTuple):
    """Rows of the training cells: those to learn from, and those whose labels are told."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]


def validation(labels: NDArray[np.str_], groups: NDArray[np.str_] | None) -> tuple[Fold, ...]:
    """Up to three of the folds that a probe would have: of whole groups where these share labels, else stratified.

    Raises
    ------
    NotApplicable
        If fewer than two labels have cells to learn from and cells to be told.
    """
    known = np.flatnonzero(labels != UNLABELLED)
    try:
        dealt = probe_folds(labels[known], None if groups is None else groups[known])
    except NotApplicable as error:
        raise NotApplicable(f"no options can be searched for: {error}") from error
    fold_of = np.full(len(labels), -1)
    fold_of[known] = dealt
    wanted = np.unique(dealt[dealt >= 0])[:MAX_FOLDS]
    return tuple(Fold(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in wanted)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without the log lines of Optuna; as before afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
