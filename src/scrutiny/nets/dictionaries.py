"""Vocabularies, medians, offsets and configs that come beside the weights, as JSON or pickle: read without running any code in them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scrutiny.core.errors import InputError

from .pickles import DAMAGED, LARGEST, PlainUnpickler, Refused
from .untrusted import plain, start_of

INDEX = ".index.json"
"""How the name of the list of a checkpoint in several files ends."""
PAIRS = "scrutiny:pairs"
"""In JSON, names the pairs of a dictionary whose keys are not all text."""
TENSOR = "scrutiny:tensor"
"""In JSON, stands for a tensor of this name in the same file."""


def read_dictionary(path: Path) -> dict[Any, Any]:
    """A dictionary of plain keys and values from ``.json`` or a pickle; tuples come as lists, numpy numbers as Python's.

    Raises
    ------
    InputError
        If there is no such file, it is too large for a dictionary, damaged or hostile, or holds something else.
    """
    found = read_plain(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}; expected a dictionary")
    return found


def read_plain(path: Path) -> Any:
    """As `read_dictionary`, but for lists and single values too."""
    start_of(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise InputError(f"{path} has {size:,} bytes; expected at most {LARGEST:,}")
    content = path.read_bytes()
    try:
        found = from_json(content.decode()) if path.suffix == ".json" else PlainUnpickler(io.BytesIO(content)).load()
    except Refused as error:
        raise InputError(f"{path} is refused: {error}; expected text and numbers") from error
    except DAMAGED as error:
        raise InputError(f"{path} is cut or damaged, or not of plain values: {str(error)[:200] or type(error).__name__}") from error
    return plain(found, str(path), size)


def read_index(path: Path) -> dict[str, list[str]]:
    """The parts of a checkpoint that was split into several files, from its ``.index.json``: file name to names of tensors.

    Raises
    ------
    InputError
        If it is not such an index, or names a file that does not lie beside it.
    """
    places = read_dictionary(path).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(part, str) for pair in places.items() for part in pair):
        raise InputError(f"{path} has no 'weight_map' from tensors to files")
    parts: dict[str, list[str]] = {}
    for name, part in places.items():
        if part in ("", ".", "..") or any(sign in part for sign in "/\\:\0") or part.endswith(INDEX):
            raise InputError(f"{path} names the file {part[:80]!r}; expected the name of a file of weights beside it")
        parts.setdefault(part, []).append(name)
    return parts


def to_json(value: Any, tensors: dict[str, Tensor] | None = None) -> str:
    """Plain values as JSON from which `from_json` gives the same; keys need not be text.

    Tensors are put into ``tensors``, named by the keys that lead to them with "/" between; the JSON refers to them by these names.
    """

    def encoded(found: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(found, Tensor):
            return {TENSOR: _put(found, "/".join(map(str, path)), tensors)}
        if isinstance(found, list):
            return [encoded(one, (*path, place)) for place, one in enumerate(found)]
        if not isinstance(found, dict):
            return found
        items = [(key, encoded(one, (*path, key))) for key, one in found.items()]
        is_text = all(isinstance(key, str) and key not in (PAIRS, TENSOR) for key in found)
        return dict(items) if is_text else {PAIRS: items}

    return json.dumps(encoded(value, ()))


def _put(tensor: Tensor, name: str, tensors: dict[str, Tensor] | None) -> str:
    if tensors is None:
        raise TypeError(f"'{name}' is a tensor; expected text and numbers")
    while name in tensors:
        name += "_"
    tensors[name] = tensor
    return name


def from_json(text: str, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """What `to_json` was given; ordinary JSON as `json.loads` gives it. ``tensors`` are those that the text may refer to.

    Raises
    ------
    ValueError, TypeError, KeyError, RecursionError
        If the text is not JSON, its pairs are none, or it refers to another tensor.
    """

    def decoded(found: dict[str, Any]) -> Any:
        if len(found) == 1 and TENSOR in found:
            return (tensors or {})[found[TENSOR]]
        return dict(found[PAIRS]) if len(found) == 1 and PAIRS in found else found

    return json.loads(text, object_hook=decoded)
