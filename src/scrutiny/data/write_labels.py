"""Write labels where people look for them: into ``obs`` of a copy of their file, or as a table with ids."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import h5py
import pandas as pd

from scrutiny.core.atomic import PART
from scrutiny.core.errors import InputError, Misaligned

from .write import cell_ids_of

FORMATS = (".csv", ".tsv", ".h5ad")


def check_labels_target(path: Path, source: Path) -> None:
    """What can be wrong with the place of labels, told before they are made.

    Raises
    ------
    InputError
        If the suffix is not one of `FORMATS`, ``.h5ad`` is asked for of another kind of file, the folder is not there, or the path is
        the source itself.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"labels are written as {', '.join(FORMATS)}; found '{path.name}'")
    if path.suffix == ".h5ad" and source.suffix != ".h5ad":
        raise InputError(f"labels go into a copy of an h5ad file; {source.name} is none, so write them as .csv or .tsv")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.absolute().parent} to write {path.name} into; make it first")
    if path.exists() and path.samefile(source):
        raise InputError(f"{path} is the file that was read; give another name, it is never written into")


def write_labels(table: pd.DataFrame, path: Path, source: Path) -> None:
    """Write columns of cells; the file appears whole or not at all.

    Parameters
    ----------
    table
        A row a cell, indexed by cell id.
    path
        ``.h5ad``: a copy of ``source`` with these columns in ``obs`` (text as categories), nothing else touched; ``.csv``, ``.tsv``.

    Raises
    ------
    InputError
        See `check_labels_target`.
    Misaligned
        If the source has other cells than the table.
    """
    check_labels_target(path, source)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        if path.suffix == ".h5ad":
            shutil.copyfile(source, part)
            with h5py.File(part, "r+") as file:
                _set_columns(file, table)
        else:
            table.to_csv(part, sep="\t" if path.suffix == ".tsv" else ",", index_label="cell_id")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _set_columns(file: h5py.File, table: pd.DataFrame) -> None:
    import anndata

    ids, obs = cell_ids_of(file), file["obs"]
    if len(ids) != len(table) or not table.index.isin(ids).all():
        raise Misaligned(f"the file has {len(ids):,} cells, the labels are of {len(table):,}; they must be the same")
    for name, column in table.loc[ids].items():
        if name in obs:
            del obs[name]
        values = column.to_numpy() if pd.api.types.is_numeric_dtype(column) else pd.Categorical(column)
        anndata.io.write_elem(obs, str(name), values)
    order = [str(name) for name in obs.attrs["column-order"]]
    obs.attrs["column-order"] = [*order, *(name for name in table.columns if name not in order)]
