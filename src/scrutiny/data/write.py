"""Write an embedding where people look for it: into ``obsm`` of a copy of their file, or as a table with ids."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding

FORMATS = (".h5ad", ".parquet", ".csv", ".npz")


def write_embedding(
    embedding: CellEmbedding, path: str | Path, *, key: str, source: str | Path | None = None, about: Mapping[str, str] | None = None
) -> Path:
    """Write an embedding; the file appears whole or not at all.

    Parameters
    ----------
    embedding
        values (n_cells, n_dims) with their cell ids.
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
        If the suffix is another one, or the path is the source itself.
    Misaligned
        If the source has other cells than the embedding.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"an embedding is written as {', '.join(FORMATS)}; found '{path.name}'")
    if source is not None and path.exists() and path.samefile(source):
        raise InputError(f"{path} is the file that was read; give another name, it is never written into")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix == ".h5ad":
            _into_h5ad(embedding, part, key, Path(source) if source is not None else None, dict(about or {}))
        else:
            _as_table(embedding, part, path.suffix, key)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _as_table(embedding: CellEmbedding, part: Path, suffix: str, key: str) -> None:
    if suffix == ".npz":
        with part.open("wb") as file:
            np.savez_compressed(file, values=embedding.values, cell_ids=np.asarray(embedding.cell_ids, str))
    else:
        columns = [f"{key}_{i + 1}" for i in range(embedding.values.shape[1])]
        table = pd.DataFrame(embedding.values, index=pd.Index(embedding.cell_ids, name="cell_id"), columns=columns)
        with part.open("wb") as file:
            table.to_csv(file) if suffix == ".csv" else table.to_parquet(file)


def _into_h5ad(embedding: CellEmbedding, part: Path, key: str, source: Path | None, about: dict[str, str]) -> None:
    import anndata

    if source is None or source.suffix != ".h5ad":
        obs = pd.DataFrame(index=pd.Index(embedding.cell_ids, name="cell_id").astype(str))
        anndata.AnnData(obs=obs, obsm={key: embedding.values}, uns={key: about} if about else {}).write_h5ad(part)
        return
    shutil.copyfile(source, part)
    with h5py.File(part, "r+") as file:
        values = embedding.aligned_to(_cell_ids(file)).values
        for group, content in (("obsm", values), ("uns", about)):
            if len(content):
                anndata.io.write_elem(file.require_group(group), key, content)


def _cell_ids(file: h5py.File) -> np.ndarray:
    import anndata

    obs = file["obs"]
    return np.asarray(anndata.io.read_elem(obs[obs.attrs["_index"]]), dtype=str)
