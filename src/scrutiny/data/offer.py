"""What a file offers before anything is chosen, and the choice of the matrix: raw counts where there are any."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix, Matrix

from .backed import as_matrix
from .scale import detect_scale, survey
from .stored import Stored

COUNT_NAMES = ("counts", "count", "raw_counts", "rawcounts", "raw", "raw_count", "umi", "umis", "umi_counts", "integer_counts")
"""Names of layers that mean raw counts, best first; case does not matter."""
SAMPLE_ENTRIES = 200_000
"""Entries looked at to tell what a matrix holds."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One matrix of a file: in memory (any array or sparse matrix) or on disk, its genes, and what to call it.

    ``columns`` are those that count (``var`` has only them); None: all.
    """

    values: Any
    var: pd.DataFrame
    words: str = "X"
    columns: NDArray[np.integer] | None = None

    def sample(self) -> Iterator[NDArray[np.number]]:
        """Some of the entries, spread over the cells."""
        if isinstance(self.values, Stored):
            yield from self.values.sample(SAMPLE_ENTRIES)
        else:
            entries = self.values.data if sparse.issparse(self.values) else np.asarray(self.values).ravel()
            yield entries[:: max(1, len(entries) // SAMPLE_ENTRIES)]

    def matrix(self) -> Matrix:
        whole = as_matrix(self.values) if isinstance(self.values, Stored) else CsrMatrix(self.values)
        return whole if self.columns is None else whole.take_columns(self.columns)


@dataclass(frozen=True, eq=False)
class Offer:
    """A file, read as far as the choice needs it.

    Attributes
    ----------
    source
        What it is called in messages.
    obs
        Indexed by cell id as found, which may repeat.
    candidates
        Name -> matrix: "X", "raw" and the names of the layers (``layers/raw`` where there is a ``.raw`` as well).
    obsm
        Name -> function that reads the array (n_cells, n_dims).
    facts, notes, organism
        What the file says of itself ("" where it says no organism).
    """

    source: str
    obs: pd.DataFrame
    candidates: Mapping[str, Candidate]
    obsm: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    organism: str = ""

    def where(self, name: str) -> str:
        """A candidate in words."""
        return f"{self.candidates[name].words} of {self.source}"


PREFERENCE = (Scale.COUNTS, Scale.LOG, Scale.NORMALISED, Scale.SCALED)
"""From raw to processed."""


class Choice(NamedTuple):
    """The name of the chosen candidate, and what it was preferred to ("" where it was the first choice)."""

    name: str
    reason: str


def choose(offer: Offer, *, layer: str | None = None, scale: Scale | None = None) -> Choice:
    """The asked layer; else the one that has the declared scale, or the rawest values where none is declared.

    Of equals the first is taken, in the order: X, layers that are named counts, .raw, other layers. A layer of zeros and ones
    that nobody calls counts is passed over. Only a sample is looked at here.

    Raises
    ------
    InputError
        If the layer is not there, or nothing can be read as numbers.
    """
    if not offer.candidates:
        raise InputError(f"{offer.source} holds no matrix: X, layers and .raw are all empty; expected cells by genes in one of them")
    if layer is not None:
        return Choice(_found_layer(offer, layer), ", as asked")
    looks = {name: _look(offer, name) for name in _in_order(offer.candidates)}
    usable = [name for name, look in looks.items() if look.scale is not None]
    if not usable:
        raise InputError(next(iter(looks.values())).words)
    if scale is None:
        best = min(usable, key=lambda name: PREFERENCE.index(looks[name].scale))
    else:
        best = next((name for name in usable if looks[name].scale is scale), usable[0])
    before = [look.words for name, look in looks.items() if name == "X" and name != best]
    return Choice(best, f" ({before[0]})" if before else "")


class _Look(NamedTuple):
    """What a sample shows: no scale where the candidate is out of the question."""

    scale: Scale | None
    words: str


def _look(offer: Offer, name: str) -> _Look:
    where, facts = offer.where(name), survey(offer.candidates[name].sample())
    try:
        scale, reason = detect_scale(facts, where)
    except InputError as error:
        return _Look(None, str(error))
    is_mask = facts.largest <= 1 and name != "X" and _plain(name) not in COUNT_NAMES
    return _Look(None if is_mask else scale, f"{where} holds {scale} values: {reason}")


def _found_layer(offer: Offer, layer: str) -> str:
    if layer not in offer.candidates:
        near = difflib.get_close_matches(layer, list(offer.candidates), cutoff=0.5)
        hint = f"did you mean {near}?" if near else f"there is {list(offer.candidates)}"
        raise InputError(f"{offer.source} has no layer '{layer}'; {hint}")
    return layer


def _in_order(candidates: Mapping[str, Candidate]) -> list[str]:
    named_counts = [name for wanted in COUNT_NAMES for name in candidates if _plain(name) == wanted and name != "raw"]
    first = [name for name in ("X", *named_counts, "raw") if name in candidates]
    return first + [name for name in candidates if name not in first]


def _plain(name: str) -> str:
    return name.removeprefix("layers/").lower()
