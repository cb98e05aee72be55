"""What the literature says, as claims that a study can confirm or contradict: read from the files in the folder ``literature``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from scrutiny.core.errors import InputError

Says = Literal["better", "no better"]
WAYS = {
    "zero-shot": "zero-shot",
    "probe": "a probe on",
    "frozen": "frozen",
    "adapted": "fine-tuned",
    "model": "",
    "cheap": "cheap methods",
    "untrained": "untrained",
}
"""What kind of method a side of a claim is, to the word for it; ``frozen`` is zero-shot or a probe."""


@dataclass(frozen=True)
class Side:
    """Methods that a claim is about: a kind of `WAYS`, and if given only those of some nets, with some heads or of some names."""

    kind: str
    nets: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        named = " or ".join(self.methods)
        if self.kind == "cheap":
            return named or WAYS["cheap"]
        which = f" ({' or '.join(self.heads)})" if self.heads else ""
        return f"{WAYS[self.kind]}{which} {named or ' or '.join(self.nets) or 'foundation models'}".strip()


@dataclass(frozen=True)
class Test:
    """How a claim is tested.

    Attributes
    ----------
    tasks
        Tasks it holds for; ``*`` stands for anything.
    says
        ``better``: the first side is better than the second; ``no better``: it is not.
    same_net
        Both sides are of one net, and each net that has both is a row; else the best of a side stands for it.
    least_cells, most_cells
        Labelled cells that were learnt from; cells of the data set where nothing is learnt.
    least_batches
        Batches that the data set has at least.
    """

    tasks: tuple[str, ...]
    first: Side
    says: Says
    second: Side
    same_net: bool = False
    least_cells: int | None = None
    most_cells: int | None = None
    least_batches: int = 0


@dataclass(frozen=True)
class Claim:
    """One thing that the literature says, in our words, and where. What cannot be measured has no test but the reason."""

    id: str
    statement: str
    work: str
    where: str
    contradicts: tuple[str, ...] = ()
    test: Test | None = None
    because: str = ""


@cache
def literature() -> tuple[Claim, ...]:
    """All claims, work by work.

    Raises
    ------
    InputError
        If a file says what cannot be understood, an id is there twice, or a claim contradicts one that does not exist.
    """
    folder = sorted((files("scrutiny.report") / "literature").iterdir(), key=lambda page: page.name)
    pages = [tomllib.loads(page.read_text("utf-8")) for page in folder if page.name.endswith(".toml")]
    return claims_of(pages)


def claims_of(pages: list[dict[str, Any]]) -> tuple[Claim, ...]:
    """Claims of several works; each page has ``work`` and a list ``claim``. What one contradicts contradicts it."""
    found = [_claim(page["work"], told) for page in pages for told in page["claim"]]
    by_id = {claim.id: claim for claim in found}
    if len(by_id) < len(found):
        raise InputError(f"claims of one id: {sorted({c.id for c in found if sum(o.id == c.id for o in found) > 1})}")
    if unknown := {other for claim in found for other in claim.contradicts} - by_id.keys():
        raise InputError(f"claims contradict what does not exist: {sorted(unknown)}")
    against = {claim.id: {other.id for other in found if claim.id in other.contradicts} | set(claim.contradicts) for claim in found}
    return tuple(_fields(Claim, {**_as_dict(claim), "contradicts": tuple(sorted(against[claim.id]))}) for claim in found)


def _claim(work: str, told: Mapping[str, Any]) -> Claim:
    if ("test" in told) == ("because" in told):
        raise InputError(f"claim {told.get('id')}: expected either a test or why there is none (because)")
    return _fields(Claim, {**told, "work": work, "contradicts": tuple(told.get("contradicts", ())), "test": _test(told.get("test"))})


def _test(told: Mapping[str, Any] | None) -> Test | None:
    if told is None:
        return None
    if told.get("says") not in ("better", "no better"):
        raise InputError(f"a claim says 'better' or 'no better', not {told.get('says')!r}")
    sides = {name: _side(told.get(name, {})) for name in ("first", "second")}
    return _fields(Test, {**told, **sides, "tasks": tuple(told["tasks"])})


def _side(told: Mapping[str, Any]) -> Side:
    if told.get("kind") not in WAYS:
        raise InputError(f"a side of a claim is one of {sorted(WAYS)}, not {told.get('kind')!r}")
    return _fields(Side, {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def _fields(what: type, told: Mapping[str, Any]) -> Any:
    if unknown := told.keys() - {field.name for field in fields(what)}:
        raise InputError(f"{what.__name__.lower()} of a claim: {sorted(unknown)} is not known")
    return what(**told)


def _as_dict(claim: Claim) -> dict[str, Any]:
    return {field.name: getattr(claim, field.name) for field in fields(claim)}
