"""What the values of a matrix are: found from the values, and held against what was declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Scale
from scrutiny.core.errors import InputError

LARGEST_LOG = 25.0
"""Above this a value is no logarithm of normalised counts: ln(1e6) is 13.8 and log2(1e7) is 23.3."""


class ValueFacts(NamedTuple):
    """Facts of the entries of a matrix that are not zero."""

    n: int
    not_finite: int
    negative: int
    fractional: int
    largest: float


class Detected(NamedTuple):
    """A scale and why it was taken."""

    scale: Scale
    reason: str


def survey(arrays: Iterable[NDArray[np.number]]) -> ValueFacts:
    """Facts of all entries of some arrays; zeros are left out."""
    n = not_finite = negative = fractional = 0
    largest = 0.0
    for array in arrays:
        values = np.ravel(array)
        values = values[values != 0]
        finite = values[np.isfinite(values)]
        n += len(values)
        not_finite += len(values) - len(finite)
        negative += int((finite < 0).sum())
        fractional += int((finite != np.rint(finite)).sum())
        largest = max(largest, float(finite.max(initial=0.0)))
    return ValueFacts(n, not_finite, negative, fractional, largest)


def detect_scale(facts: ValueFacts, where: str) -> Detected:
    """The scale that these values have.

    Parameters
    ----------
    where
        What is looked at, for the messages, e.g. ``"layer 'counts' of cells.h5ad"``.

    Raises
    ------
    InputError
        If values are missing or infinite, or all are zero: then no scale can be told.
    """
    if facts.not_finite:
        what = f"{facts.not_finite:,} values that are NaN or infinite"
        raise InputError(f"{where} has {what}; expected finite numbers; repair the file or drop those cells")
    if not facts.n:
        raise InputError(f"{where} holds nothing but zeros; name the layer that has the values, e.g. --layer counts")
    if facts.negative:
        return Detected(Scale.SCALED, f"{facts.negative:,} of {facts.n:,} entries are negative")
    if not facts.fractional:
        return Detected(Scale.COUNTS, f"all entries are whole numbers, up to {facts.largest:g}")
    fractions = f"{facts.fractional:,} of {facts.n:,} entries are fractions"
    if facts.largest <= LARGEST_LOG:
        return Detected(Scale.LOG, f"{fractions} and none is above {facts.largest:.3g}")
    return Detected(Scale.NORMALISED, f"{fractions}, the largest is {facts.largest:g}")


def check_declared(declared: Scale, facts: ValueFacts, where: str) -> None:
    """Nothing if these values can be on the declared scale.

    Raises
    ------
    InputError
        If they cannot; the message says what they look like and what to do.
    """
    found, reason = detect_scale(facts, where)
    possible = {
        Scale.COUNTS: {Scale.COUNTS},
        Scale.LOG: {Scale.LOG},
        Scale.NORMALISED: {Scale.NORMALISED, Scale.LOG},
        Scale.SCALED: {Scale.SCALED},
    }
    if found not in possible[declared]:
        raise InputError(f"{where} was declared as {_words(declared)}, but {reason}, as in {_words(found)}; {_advice(declared, found)}")


def _words(scale: Scale) -> str:
    return {
        Scale.COUNTS: "raw counts",
        Scale.LOG: "log-normalised values",
        Scale.NORMALISED: "normalised values without logarithm",
        Scale.SCALED: "centred or standardised values",
    }[scale]


def _advice(declared: Scale, found: Scale) -> str:
    if declared is Scale.COUNTS:
        return f"name the layer that holds the counts with --layer NAME, or declare --scale {found}"
    return f"declare --scale {found}, or name another layer with --layer NAME"
