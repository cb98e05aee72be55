"""The options of a model, read off the signatures and docstrings of its classes, so that every list of them says what the code does."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of a model's class."""

    name: str
    default: Any
    about: str
    """What the docstring says of it."""
    general: bool
    """Every model has it."""


def options_of(method: type) -> list[Option]:
    """All options in their order, those of the family first."""
    found: dict[str, Option] = {}
    for owner in method.__mro__:
        if "__init__" not in owner.__dict__ or owner is object:
            continue
        told = _parameters_of(inspect.cleandoc(owner.__doc__ or ""))
        for name, parameter in inspect.signature(owner.__init__).parameters.items():
            if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD and not (name in found and found[name].about):
                found[name] = Option(name, parameter.default, told.get(name, ""), general=owner is not method)
    return sorted(found.values(), key=lambda option: option.general)


def _parameters_of(doc: str) -> dict[str, str]:
    """Name -> text of the section "Parameters" of a numpydoc docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\Z)", doc, re.MULTILINE | re.DOTALL)
    texts: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?:(?:[ ]{4}.*)?(?:\n|\Z))+)", section[1] if section else "", re.MULTILINE):
        texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return texts
