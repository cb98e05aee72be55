"""A checkpoint without pickles: the same numbers as safetensors and JSON, which hold no code and are mapped instead of copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scrutiny.core.errors import InputError

from .dictionaries import INDEX, read_dictionary, read_index, to_json
from .folder import CONVERTED, digest_of_file
from .pickles import LARGEST
from .untrusted import start_of
from .weights import TREE, read_checkpoint

COPIED = {".json", ".csv", ".tsv", ".txt", ".md", ".npy", ".safetensors", ".parquet"}
"""Endings of files that hold no code, which are copied as they are."""
SAMPLES = {".h5ad", ".npz"}
"""Endings of files with cells, which may be large and of which models need only these:"""
GENE_ORDERS = ("model.h5ad", "panglao_*.h5ad")
"""Patterns of files with cells in which a model (Nicheformer, scBERT) finds the order of its genes."""
TRAINING = {"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"}
"""What trainers leave beside the weights, of no use to anyone else."""
SOURCE = "scrutiny:source"
"""Metadata of a converted safetensors file: SHA-256 of the file that it was made from."""


class Conversion(NamedTuple):
    """What became of the files of a checkpoint, by their path in it: new paths of the converted and copied, reasons for the others."""

    converted: dict[str, str]
    copied: dict[str, str]
    left_out: dict[str, str]


def convert(folder: str | Path, out: str | Path, *, tell: Callable[[str], None] = lambda line: None) -> Conversion:
    """Write a checkpoint anew without pickles; every family reads the new folder to the same numbers.

    Files of `torch.save` become ``.safetensors``: nested dictionaries are laid flat, with "/" between their keys; how they were nested,
    their order and the plain values beside them are kept in the metadata. Weights in several files become one. Pickled dictionaries
    become ``.json``. Tables and what is safe already are copied, all else is left out, sample data too. Each file is written whole or
    not at all; what is there already is written again where the source has changed, and other files of the target stay.

    Parameters
    ----------
    tell
        Is called with a line for each file before it is read.

    Raises
    ------
    InputError
        If a file is hostile or damaged, two would get one name, or the new folder lies in the old one.
    """
    source, target = Path(folder), Path(out)
    if not source.is_dir():
        raise InputError(f"there is no folder {source}; expected one that holds the files of a checkpoint")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"the new folder {target} lies in {source}; name one outside, the official files stay as they are")
    result = Conversion({}, {}, {})
    taken: dict[str, str] = {}
    for path, becomes in _plan(source, result.left_out):
        name = path.relative_to(source).as_posix()
        new = target / path.relative_to(source).with_name(becomes)
        place = new.relative_to(target).as_posix()
        if place in taken:
            raise InputError(f"{name} and {taken[place]} would both become {place}; keep one of them")
        taken[place] = name
        tell(f"{name} -> {place}")
        write = _writer(path, new)
        (result.copied if write is shutil.copyfile else result.converted)[name] = place
        if not _is_done(path, new, write):
            _whole(path, new, write)
    return result


def _plan(source: Path, left_out: dict[str, str]) -> list[tuple[Path, str]]:
    """Every file to be written with its new name, in the order of the names."""
    files = sorted(
        Path(parent, name)
        for parent, folders, names in os.walk(source)
        if not any(part.startswith(".") for part in Path(parent).relative_to(source).parts)
        for name in names
        if not name.startswith(".")
    )
    parts = {path.parent / part: path.name for path in files if path.name.endswith(INDEX) for part in read_index(path)}
    plan = []
    for path in files:
        name = path.relative_to(source).as_posix()
        if path.name in TRAINING or path.name.startswith("rng_state"):
            left_out[name] = "state of the training, not of the model"
        elif path in parts:
            left_out[name] = f"part of {parts[path]}, which is converted as a whole"
        elif path.name.endswith(INDEX):
            plan.append((path, Path(path.name.removesuffix(INDEX)).with_suffix(".safetensors").name))
        elif path.suffix in CONVERTED and _is_pickle_or_zip(path):
            plan.append((path, path.with_suffix(CONVERTED[path.suffix]).name))
        elif path.suffix in COPIED or "LICENSE" in path.name.upper() or any(map(path.match, GENE_ORDERS)):
            plan.append((path, path.name))
        elif path.suffix in SAMPLES:
            left_out[name] = "sample data, which no model reads"
        else:
            left_out[name] = "neither weights nor a table"
    return plan


def _is_pickle_or_zip(path: Path) -> bool:
    """Other files ending in .bin, such as an index for searching, are no weights. Pickles of before 2003 begin with a letter."""
    return start_of(path).startswith((b"\x80", b"PK")) or path.suffix != ".bin"


Writer = Callable[[Path, Path], Any]


def _writer(path: Path, new: Path) -> Writer:
    if path.name.endswith(INDEX) or (path.suffix != ".safetensors" and new.suffix == ".safetensors"):
        return _write_tensors
    return _write_dictionary if path.suffix != new.suffix else shutil.copyfile


def _write_tensors(path: Path, new: Path) -> None:
    tensors: dict[str, Tensor] = {}
    nested = to_json(read_checkpoint(path), tensors)
    stored: set[int] = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.data_ptr() in stored or not tensor.is_contiguous() or len(storage) != tensor.nbytes:
            tensors[name] = tensor.contiguous().clone()  # safetensors stores no tensor that shares its numbers with another
        stored.add(storage.data_ptr())
    save_file(tensors, new, {"format": "pt", SOURCE: _digest(path), TREE: nested})


def _write_dictionary(path: Path, new: Path) -> None:
    text = to_json(read_dictionary(path))
    if len(text) > LARGEST:
        raise InputError(f"{path} would have {len(text):,} bytes as JSON; at most {LARGEST:,} are read")
    new.write_text(text, encoding="utf-8")


def _whole(path: Path, new: Path, write: Writer) -> None:
    part = new.with_name(f"{new.name}.part")
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.touch()
            usual = part.stat().st_mode
            write(path, part)
            part.chmod(usual)  # safetensors makes files that nobody else may read
            os.replace(part, new)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{new} cannot be written: {error}; is there space, and may you write there?") from error


def _is_done(path: Path, new: Path, write: Writer) -> bool:
    """Whether an earlier call made the new file from what the old one holds now. Dictionaries are small and written anew."""
    if not new.is_file():
        return False
    if write is shutil.copyfile:
        return path.stat().st_size == new.stat().st_size and digest_of_file(path) == digest_of_file(new)
    return write is _write_tensors and _source_of(new) == _digest(path)


def _source_of(new: Path) -> str | None:
    """Digest of the file that a converted one was made from."""
    try:
        with safe_open(new, framework="pt") as file:
            return (file.metadata() or {}).get(SOURCE)
    except SafetensorError:
        return None


def _digest(path: Path) -> str:
    """SHA-256 of the content, of all parts where it is in several files."""
    parts = [path.parent / part for part in sorted(read_index(path))] if path.name.endswith(INDEX) else []
    return " ".join(digest_of_file(file) for file in (path, *parts))
