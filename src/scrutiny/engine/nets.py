"""Nets that a study trains: from its tables ``[pretraining]`` and ``[[nets]]`` to methods, each followed by its untrained twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scrutiny.core.cards import TWIN
from scrutiny.core.errors import InputError

from .embedding import Chosen

NET = "pretrained"
SHAPE = ("corpus", "model")
"""What an untrained twin depends on: the genes, and the architecture."""
TABLES = (*SHAPE, "objective", "training", "use")
COMMON: Mapping[str, type] = {**dict.fromkeys(TABLES, dict), "heads": tuple, "runs": str, "device": str}
OF_NET: Mapping[str, type] = {"name": str, **dict.fromkeys(TABLES, dict), "heads": tuple}
"""Keys of ``[pretraining]`` and of an entry of ``[[nets]]``."""


def methods_of(common: Mapping[str, Any], nets: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Chosen, ...]:
    """Each net as a method, its own keys laid over the common ones table by table; nets of one shape and use share a twin.

    With each of its ``heads`` the net, and its twin, is a method more. ``folder`` is where paths begin.
    Raises InputError if two nets have one name.
    """
    names = [net["name"] for net in nets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two nets are called '{twice}'; their names tell them apart")
    where = {"folder": str(folder.absolute())} | {key: common[key] for key in ("device",) if key in common}
    if "runs" in common:
        where["runs"] = str((folder / Path(common["runs"]).expanduser()).absolute())
    chosen: list[Chosen] = []
    twins: list[tuple[str, Mapping[str, Any]]] = []
    for net in nets:
        tables = {name: table for name in TABLES if (table := {**common.get(name, {}), **net.get(name, {})})}
        use = {"use": tables.pop("use")} if "use" in tables else {}
        heads = ("", *(f"+{head}" for head in net.get("heads", common.get("heads", ()))))
        chosen += [Chosen(f"{NET}{head}", {"name": net["name"], "config": tables, **use, **where}) for head in heads]
        shape = {"config": {name: tables[name] for name in SHAPE if name in tables}, **use}
        for head in heads:
            if (head, shape) not in twins:
                twins.append((head, shape))
                chosen.append(Chosen(f"{TWIN}{NET}{head}", {"name": f"untrained {net['name']}", **shape, **where}))
    return tuple(chosen)
