"""Files of `torch.save`: raw numbers, and a pickle that says how tensors lie in them.

They are read here without `torch.load`, whose ``weights_only=True`` runs no foreign code either, but lets a small file ask for any
amount of memory (``torch.FloatTensor(10**12)``, texts encoded over and over, storages longer than the file), knows fewer numpy values
and differs between versions. Tensors are mapped from the file, not copied: what is not used is not read.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, UntypedStorage

from scrutiny.core.errors import InputError

from .pickles import DAMAGED, LARGEST, NAMES, Attributes, PlainUnpickler, Refused, StandIn
from .untrusted import plain

ZIP = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_AXES = 16
SHARED = 4
"""Several names may stand for one tensor, and a constant may be stored as one number: tensors may be so many times the file ..."""
STRETCHED = 1 << 30
"""... and so many bytes more."""
WAY_OUT = (
    "Such files can hold a program; only tensors, plain values and a few harmless names are read here. Ask the source for a "
    "state_dict or a .safetensors file; or, if you trust it, load the file where its packages are installed and save what matters anew: "
    "torch.save({'state_dict': ..., 'hyper_parameters': {...}})"
)
STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """A stretch of ``numel`` numbers in the file."""

    data: UntypedStorage
    dtype: torch.dtype
    numel: int


def read_torch(path: Path, head: bytes) -> Any:
    """What `torch.save` wrote, as plain containers of tensors.

    Raises
    ------
    InputError
        If the file is damaged, names anything beyond weights and plain values, or asks for more memory than its size accounts for.
    """
    try:
        if head.startswith(ZIP):
            return _read_zip(path)
        if head.startswith(b"\x80"):
            return _read_legacy(path)
    except Refused as error:
        raise InputError(f"{path} is refused: {error}. {WAY_OUT}") from error
    except (*DAMAGED, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is cut or damaged, or no file of weights ({type(error).__name__}: {str(error)[:200]})") from error
    kind = "a .tar archive, as torch wrote before version 0.2" if head[257:262] == b"ustar" else f"unknown: it begins with {head[:8]!r}"
    raise InputError(f"{path} should be a file of torch.save or safetensors; its kind is {kind}")


class _TensorUnpickler(PlainUnpickler):
    """A pickle with tensors, whose numbers ``storage`` hands out by (key, bytes)."""

    def __init__(self, file: io.BytesIO, storage: Callable[[str, int], UntypedStorage], n_bytes: int) -> None:
        super().__init__(file, self._known())
        self._storage = storage
        self._left = SHARED * n_bytes + STRETCHED

    def _known(self) -> dict[str, Any]:
        dtypes = {f"torch.{name}": one for name, one in vars(torch).items() if isinstance(one, torch.dtype)}
        storages = {f"{module}.{kind}Storage": dtype for kind, dtype in STORAGES.items() for module in ("torch", "torch.cuda")}
        same = StandIn(lambda one, *_: one)
        attributes = StandIn(Attributes)
        return {
            **NAMES,
            **dtypes,
            **storages,
            "torch.storage.UntypedStorage": torch.uint8,
            "torch._utils._rebuild_tensor": StandIn(self._tensor),
            "torch._utils._rebuild_tensor_v2": StandIn(self._tensor),
            "torch._utils._rebuild_tensor_v3": StandIn(self._tensor_of_type),
            "torch._utils._rebuild_parameter": same,
            "torch._utils._rebuild_parameter_with_state": same,
            "torch.Size": same,
            "torch.device": same,
            "builtins.set": same,
            "__builtin__.set": same,
            "pathlib.PosixPath": StandIn(_path),
            "pathlib.WindowsPath": StandIn(_path),
            "pathlib._local.PosixPath": StandIn(_path),
            "pathlib._local.WindowsPath": StandIn(_path),
            "argparse.Namespace": attributes,
            "pytorch_lightning.utilities.parsing.AttributeDict": attributes,
            "lightning.pytorch.utilities.parsing.AttributeDict": attributes,
            "lightning_fabric.utilities.data.AttributeDict": attributes,
            "lightning.fabric.utilities.data.AttributeDict": attributes,
        }

    def persistent_load(self, pid: Any) -> Storage:
        """A storage by ("storage", type, key, device, number of elements) and, in old files, where within another it lies."""
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(numel) is not int or numel < 0:
            raise Refused("it refers to something that is not a storage of numbers")
        data = self._storage(str(key), numel * dtype.itemsize)
        if not view or view[0] is None:
            return Storage(data, dtype, numel)
        _, begin, length = view[0]
        if begin < 0 or length < 0 or begin + length > numel:
            raise Refused("a part of a storage lies outside of it")
        return Storage(data[begin * dtype.itemsize : (begin + length) * dtype.itemsize], dtype, length)

    def _tensor(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        return self._tensor_of_type(storage, offset, size, stride, None, None, storage.dtype)

    def _tensor_of_type(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], _: Any, __: Any, dtype: torch.dtype, *___: Any
    ) -> Tensor:
        if min(offset, *size, *stride, 0) < 0 or len(size) != len(stride) or len(size) > MOST_AXES:
            raise Refused("a tensor has a shape that no tensor has")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if 0 not in size else -1
        if last >= storage.numel * storage.dtype.itemsize // dtype.itemsize:
            raise Refused("a tensor reaches beyond the numbers that are stored")
        self._left -= math.prod(size) * dtype.itemsize
        if self._left < 0:
            raise Refused("its tensors would be many times as large as the file")
        return torch.empty(0, dtype=dtype).set_(storage.data, offset, size, stride)


def _path(*parts: str) -> str:
    return str(PurePosixPath(*(part[:255] for part in parts)))


def _read_zip(path: Path) -> Any:
    """The format since torch 1.6: an uncompressed zip archive with data.pkl and one entry a storage."""
    n_bytes = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(PurePosixPath(entry.filename).name == "constants.pkl" for entry in entries):
            raise Refused("it is a TorchScript program")
        names = _checked_names(entries, n_bytes)
        roots = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == "data.pkl"]
        if len(roots) != 1:
            raise Refused(f"it is a zip archive with {len(roots)} files data.pkl; torch.save writes one")
        if f"{roots[0]}/byteorder" in names and archive.read(f"{roots[0]}/byteorder") != b"little":
            raise Refused("its numbers are stored in big-endian order")
        if names[f"{roots[0]}/data.pkl"].file_size > LARGEST:
            raise Refused(f"its list of tensors has more than {LARGEST >> 20} MB")
        pickled = archive.read(f"{roots[0]}/data.pkl")
    mapped = UntypedStorage.from_file(os.fspath(path), False, n_bytes)

    def storage(key: str, length: int) -> UntypedStorage:
        entry = names.get(f"{roots[0]}/data/{key}")
        if entry is None or entry.file_size < length:
            raise Refused(f"its storage '{key[:40]}' should have {length:,} bytes and has {entry.file_size if entry else 0:,}")
        begin = _begin(mapped, entry)
        return mapped[begin : begin + length]

    tree = _TensorUnpickler(io.BytesIO(pickled), storage, n_bytes).load()
    return plain(tree, str(path), len(pickled))


def _checked_names(entries: list[zipfile.ZipInfo], n_bytes: int) -> dict[str, zipfile.ZipInfo]:
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if ".." in parts.parts or parts.is_absolute():
            raise Refused(f"it is a zip archive with an entry {entry.filename[:80]!r} that climbs out of it")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise Refused(f"its entry {entry.filename[:80]!r} is compressed, of {entry.file_size:,} bytes; torch.save never does that")
    if sum(entry.file_size for entry in entries) > n_bytes:
        raise Refused("its entries are larger together than the file")
    names = {entry.filename: entry for entry in entries}
    if len(names) < len(entries):
        raise Refused("it is a zip archive with two entries of one name")
    return names


def _begin(mapped: UntypedStorage, entry: zipfile.ZipInfo) -> int:
    """Where the numbers of an entry begin: after its own header, whose length the archive's table of contents does not tell."""
    header = bytes(mapped[entry.header_offset : entry.header_offset + 30])
    if len(header) < 30 or not header.startswith(ZIP):
        raise Refused(f"its entry {entry.filename[:80]!r} is not where it should be")
    begin = entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if begin + entry.file_size > len(mapped):
        raise Refused(f"its entry {entry.filename[:80]!r} reaches beyond the end of the file")
    return begin


def _read_legacy(path: Path) -> Any:
    """The format until torch 1.6: five pickles in a row, then the storages, each with its length in front."""
    n_bytes = path.stat().st_size
    storages: dict[str, UntypedStorage] = {}
    left = n_bytes

    def storage(key: str, length: int) -> UntypedStorage:
        nonlocal left
        if key not in storages:
            left -= length
            if left < 0:
                raise Refused("its storages are larger together than the file")
            storages[key] = UntypedStorage(length)
        if len(storages[key]) < length:
            raise Refused(f"its storage '{key[:40]}' has two lengths")
        return storages[key]

    with path.open("rb") as file:
        pickled = io.BytesIO(file.read(LARGEST))
        if PlainUnpickler(pickled).load() != LEGACY_MAGIC:
            raise Refused("it is a pickle, but not one of torch.save")
        for _ in ("version of the format", "sizes of numbers on the machine that wrote it"):
            PlainUnpickler(pickled).load()
        tree = plain(_TensorUnpickler(pickled, storage, n_bytes).load(), str(path), pickled.tell())
        keys = PlainUnpickler(pickled).load()
        if not isinstance(keys, list) or {str(key) for key in keys} != storages.keys():
            raise Refused("it has other storages than its tensors need")
        file.seek(pickled.tell())
        for key in keys:
            _fill(storages[str(key)], file)
    return tree


def _fill(storage: UntypedStorage, file: io.BufferedReader) -> None:
    """Read a storage; its length in front, in numbers of unknown size, is not needed."""
    numbers = torch.empty(0, dtype=torch.uint8).set_(storage)
    if len(file.read(8)) < 8 or file.readinto(memoryview(numbers.numpy())) < len(storage):
        raise EOFError("it ends within a tensor")
