"""Options: which a constructor takes, and values of the kind that it declares."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError

Made = TypeVar("Made")
TRUTH_VALUES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}


def parameters_of(cls: type) -> dict[str, Any]:
    """Name -> declared type of all parameters of a constructor, also of those that its ``**options`` pass on to a base class.

    The type is None where it cannot be told. A class that is put together of others says itself what it takes, as ``option_types()``.
    """
    if hasattr(cls, "option_types"):
        return dict(cls.option_types())
    found: dict[str, Any] = {}
    for owner in cls.__mro__[:-1]:
        constructor = owner.__dict__.get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        types = _types_of(constructor)
        named = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        found = {name: types.get(name) for name in named} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def as_declared(options: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The options with text and numbers turned into what the parameters are declared to be: true or false, a whole number, a number.

    Raises
    ------
    InputError
        If a value is nothing of the kind. Values of other declared types are left to the method.
    """
    return {name: _as_declared(name, value, parameters.get(name)) for name, value in options.items()}


def unknown_option(owner: str, option: str, known: Sequence[str]) -> InputError:
    """What to say of an option that its owner ("the method 'pca'") does not have; near matches are named."""
    near = difflib.get_close_matches(option, known)
    hint = f"did you mean {near}?" if near else f"it takes {list(known) or 'none'}"
    return InputError(f"{owner} has no option '{option}'; {hint}")


def made(cls: type[Made], *first: Any, options: Any, owner: str) -> Made:
    """An instance of a class from a table of options, after what is given ``first`` without a name.

    Raises
    ------
    InputError
        Naming the owner, if the table is none, an option is not known, lacking, or of another kind than declared.
    """
    if not isinstance(options, Mapping):
        raise InputError(f"{owner} is {options!r}; expected a table of options")
    parameters = parameters_of(cls)
    for option in options:
        if option not in parameters:
            raise unknown_option(owner, option, [*parameters][len(first) :])
    try:
        return cls(*first, **as_declared(options, parameters))
    except InputError as error:
        raise InputError(f"{owner}: {error}") from error
    except TypeError as error:
        raise InputError(f"{owner}: {error}") from error


def _types_of(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # names for type checkers only: a plugin may have them
        return {}


def _as_declared(name: str, value: Any, declared: Any) -> Any:
    kinds = set(get_args(declared)) if get_origin(declared) in (Union, UnionType) else {declared}
    if value is None and NoneType in kinds:
        return None
    kinds -= {NoneType}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in EXPECTED:
        return value
    try:
        return _READ[kind](value)
    except (ValueError, KeyError):
        raise InputError(f"{name} is {value!r}; expected {EXPECTED[kind]}") from None


def _truth(value: Any) -> bool:
    return TRUTH_VALUES[str(value).lower()]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise ValueError
    return float(value)


_READ = {bool: _truth, int: _whole, float: _number}
