"""Write an embedding where people look for it: into ``obsm`` of a copy of their file, or as a table with ids.

Values are written block by block, so an embedding that lies in pieces on disk is never in memory as a whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.errors import InputError, Misaligned
from scrutiny.core.outputs import CellEmbedding

FORMATS = (".h5ad", ".parquet", ".csv", ".npz")


class Vectors(Protocol):
    """An embedding that may lie on disk: ids (n_cells,) str and blocks of some cells (n, n_dims) float32, in the order of the ids."""

    @property
    def cell_ids(self) -> NDArray[np.str_]: ...
    @property
    def n_dims(self) -> int: ...
    def blocks(self) -> Iterator[NDArray[np.float32]]: ...


def check_target(path: str | Path, source: str | Path | None = None) -> None:
    """What can be wrong with the place of an output, told before hours are spent on it.

    Raises
    ------
    InputError
        If the suffix is not one of `FORMATS`, the folder is not there, or the path is the source itself.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"an embedding is written as {', '.join(FORMATS)}; found '{path.name}'")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.absolute().parent} to write {path.name} into; make it first")
    if source is not None and path.exists() and path.samefile(source):
        raise InputError(f"{path} is the file that was read; give another name, it is never written into")


def write_embedding(
    embedding: Vectors, path: str | Path, *, key: str, source: str | Path | None = None, about: Mapping[str, Any] | None = None
) -> Path:
    """Write an embedding; the file appears whole or not at all, and lasts once this returns.

    Parameters
    ----------
    embedding
        A `CellEmbedding`, or any other `Vectors`.
    path
        ``.h5ad``: a copy of ``source`` with ``obsm[key]`` set, nothing else touched and the matrix never loaded; without an h5ad
        source, a file of ids and ``obsm`` alone. ``.parquet`` and ``.csv``: a row a cell, columns ``key_1`` ...; ``.npz``: ``values``
        and ``cell_ids``.
    key
        Name in ``obsm``, e.g. ``X_harmony``.

    about
        How it was made; kept in ``uns[key]`` of an h5ad.

    Raises
    ------
    InputError
        See `check_target`.
    Misaligned
        If the source has other cells than the embedding.
    """
    path = Path(path)
    check_target(path, source)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        if path.suffix == ".h5ad":
            _into_h5ad(embedding, part, key, Path(source) if source is not None else None, dict(about or {}))
        else:
            with part.open("wb") as file:
                WRITERS[path.suffix](embedding, file, key)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _write_npz(embedding: Vectors, file: IO[bytes], key: str) -> None:
    shape = (len(embedding.cell_ids), embedding.n_dims)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("values.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for _, block in _placed(embedding):
                member.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        with archive.open("cell_ids.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asarray(embedding.cell_ids, str), allow_pickle=False)


def _write_csv(embedding: Vectors, file: IO[bytes], key: str) -> None:
    for i, table in enumerate(_tables(embedding, key)):
        table.to_csv(file, header=i == 0)


def _write_parquet(embedding: Vectors, file: IO[bytes], key: str) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    parts = (pyarrow.Table.from_pandas(table) for table in _tables(embedding, key))
    first = next(parts)
    with ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}


def _tables(embedding: Vectors, key: str) -> Iterator[pd.DataFrame]:
    """The cells block by block, a column a dimension."""
    columns = [f"{key}_{i + 1}" for i in range(embedding.n_dims)]
    for rows, block in _placed(embedding):
        yield pd.DataFrame(block, index=pd.Index(embedding.cell_ids[rows].astype(object), name="cell_id"), columns=columns)


def _placed(embedding: Vectors) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The blocks, each with its rows. Raises Misaligned if they are not as many as the ids."""
    start = 0
    for block in embedding.blocks():
        yield slice(start, start + len(block)), block
        start += len(block)
    if start != len(embedding.cell_ids):
        raise Misaligned(f"{start} rows but {len(embedding.cell_ids)} cell ids")


def _into_h5ad(embedding: Vectors, part: Path, key: str, source: Path | None, about: dict[str, Any]) -> None:
    import anndata

    if source is None or source.suffix != ".h5ad":
        anndata.AnnData(obs=pd.DataFrame(index=pd.Index(embedding.cell_ids, name="cell_id").astype(str))).write_h5ad(part)
    else:
        shutil.copyfile(source, part)
    with h5py.File(part, "r+") as file:
        _set_array(_mapping(file, "obsm"), key, _in_order_of(cell_ids_of(file), embedding))
        if about:
            anndata.io.write_elem(_mapping(file, "uns"), key, about)


def _mapping(file: h5py.File, name: str) -> h5py.Group:
    if name not in file:
        file.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return file[name]


def _set_array(group: h5py.Group, key: str, embedding: Vectors) -> None:
    if key in group:
        del group[key]
    array = group.create_dataset(key, (len(embedding.cell_ids), embedding.n_dims), "f4")
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for rows, block in _placed(embedding):
        array[rows] = block


def _in_order_of(cell_ids: NDArray[np.str_], embedding: Vectors) -> Vectors:
    """The embedding in the order of a file. Only where that is another one it is loaded as a whole."""
    if np.array_equal(cell_ids, embedding.cell_ids):
        return embedding
    return CellEmbedding(np.concatenate(list(embedding.blocks())), embedding.cell_ids).aligned_to(cell_ids)


def cell_ids_of(file: h5py.File) -> NDArray[np.str_]:
    """Ids (n_cells,) of the cells of an h5ad file."""
    import anndata

    obs = file["obs"]
    return np.asarray(anndata.io.read_elem(obs[obs.attrs["_index"]]), dtype=str)
