"""The objectives by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from scrutiny.core.errors import InputError
from scrutiny.core.options import made
from scrutiny.tuning.objective import Objective
from scrutiny.tuning.subject import Subject

OBJECTIVES: dict[str, str] = {
    "masked_rank": "scrutiny.tuning.objectives.masked:MaskedRank",
    "masked_bins": "scrutiny.tuning.objectives.masked:MaskedBins",
    "masked_values": "scrutiny.tuning.objectives.values:MaskedValues",
    "masked_classes": "scrutiny.tuning.objectives.classes:MaskedClasses",
    "read_depth": "scrutiny.tuning.objectives.read_depth:ReadDepth",
    "generative": "scrutiny.tuning.objectives.generative:Generative",
    "expressed": "scrutiny.tuning.objectives.expressed:Expressed",
    "contrastive": "scrutiny.tuning.objectives.contrastive:Contrastive",
    "triplet": "scrutiny.tuning.objectives.triplet:Triplet",
    "joint_embedding": "scrutiny.tuning.objectives.joint_embedding:JointEmbedding",
}
"""Name -> "module:class"; loaded on first use."""


def supported(subject: Subject) -> list[str]:
    """Names of the objectives that a net can be trained with."""
    return [name for name in OBJECTIVES if not _class(name).lacks(subject)]


def known_objective(name: str) -> None:
    """Raise InputError, with near matches, if there is no objective of that name."""
    if name not in OBJECTIVES:
        near = difflib.get_close_matches(name, OBJECTIVES)
        hint = f"did you mean {near}?" if near else f"there are {sorted(OBJECTIVES)}"
        raise InputError(f"there is no objective '{name}'; {hint}")


def objective(name: str, subject: Subject, options: Mapping[str, Any], folder: Path = Path()) -> Objective:
    """A new objective for a net; paths among its options begin at ``folder``.

    Raises
    ------
    InputError
        If there is none of that name or option (near matches are named), or the net has not what it needs.
    """
    known_objective(name)
    if lacking := _class(name).lacks(subject):
        can = f"{subject.family} can be trained with {', '.join(supported(subject)) or 'none'}"
        raise InputError(f"the objective '{name}' needs {' and '.join(lacking)} of a net, which {subject.family} has not; {can}")
    options = {key: str(folder / value) if key in _class(name).paths else value for key, value in options.items()}
    return made(_class(name), subject, options=options, owner=f"the objective '{name}'")


def _class(name: str) -> type[Objective]:
    module, _, attribute = OBJECTIVES[name].partition(":")
    return getattr(import_module(module), attribute)
