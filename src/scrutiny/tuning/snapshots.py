"""Snapshots: everything that a stopped training needs to go on as if it had not been stopped. Numbers and JSON, no pickles."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from scrutiny.core.errors import InputError, StoreError
from scrutiny.core.keys import digest_of_strings
from scrutiny.nets.folder import digest_of_file

KEPT = 2
"""Snapshots that are kept: should the last one be damaged, there is another."""


class Snapshot(NamedTuple):
    """``tensors`` of the modules and the optimiser by name, ``state``: plain values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def tensors_of(modules: nn.Module, optimiser: Optimizer, frozen: Collection[str] = ()) -> dict[str, Tensor]:
    """Weights, but for the ``frozen`` ones, and what the optimiser remembers of each, by name."""
    names = {id(parameter): name for name, parameter in modules.named_parameters()}
    found = {f"module/{name}": tensor for name, tensor in modules.state_dict().items() if name not in frozen}
    for parameter, state in optimiser.state.items():
        for what, value in state.items():
            found[f"optimiser/{names[id(parameter)]}/{what}"] = torch.as_tensor(value)
    return found


def restore(modules: nn.Module, tensors: Mapping[str, Tensor], frozen: Collection[str] = ()) -> None:
    """Give modules the weights of a snapshot, beside the ``frozen`` ones. Raises InputError if they are of another net or objective."""
    weights = {name.removeprefix("module/"): tensor for name, tensor in tensors.items() if name.startswith("module/")}
    weights |= {name: tensor for name, tensor in modules.state_dict().items() if name in frozen}
    try:
        modules.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"the snapshot is of another net or objective: {str(error)[:300]}") from error


def restore_optimiser(modules: nn.Module, optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what it remembered of each weight."""
    for name, parameter in modules.named_parameters():
        prefix = f"optimiser/{name}/"
        state = {key.removeprefix(prefix): tensor.to(parameter.device) for key, tensor in tensors.items() if key.startswith(prefix)}
        if state:
            optimiser.state[parameter] = state


class Snapshots:
    """``<folder>/step-0000000120/`` with ``tensors.safetensors`` and ``state.json``, each whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, step: int, snapshot: Snapshot, *, keep: int | None = None) -> None:
        """Write a snapshot and remove all but the last ones and that of the step ``keep``.

        Raises
        ------
        StoreError
            If the file system refuses; earlier snapshots are then as they were.
        """
        final, part = self._place(step), self.folder / ".part"
        try:
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            part.mkdir(parents=True)
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}, part / "tensors.safetensors")
            state = json.dumps(snapshot.state)
            sealed = {"state": state, "digest": _digest(part, state)}
            (part / "state.json").write_text(json.dumps(sealed), encoding="utf-8")
            for file in (*part.iterdir(), part):
                _sync(file)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(part, final)
            _sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise StoreError(
                f"a snapshot cannot be written into {self.folder} ({error}). Earlier ones are kept: make room there, or mend the "
                "permissions, then give the same command again; it goes on"
            ) from error
        kept = {*self._all()[-KEPT:], *([] if keep is None else [self._place(keep)])}
        for old in set(self._all()) - kept:
            shutil.rmtree(old, ignore_errors=True)

    def last(self) -> Snapshot | None:
        """The newest one that is whole; None if none was put. Raises InputError if all are damaged."""
        found = next(filter(None, map(_read, reversed(self._all()))), None)
        if found is None and self._all():
            raise InputError(
                f"no snapshot in {self.folder} is whole, or a version that this one cannot read wrote them; remove it to train anew"
            )
        return found

    def at(self, step: int) -> Snapshot:
        """That of a step. Raises InputError if it is not there or not whole."""
        found = _read(self._place(step))
        if found is None:
            raise InputError(f"{self._place(step)} is missing or damaged, and it holds the best weights; train anew in another folder")
        return found

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:010d}"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _read(place: Path) -> Snapshot | None:
    """None where a snapshot is not whole."""
    try:
        sealed = json.loads((place / "state.json").read_text(encoding="utf-8"))
        if _digest(place, sealed["state"]) != sealed["digest"]:
            return None
        return Snapshot(load_file(place / "tensors.safetensors"), json.loads(sealed["state"]))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def _digest(place: Path, state: str) -> str:
    """Of the tensors and of the state."""
    return digest_of_strings([digest_of_file(place / "tensors.safetensors"), state])


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
