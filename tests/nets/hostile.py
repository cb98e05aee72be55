"""Files that mean harm, and the valid ones beside them: written byte by byte, as no library would write them."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Stored(NamedTuple):
    """In a pickled tree: a storage of so many numbers under this key."""

    kind: Any
    key: str
    numel: int


class Tensor:
    """In a pickled tree: a tensor over a storage, of any size, stride and offset."""

    def __init__(self, storage, size, stride, offset=0):
        self.arguments = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle._Pickler):
    def persistent_id(self, one):
        return ("storage", one.kind, one.key, "cpu", one.numel) if isinstance(one, Stored) else None


class _LegacyPickler(pickle._Pickler):
    def persistent_id(self, one):
        return ("storage", one.kind, one.key, "cpu", one.numel, None) if isinstance(one, Stored) else None


def pickled(tree, pickler=_Pickler):
    """Bytes as they are, everything else as a pickle of protocol 2."""
    if isinstance(tree, bytes):
        return tree
    file = io.BytesIO()
    pickler(file, protocol=2).dump(tree)
    return file.getvalue()


def write_zip(path: Path, tree, storages=None, *, compressed=False, more=()):
    """As `torch.save`; ``more`` are pairs (name, content) of further entries."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", pickled(tree))
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
        for name, content in more:
            archive.writestr(name, content)
    return path


def write_legacy(path: Path, tree, storages=None, *, lengths=None):
    """As `torch.save` before version 1.6; ``lengths`` are lies about those of the storages."""
    storages = storages or {}
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickled(one) for one in head] + [pickled(tree, _LegacyPickler), pickled(list(storages))]
    for key, content in storages.items():
        parts += [struct.pack("<q", (lengths or {}).get(key, len(content) // 4)), content]
    path.write_bytes(b"".join(parts))
    return path


def write_safetensors(path: Path, header, content=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
