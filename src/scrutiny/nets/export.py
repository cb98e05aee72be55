"""The way back of `weights.load`: the weights of a net of ours under their official names, as files that the official layout has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from scrutiny.core.atomic import write_atomic
from scrutiny.core.errors import InputError

from .dictionaries import to_json
from .weights import SHOWN, TREE, NameMap, under_our_names

NEXT = "*"
"""Stands in an official name for a number that ours does not tell: that of the last layer, which comes after all others."""
SYNTAX = re.compile(
    r"\(\?:(?P<choice>[^()]*)\)(?P<optional>\?)?|\((?P<group>[^()?][^()]*)\)|(?P<number>\\d\+)|\\(?P<sign>[^\w\d])|(?P<text>\w+)"
)
"""What the regular expressions of a `NameMap` are made of."""
REFERENCE = re.compile(r"\\(\d)")


def official(state: Mapping[str, Tensor], names: NameMap) -> dict[str, Tensor]:
    """The tensors of a net under their official names; what an official file has in parts is split, on the same storage.

    Raises
    ------
    InputError
        If a tensor has no official name, or one that `weights.load` would not read as the same tensor again.
    """
    rules = [Rule(pattern, new) for pattern, new in names.renamed]
    parts = {part: piece for name, tensor in state.items() for part, piece in _parts(name, tensor, rules)}
    called = _numbered({part: _spelt(_canonical(part, rules), names) for part in parts})
    tensors = {called[part]: piece for part, piece in parts.items()}
    again, unknown = under_our_names(tensors, names, "the net")
    if wrong := unknown or sorted(part for part in parts if again.get(part) is not parts[part]):
        raise InputError(f"{len(wrong)} tensors have official names that mean others, or nothing, when read again: {wrong[:SHOWN]}")
    return tensors


def write_weights(net: nn.Module, names: NameMap, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a net as the flat safetensors file that its published checkpoints are; see `write_checkpoint`."""
    write_checkpoint(official(net.state_dict(), names), path, dtype=dtype)


def write_checkpoint(content: Mapping[str, Any], path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write tensors and plain values, nested or not, as a safetensors file that `weights.read_checkpoint` reads as the same.

    The file is there whole or not at all.

    Parameters
    ----------
    dtype
        Of all tensors of real numbers.

    Raises
    ------
    InputError
        If a tensor is not finite in this type.
    StoreError
        If the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    nested = to_json(dict(content), tensors)
    stored = {name: _stored(name, tensor, dtype) for name, tensor in tensors.items()}
    flat = all(isinstance(value, Tensor) for value in content.values()) and bool(content)
    content_of_file = save(stored, {"format": "pt"} if flat else {"format": "pt", TREE: nested})
    write_atomic(path, lambda file: file.write(content_of_file))


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """On the processor, in a storage of its own."""
    real = tensor.is_floating_point()
    copied = tensor.detach().to("cpu", dtype if real else tensor.dtype, copy=True).contiguous()
    if real and not torch.isfinite(copied).all():
        raise InputError(f"{name} has values that are not finite as {dtype}; weights like that are not written")
    return copied


# Names -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """One pair of `NameMap.renamed`, read backwards."""

    pattern: str
    new: str

    @cached_property
    def _tokens(self) -> list[re.Match[str]]:
        tokens, end = [], 0
        while end < len(self.pattern):
            found = SYNTAX.match(self.pattern, end)
            if found is None:
                raise TypeError(f"'{self.pattern}' has at {end} what cannot be written backwards")
            tokens.append(found)
            end = found.end()
        return tokens

    @cached_property
    def ours(self) -> re.Pattern[str]:
        """Matches what the rule may call a tensor; group ``g1`` is what the first group of the pattern stands for."""
        groups = [token["group"] for token in self._tokens if token["group"] is not None]
        seen: set[str] = set()
        pieces = REFERENCE.split(self.new)  # text, number, text ...
        for place in range(1, len(pieces), 2):
            number = pieces[place]
            pieces[place] = f"(?P=g{number})" if number in seen else f"(?P<g{number}>{groups[int(number) - 1]})"
            seen.add(number)
        return re.compile("".join(piece if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)))

    def canonical(self, groups: Mapping[str, str]) -> str:
        """The official name: of a choice the first, of what is optional nothing, `NEXT` for a number that ours does not tell."""
        name, n_groups = "", 0
        for token in self._tokens:
            if token["group"] is not None:
                n_groups += 1
                name += groups[f"g{n_groups}"]
            elif token["choice"] is not None:
                name += "" if token["optional"] else token["choice"].split("|")[0].replace("\\", "")
            else:
                name += NEXT if token["number"] else token["sign"] or token["text"]
        return name


def _parts(name: str, tensor: Tensor, rules: list[Rule]) -> Iterator[tuple[str, Tensor]]:
    """The tensor itself, or the parts ``name#0``, ``name#1`` ... of equal length that official files have in its place."""
    if any(rule.ours.fullmatch(name) for rule in rules):
        yield name, tensor
        return
    n_parts = 0
    while any(rule.ours.fullmatch(f"{name}#{n_parts}") for rule in rules):
        n_parts += 1
    if not n_parts or len(tensor) % n_parts:
        raise InputError(f"'{name}' {tuple(tensor.shape)} has no official name{f' in {n_parts} equal parts' if n_parts else ''}")
    for number, piece in enumerate(tensor.chunk(n_parts)):
        yield f"{name}#{number}", piece


def _canonical(part: str, rules: list[Rule]) -> str:
    return next(rule.canonical(found.groupdict()) for rule in rules if (found := rule.ours.fullmatch(part)))


def _spelt(name: str, names: NameMap) -> str:
    return next((found.expand(new) for pattern, new in names.written if (found := re.fullmatch(pattern, name))), name)


def _numbered(called: Mapping[str, str]) -> dict[str, str]:
    """With the number that follows all others of the same place for `NEXT`."""

    def numbered(name: str) -> str:
        before, _, after = name.partition(NEXT)
        others = (re.match(re.escape(before) + r"(\d+)\.", other) for other in called.values())
        return f"{before}{1 + max((int(found[1]) for found in others if found), default=-1)}{after}"

    return {ours: numbered(name) if NEXT in name else name for ours, name in called.items()}
