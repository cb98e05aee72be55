"""Adapters on disk: ``adapter.safetensors`` with what was trained and nothing else, ``adapter.json`` with what it belongs to.

They are untrusted input: names, shapes and values are checked against what the net and the options ask for before anything is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scrutiny.core.atomic import write_atomic
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.export import write_checkpoint
from scrutiny.nets.folder import digest_of_file
from scrutiny.nets.weights import read_tensors

TENSORS, ABOUT = "adapter.safetensors", "adapter.json"
FORMAT = 1
SHOWN = 5
"""Names that a message lists."""


@dataclass(frozen=True)
class About:
    """What an adapter belongs to and how it was made.

    Attributes
    ----------
    family, base
        The model, and the key of the content of its weights: an adapter of other weights is refused.
    base_options
        How the model is used, as far as the vector of a cell depends on it.
    way, options
        How it was adapted, and the options of that way.
    few
        Whether it was trained by the rule for few labelled cells.
    labels
        Sorted, each once.
    trained
        How it was trained, for readers.
    """

    family: str
    base: str
    base_options: Mapping[str, Any]
    way: str
    options: Mapping[str, Any]
    few: bool
    labels: list[str]
    seed: int
    scrutiny: str
    trained: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


KINDS = {
    **dict.fromkeys(("family", "base", "way", "scrutiny"), str),
    **dict.fromkeys(("base_options", "options", "trained"), dict),
    **dict.fromkeys(("seed", "format"), int),
    "few": bool,
    "labels": list,
}


def is_whole(folder: Path) -> bool:
    """Whether an adapter lies there: what it belongs to is written last."""
    return (folder / ABOUT).is_file()


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], about: About) -> None:
    """Raises InputError if a weight is not finite, StoreError if a file cannot be written."""
    write_checkpoint(tensors, folder / TENSORS)
    write_atomic(folder / ABOUT, lambda file: file.write(json.dumps(asdict(about), indent=1, ensure_ascii=False).encode()))


def key_of(folder: Path) -> str:
    """Key of the content of both files. Raises InputError if one is not there."""
    for name in (TENSORS, ABOUT):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no adapter: it has no file {name}; expected a folder that `scrutiny adapt` wrote")
    return digest_of_json([digest_of_file(folder / TENSORS), digest_of_file(folder / ABOUT)])


def read_about(folder: Path) -> About:
    """Raises InputError if there is none, or it is not as `write_adapter` writes it."""
    key_of(folder)
    path = folder / ABOUT
    found = read_dictionary(path)
    odd = [name for name, kind in KINDS.items() if type(found.get(name)) is not kind]
    if odd or found.keys() != KINDS.keys():
        raise InputError(f"{path} is no record of an adapter: {odd or sorted(found.keys() ^ KINDS.keys())} missing, odd or unknown")
    if found["format"] != FORMAT:
        raise InputError(f"{path} has the format {found['format']}; this version reads {FORMAT}")
    labels = found["labels"]
    if len(labels) < 2 or not all(isinstance(label, str) and label for label in labels) or labels != sorted(set(labels)):
        raise InputError(f"{path} should list at least two labels, sorted, each once; found {labels[:SHOWN]}")
    return About(**found)


def check_base(about: About, *, family: str, base: str, options: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError, saying what was found and expected, if an adapter is of another model, other weights, or another use of them."""
    expected = {"family": (about.family, family), "base weights": (about.base, base)}
    expected |= {f"option {name}": (about.base_options.get(name), options.get(name)) for name in about.base_options.keys() | options.keys()}
    wrong = [f"{what}: the adapter has {its!r}, this model {ours!r}" for what, (its, ours) in expected.items() if its != ours]
    if wrong:
        raise InputError(f"the adapter in {folder} belongs to another model: {'; '.join(wrong)}")


def read_into(folder: Path, wanted: Mapping[str, Tensor]) -> None:
    """Copy the tensors of an adapter into these, which have the names and shapes that are asked for.

    Raises
    ------
    InputError
        If a tensor is missing, left over, of another shape or kind, or not finite.
    """
    path = folder / TENSORS
    found = read_tensors(path)
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or more:
        raise InputError(f"{path} does not fit: missing {missing[:SHOWN]}, left over {[name[:80] for name in more[:SHOWN]]}")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != torch.float32:
            has = f"{tuple(tensor.shape)} {tensor.dtype}"
            raise InputError(f"{path}: {name} is {has}; expected {tuple(wanted[name].shape)} torch.float32")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: {name} has values that are not finite")
    with torch.no_grad():
        for name, tensor in found.items():
            wanted[name].copy_(tensor)
