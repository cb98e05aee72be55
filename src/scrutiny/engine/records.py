"""Runs as JSON and back. A record that says which schema it follows can be read for ever; older schemas are raised here, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from scrutiny.core.scores import Cost, Replicates, Run, RunSpec, Score, Status

SCHEMA = 1
"""Rises when the layout of a record changes."""


class UnreadableRecord(ValueError):
    """The JSON is not a Run of a schema that this version knows."""


def run_to_json(run: Run) -> dict[str, Any]:
    """The record of a Run: nothing but JSON, the same on every machine."""
    return {"schema": SCHEMA, "key": run.spec.key, **plain(run)}


def run_from_json(record: Mapping[str, Any]) -> Run:
    """The Run of a record.

    Raises
    ------
    UnreadableRecord
        If it is no record, or one that a later version wrote.
    """
    try:
        if record["schema"] > SCHEMA:
            raise UnreadableRecord(f"it follows schema {record['schema']}, this version knows {SCHEMA}; update scrutiny")
        spec = RunSpec(**record["spec"])
        scores = tuple(_score(s) for s in record["scores"])
        known = {name: record[name] for name in ("reason", "output_key", "n_dims", "facts", "versions", "finished")}
        return Run(spec, Status(record["status"]), scores=scores, cost=Cost(**record["cost"]), **known)
    except (KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, UnreadableRecord) else UnreadableRecord(f"it lacks or misnames something: {error!r}") from error


def _score(record: Mapping[str, Any]) -> Score:
    found = record["replicates"]
    replicates = Replicates(found["scheme"], found["n_folds"], tuple(found["kept"]), tuple(found["held"])) if found else None
    return Score(**{**record, "status": Status(record["status"]), "replicates": replicates})


def plain(content: Any) -> Any:
    """Dataclasses, mappings, sets, tuples and numpy values as what JSON knows; sets sorted, numbers that are not finite as None."""
    if hasattr(content, "__dataclass_fields__"):
        return {f.name: plain(getattr(content, f.name)) for f in fields(content)}
    if isinstance(content, Mapping):
        return {str(name): plain(value) for name, value in content.items()}
    if isinstance(content, np.ndarray | np.generic):
        return plain(content.tolist())
    if isinstance(content, set | frozenset):
        return sorted(plain(value) for value in content)
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content if content is None or isinstance(content, bool | int | str) else str(content)
