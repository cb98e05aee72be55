"""How a method comes to its labels: from a net as it is, by a probe on it, by changing it, or without any net."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from scrutiny.core.cards import TWIN

ZERO_SHOT = ("centroid", "knn", "cluster")
"""Heads that train no weights: they compare with labelled cells or their means."""
OPTIONS = re.compile(r" \(.*\)$")
"""What `comparisons.with_display_names` puts behind a name."""
UNTRAINED = "untrained "
"""How the twin of a net that was trained for a study is called."""
WAYS = ("zero-shot", "probe", "adapted", "whole")
"""Order within the group of a net."""


class Approach(NamedTuple):
    """Which net a method is built on ('' for none), by which way of `WAYS`, and what comes after the ``+``.

    ``probe``: a classifier on the frozen embedding; ``adapted``: weights of the net, or weights put into it, are learnt; ``whole``: the
    method tells labels by itself, or tells none (then it is what readings and adaptations are of, and ``net`` is its own name).
    """

    net: str
    way: str
    head: str
    twin: bool

    @property
    def words(self) -> str:
        return self.way if self.way in ("zero-shot", "probe", "adapted") else ""


def approach(shown: str, kind: str, facts: Mapping[str, Any], registered: str = "") -> Approach:
    """Read off the name of a method and the facts of its Run, where heads are told as ``head`` and how a net is adapted as ``adaptation``.

    An untrained twin belongs to the net that it is the twin of. Baselines and other controls have no net.

    Parameters
    ----------
    shown
        The name that readers know, options in brackets included.
    registered
        Its registered name, where it is another one.
    """
    twin = (registered or shown).startswith(TWIN)
    name = OPTIONS.sub("", shown).removeprefix(TWIN).removeprefix(UNTRAINED if twin else "")
    base, _, head = name.rpartition("+")
    if kind != "model" and not twin:
        way = ("zero-shot" if head in ZERO_SHOT else "probe") if base else "whole"
        return Approach("", way, head if base else "", twin=False)
    return Approach(base, _way(head, facts), head, twin) if base else Approach(name, "whole", "", twin)


def _way(head: str, facts: Mapping[str, Any]) -> str:
    if head in ZERO_SHOT:
        return "zero-shot"
    return "probe" if facts.get("head") and not facts.get("adaptation") else "adapted"
