"""What can be told without running: whether a method and a task fit a data set on this machine."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scrutiny.core.cards import MethodCard, TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import check_installed

from .embedding import arrays_read


def obstacle(method: Any, task: TaskCard, data: Dataset) -> str | None:
    """The first reason why this cannot be run; None if nothing speaks against it."""
    card: MethodCard = method.card
    try:
        _check_task(task, data)
        _check_fit_of_task(method, card, task)
        _check_data(method, card, data)
        check_installed(card)
    except NotApplicable as error:
        return str(error)
    return None


def verb_of(card: MethodCard, asks: str) -> str:
    """The method of a class that answers what is asked: one that looks at all cells at once has ``fit_embed`` in place of ``embed``."""
    return f"fit_{asks}" if card.transductive else asks


def has_verb(method: Any, asks: str) -> bool:
    """Whether a method, or its class, answers what is asked."""
    return hasattr(method, verb_of(method.card, asks))


def _check_task(task: TaskCard, data: Dataset) -> None:
    for role in sorted(task.roles):
        _check_varied(data, role, f"the task {task.name}")


def _check_varied(data: Dataset, role: str, who: str) -> None:
    values = pd.unique(data.role(role))
    if len(values) < 2:
        raise NotApplicable(f"{who} needs at least two values of '{role}'; in '{data.name}' all cells have '{values[0]}'")


def _check_fit_of_task(method: Any, card: MethodCard, task: TaskCard) -> None:
    if not has_verb(method, task.asks):
        raise NotApplicable(f"the task {task.name} asks for '{verb_of(card, task.asks)}', which {card.name} has not")
    if card.transductive and task.asks == "embed" and not task.query_visible:  # another answer need not share a space with the train cells
        raise NotApplicable(f"{card.name} embeds all cells at once; in {task.name} the query must stay unseen")
    if card.supervised and task.query_visible:
        raise NotApplicable(f"{card.name} learns from labels; {task.name} has no split, so it would be shown the answers")


def _check_data(method: Any, card: MethodCard, data: Dataset) -> None:
    if card.organisms is not None and data.organism not in card.organisms:
        hint = "; if it is one of them, say which with --organism" if data.organism == "unknown" else ""
        raise NotApplicable(f"{card.name} knows {sorted(card.organisms)}; '{data.name}' is of organism '{data.organism}'{hint}")
    if card.scale is not None and data.scale != card.scale:
        raise NotApplicable(f"{card.name} needs {card.scale}; '{data.name}' holds values of the scale '{data.scale}'")
    for role in sorted(card.reads - card.optional):
        _check_varied(data, role, card.name)
    if hasattr(method, "check_applies"):
        check_installed(card)
        method.check_applies(data)
    if card.max_cells is not None and data.n_cells > card.max_cells:
        raise NotApplicable(f"{card.name} can hold {card.max_cells:,} cells in memory; '{data.name}' has {data.n_cells:,}")
    for key in arrays_read(method):
        try:
            data.obsm_key(key)
        except InputError as error:
            raise NotApplicable(str(error)) from error
