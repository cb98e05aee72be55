"""From an official checkpoint to a net of ours: names are mapped, every tensor is used or dropped on purpose, every shape is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from scrutiny.core.errors import InputError, NotApplicable

from .dictionaries import INDEX, from_json, read_index
from .torchfiles import MOST_AXES, read_torch
from .untrusted import plain, start_of

SHOWN = 5
"""Names that a message lists."""
COMPARED, LONGEST_NAME = 1000, 200
"""Names of a file that are looked at for similar ones, and characters of each that are shown."""
TREE = "scrutiny:tree"
"""Metadata of a converted safetensors file: how its tensors were nested, and the plain values beside them."""


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
    written
        Pairs (regular expression of the whole official name that follows from ``renamed``, how published files spell it), for `export`.
    """

    renamed: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = ()
    written: tuple[tuple[str, str], ...] = ()


def build(make: Callable[[], nn.Module]) -> nn.Module:
    """A net without storage for its weights, which are then given by `load` or `randomise`; nothing is drawn."""
    with torch.device("meta"):
        return make().eval()


def load(net: nn.Module, tensors: Mapping[str, Tensor], names: NameMap, *, source: str) -> frozenset[str]:
    """Give a net the weights of an official checkpoint, as float32 (integers as they are). Nothing is copied that is float32 already.

    What is absent is NaN, and the module that holds it raises NotApplicable when it is called: no head is used that has no weights.

    Returns
    -------
    frozenset of str
        Names of ours that the checkpoint has not, all of them optional.

    Raises
    ------
    InputError
        If a tensor is missing, left over, given twice, in parts of unequal type, of another shape or kind, or not finite; it is named,
        with ``source``.
    """
    wanted = dict(net.state_dict())
    ours, unknown = under_our_names(tensors, names, source)
    ours = _joined(ours, source)
    unknown += [f"{_shown(name)} {tuple(tensor.shape)}" for name, tensor in ours.items() if name not in wanted]
    missing = sorted(wanted.keys() - ours.keys())
    absent = frozenset(name for name in missing if any(re.fullmatch(pattern, name) for pattern in names.optional))
    lacking = [name for name in missing if name not in absent]
    if unknown or lacking:
        lists = _listed("missing", lacking, unknown), _listed("left over", unknown, ())
        raise InputError(f"{source} does not fit the architecture: {'; '.join(filter(None, lists))}")
    given = {name: _fitting(ours[name], wanted[name], f"{source}: {name}") for name in wanted if name not in absent}
    for name in absent:
        given[name] = torch.full(wanted[name].shape, torch.nan if wanted[name].is_floating_point() else 0, dtype=wanted[name].dtype)
        forbid(net, name, f"{source} has no weights for '{name}', which this needs; another variant of the model may have them")
    net.load_state_dict(given, assign=True)
    net.requires_grad_(False)
    return absent


def _listed(title: str, names: Sequence[str], others: Sequence[str]) -> str:
    """Some of the names, each with the most similar other one."""
    if not names:
        return ""
    near = {name: get_close_matches(name, others[:COMPARED], n=1, cutoff=0.5) for name in names[:SHOWN]}
    some = [f"{name} (is it '{near[name][0]}'?)" if near[name] else name for name in near]
    return f"{title} ({len(names)}): {', '.join(some)}{' ...' if len(names) > SHOWN else ''}"


def _shown(name: str) -> str:
    """A name from a file as it may stand in a message."""
    return (name if name.isprintable() else repr(name))[:LONGEST_NAME]


def _fitting(tensor: Tensor, wanted: Tensor, name: str) -> Tensor:
    if tensor.shape != wanted.shape:
        raise InputError(f"{name} has the shape {tuple(tensor.shape)}; the config asks for {tuple(wanted.shape)}")
    if tensor.is_floating_point() != wanted.is_floating_point() or tensor.is_complex():
        raise InputError(f"{name} is stored as {tensor.dtype}; expected {wanted.dtype}")
    tensor = tensor.to(torch.float32 if wanted.is_floating_point() else wanted.dtype).contiguous()
    if tensor.is_floating_point() and tensor.numel() and not all(torch.isfinite(end) for end in torch.aminmax(tensor)):
        raise InputError(f"{name} has values that are not finite ({int((~torch.isfinite(tensor)).sum()):,} of {tensor.numel():,})")
    return tensor


def forbid(net: nn.Module, name: str, why: str) -> None:
    """Let the module that holds a tensor refuse to be called, with NotApplicable and the reason."""
    owner = name.rpartition(".")[0]
    if owner:
        net.get_submodule(owner).register_forward_pre_hook(partial(_refuse, why))


def _refuse(why: str, *_: object) -> None:
    raise NotApplicable(why)


def under_our_names(tensors: Mapping[str, Tensor], names: NameMap, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names, parts not yet joined, and the official names that mean nothing to us."""
    ours: dict[str, Tensor] = {}
    unknown = []
    for official, tensor in tensors.items():
        if any(re.fullmatch(pattern, official) for pattern, _ in names.dropped):
            continue
        target = next((m.expand(new) for pattern, new in names.renamed if (m := re.fullmatch(pattern, official))), None)
        if target is None:
            unknown.append(f"{_shown(official)} {tuple(tensor.shape)}")
        elif target in ours:
            raise InputError(f"{source}: two tensors stand for '{_shown(target)}', one of them '{_shown(official)}'")
        else:
            ours[target] = tensor
    return ours, unknown


def _joined(parts: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    whole: dict[str, Tensor] = {}
    numbered: dict[str, dict[int, Tensor]] = {}
    for part, tensor in parts.items():
        if found := re.fullmatch(r"(.+)#(\d{1,4})", part):
            numbered.setdefault(found[1], {})[int(found[2])] = tensor
        else:
            whole[part] = tensor
    for name, pieces in numbered.items():
        in_order = [pieces[number] for number in sorted(pieces)]
        if sorted(pieces) != list(range(len(pieces))) or name in whole:
            raise InputError(f"{source}: of '{name}' there are the parts {sorted(pieces)}{' and the whole' if name in whole else ''}")
        if len({(piece.dtype, piece.shape[1:]) for piece in in_order}) > 1 or not in_order[0].ndim:
            kinds = ", ".join(f"{tuple(piece.shape)} {piece.dtype}" for piece in in_order)
            raise InputError(f"{source}: the parts of '{name}' do not fit each other: {kinds}")
        whole[name] = torch.cat(in_order)
    return whole


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a flat checkpoint (safetensors, or a torch file with nothing but tensors in a dictionary), by name.

    Raises
    ------
    InputError
        As `read_checkpoint`, or if the file holds anything else.
    """
    return only_tensors(read_checkpoint(path), str(path))


def only_tensors(found: Any, source: str) -> dict[str, Tensor]:
    """The same dictionary. Raises InputError, naming ``source``, if anything but tensors by name is in it."""
    if not isinstance(found, Mapping):
        raise InputError(f"{source} should hold tensors by name; it is a {type(found).__name__}")
    for name, value in found.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise InputError(f"{source} should hold tensors by name; {name!r} is a {type(value).__name__}; it has {list(found)[:SHOWN]}")
    return dict(found)


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """What a weights file holds: a dictionary, possibly nested, of tensors and plain values. No code in it is ever run.

    A file that holds one tensor and nothing else gives it the name ``tensor``; tuples come as lists, numpy numbers as Python's.
    Tensors are mapped from the file, which must stay as it is while they are in use; only what is looked at is read.

    Parameters
    ----------
    path
        A ``.safetensors`` file (a converted one comes back nested as it was), a file of `torch.save` under any other name, or the
        ``.index.json`` of a checkpoint in several files.

    Raises
    ------
    InputError
        If there is no such file, it is damaged or hostile, or holds something else.
    """
    if path.name.endswith(INDEX):
        return _read_parts(path)
    head = start_of(path)
    found = _read_safetensors(path, head) if path.suffix == ".safetensors" else read_torch(path, head)
    if isinstance(found, Tensor):
        return {"tensor": found}
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}; expected a dictionary")
    return found


def _read_safetensors(path: Path, head: bytes) -> Any:
    if head[8:9] != b"{":
        raise InputError(f"{path} is named .safetensors but is none (it begins with {head[:9]!r}); a file of torch.save is named .pt")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            tree = (file.metadata() or {}).get(TREE)
        if any(tensor.ndim > MOST_AXES for tensor in tensors.values()):
            raise ValueError(f"a tensor has more than {MOST_AXES} axes")
        return tensors if tree is None else plain(from_json(tree, tensors), str(path), len(tree))
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"{path} is cut or damaged, or no safetensors file: {str(error)[:200]}; download it again") from error


def _read_parts(path: Path) -> dict[Any, Any]:
    whole: dict[Any, Any] = {}
    for part, names in read_index(path).items():
        found = read_tensors(path.parent / part)
        if found.keys() != set(names) or not whole.keys().isdisjoint(found):
            odd = sorted(found.keys() ^ set(names)) or sorted(whole.keys() & found.keys())
            raise InputError(f"{path} does not fit the tensors in {part}: {odd[:SHOWN]}")
        whole |= found
    return whole
