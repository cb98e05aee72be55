"""From an official checkpoint to a net of ours: names are mapped, every tensor is used or dropped on purpose, every shape is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scrutiny.core.errors import InputError


@dataclass(frozen=True)
class NameMap:
    """How the tensors of an official checkpoint are called in our net.

    Attributes
    ----------
    renamed
        Pairs (regular expression of the whole official name, our name with groups). The first that matches is taken. A name of ours
        that ends in ``#0``, ``#1`` ... is one of several parts that are joined along the first axis.
    dropped
        Pairs (regular expression, why it is not needed).
    optional
        Regular expressions of names of ours that a checkpoint may lack (a head that not every variant has); they are listed by
        `load` and must not be used.
    """

    renamed: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = ()


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """A net without storage for its weights, which are then given by `load` or `randomise`; nothing is drawn."""
    with torch.device("meta"):
        return make().eval()


def load(net: nn.Module, tensors: Mapping[str, Tensor], names: NameMap, *, source: str) -> frozenset[str]:
    """Give a net the weights of an official checkpoint, as float32 (integers as they are).

    Returns
    -------
    frozenset of str
        Names of ours that the checkpoint has not, all of them optional.

    Raises
    ------
    InputError
        If a tensor is missing, left over, given twice or of another shape; it is named, with ``source``.
    """
    ours = _joined(_renamed(tensors, names, source), source)
    wanted = dict(net.state_dict())
    left_over = sorted(ours.keys() - wanted.keys())
    missing = sorted(wanted.keys() - ours.keys())
    absent = frozenset(name for name in missing if any(re.fullmatch(p, name) for p in names.optional))
    lacking = [name for name in missing if name not in absent]
    if left_over or lacking:
        raise InputError(f"{source} does not fit the architecture: missing {lacking[:5]}, left over {left_over[:5]}")
    for name, tensor in ours.items():
        if tensor.shape != wanted[name].shape:
            raise InputError(f"{source}: {name} has the shape {tuple(tensor.shape)}; the config asks for {tuple(wanted[name].shape)}")
    given = {name: t.float() if t.is_floating_point() else t for name, t in ours.items()}
    net.load_state_dict({**given, **{name: torch.zeros(wanted[name].shape, dtype=wanted[name].dtype) for name in absent}}, assign=True)
    net.requires_grad_(False)
    return absent


def _renamed(tensors: Mapping[str, Tensor], names: NameMap, source: str) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for official, tensor in tensors.items():
        if any(re.fullmatch(pattern, official) for pattern, _ in names.dropped):
            continue
        target = next((m.expand(new) for pattern, new in names.renamed if (m := re.fullmatch(pattern, official))), None)
        if target is None:
            raise InputError(f"{source} has a tensor '{official}' {tuple(tensor.shape)} that this architecture does not know")
        if target in ours:
            raise InputError(f"{source}: two tensors stand for '{target}', one of them '{official}'")
        ours[target] = tensor
    return ours


def _joined(parts: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    whole = {name: tensor for name, tensor in parts.items() if "#" not in name}
    for name in sorted({name.split("#")[0] for name in parts if "#" in name}):
        pieces = sorted(part for part in parts if part.startswith(f"{name}#"))
        try:
            whole[name] = torch.cat([parts[piece] for piece in pieces])
        except RuntimeError as error:
            raise InputError(f"{source}: the parts of '{name}' do not fit each other: {error}") from error
    return whole


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a flat checkpoint (safetensors, or a torch file with nothing but tensors in a dictionary), by name."""
    found = read_checkpoint(path)
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path} should hold tensors by name; '{others[0]}' is a {type(found[others[0]]).__name__}")
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a weights file holds: a dictionary, possibly nested, of tensors and plain values. No code in it is ever run."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    return torch.load(path, map_location="cpu", weights_only=True)
