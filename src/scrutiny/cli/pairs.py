"""Options that are given as NAME=VALUE, several times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scrutiny.core.errors import InputError


def pair(text: str, option: str) -> tuple[str, Any]:
    """``NAME=VALUE`` with a value as in TOML (3, 0.5, true, [1, 2], "text"), or else the text itself."""
    import tomllib

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"{option} is '{text}'; expected NAME=VALUE, e.g. layer=-2")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def text_pair(text: str, option: str, example: str) -> tuple[str, str]:
    """``NAME=TEXT``, the text as it is."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise InputError(f"{option} is '{text}'; expected NAME=VALUE, e.g. {example}")
    return name, value


def once_each(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Raises InputError if a name is given twice."""
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name in options:
            raise InputError(f"{name} is given twice; expected one value of each option")
        options[name] = value
    return options
