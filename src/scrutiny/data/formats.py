"""Which format a path holds, told from its content; and what to say where it is none of ours."""

from __future__ import annotations

import difflib
from pathlib import Path

from scrutiny.core.errors import InputError

from .anndata_files import offer_of_file
from .loom import offer_of_loom
from .offer import Offer
from .tenx import is_matrix_folder, offer_of_folder, offer_of_h5

EXPECTED = "expected h5ad, zarr, loom, a 10x .h5 file, or a folder with matrix.mtx, features.tsv and barcodes.tsv"
HOW_TO = {
    ".rds": "an R object: write it as h5ad from R, e.g. with the package zellkonverter",
    ".rdata": "an R workspace: write the object as h5ad from R, e.g. with the package zellkonverter",
    ".csv": "a table: write anndata.AnnData(table) as h5ad, cells in rows",
    ".tsv": "a table: write anndata.AnnData(table) as h5ad, cells in rows",
    ".txt": "a table: write anndata.AnnData(table) as h5ad, cells in rows",
    ".mtx": "a matrix without names: give the folder that also has features.tsv and barcodes.tsv",
    ".gz": "compressed: unpack it, or give the folder that has matrix.mtx.gz",
}
"""What common files of other kinds are, and the way from there."""


def offer_of(path: Path) -> Offer:
    """What the file or folder offers.

    Raises
    ------
    InputError
        If there is nothing at that path, or nothing that can be read.
    """
    if not path.exists():
        raise InputError(_missing(path))
    if path.is_dir():
        return _offer_of_directory(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); {EXPECTED}; copy or download it again")
    import h5py

    if not h5py.is_hdf5(path):
        raise InputError(_not_hdf5(path))
    with h5py.File(path, "r") as root:
        names = set(root)
        has_barcodes = any("barcodes" in node for node in root.values() if isinstance(node, h5py.Group))
    if {"obs", "var"} <= names:
        return offer_of_file(path)
    if {"row_attrs", "col_attrs"} <= names:
        return offer_of_loom(path)
    if has_barcodes:
        return offer_of_h5(path)
    if "mod" in names:
        raise InputError(f"{path} is a MuData file of several modalities; write the RNA alone: mdata['rna'].write_h5ad('rna.h5ad')")
    raise InputError(f"{path} is an HDF5 file, but with {sorted(names)[:8] or 'nothing'} in it; {EXPECTED}")


def _offer_of_directory(path: Path) -> Offer:
    if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return offer_of_file(path)
    if is_matrix_folder(path):
        return offer_of_folder(path)
    inside = [
        str(p) for p in sorted(path.iterdir()) if p.suffix in (".h5ad", ".zarr", ".loom", ".h5") or (p.is_dir() and is_matrix_folder(p))
    ]
    hint = f"did you mean one of {inside[:5]}?" if inside else EXPECTED
    raise InputError(f"{path} is a folder, but neither zarr nor a 10x matrix folder; {hint}")


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent}, so no {path.name} in it; check the path"
    near = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()])
    return f"there is no file {path}; " + (f"did you mean {near}?" if near else f"the folder {parent} has nothing of a similar name")


def _not_hdf5(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in HOW_TO:
        return f"{path} is {HOW_TO[suffix]}"
    with path.open("rb") as file:
        start = file.read(64)
    if start.lstrip()[:1] == b"<":
        return f"{path} is a web page, not data; the download failed or needs a login: download it again"
    return f"{path} is not an HDF5 file (it begins with {start[:8]!r}); {EXPECTED}; if it should be one, copy or download it again"
