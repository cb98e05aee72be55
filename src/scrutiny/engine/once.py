"""One embedding of all cells of a data set, outside any study: for people who want to take the winner home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.protocols import Problem

from .applies import obstacle
from .embedding import Chosen, request
from .meter import Meter

ASKED = TaskCard("embed", "an embedding of all cells", asks="embed", metrics=(), primary="", query_visible=True)


def embed(data: Dataset, method: str, *, options: Mapping[str, Any] | None = None, seed: int = 0) -> CellEmbedding:
    """Embed all cells as a study would: the labels hidden, fitted on the same cells.

    Parameters
    ----------
    data
        Its role ``batch`` is shown to the methods that read it.
    method
        Name of a method (``scrutiny list methods``); ``options`` are those of its constructor.

    Returns
    -------
    CellEmbedding
        values (n_cells, n_dims) float32 in the order of the data.

    Raises
    ------
    NotApplicable
        If the method does not fit the data; the message says why.
    """
    chosen = Chosen(method, options or {})
    found = obstacle(chosen.make(), ASKED, data)
    if found is not None:
        raise NotApplicable(found)
    blind = data.hide("label")
    return request(chosen, seed, Problem(blind, blind, {}), data).make(Meter(alone=False)).output
