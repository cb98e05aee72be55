"""Loom files: HDF5 with genes in rows. Read with h5py, so no other package is needed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scrutiny.core.errors import InputError

from .offer import Candidate, Offer
from .stored import Stored, opened

CELL_IDS = ("CellID", "obs_names", "cell_names", "barcode", "Barcode")
GENE_IDS = ("Gene", "var_names", "gene_names", "Accession")
"""Attributes that name cells and genes, best first."""


def offer_of_loom(path: Path) -> Offer:
    """The main matrix is X; attributes of one value per cell become obs, those of several columns obsm."""
    with opened(path) as root:
        cells, genes = _attributes(root["col_attrs"]), _attributes(root["row_attrs"])
        obs, var = _table(path, cells, CELL_IDS), _table(path, genes, GENE_IDS)
        candidates = {"X": Candidate(_located(path, "matrix", root["matrix"]), var)}
        for name, node in root.get("layers", {}).items():
            candidates[name] = Candidate(_located(path, f"layers/{name}", node), var, f"layer '{name}'")
    obsm = {name: partial(np.copy, values) for name, values in cells.items() if values.ndim == 2}
    return Offer(path.name, obs, candidates, obsm)


def _located(path: Path, key: str, node: Any) -> Stored:
    n_genes, n_cells = (int(n) for n in node.shape)
    return Stored(path, key, "dense, genes first", (n_cells, n_genes), n_genes * n_cells)


def _attributes(group: Any) -> dict[str, np.ndarray]:
    found = {name: np.asarray(node[:]) for name, node in group.items()}
    return {name: np.char.decode(v) if v.dtype.kind == "S" else _decoded(v) if v.dtype.kind == "O" else v for name, v in found.items()}


def _decoded(values: np.ndarray) -> np.ndarray:
    return np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in values.ravel()]).reshape(values.shape)


def _table(path: Path, attributes: dict[str, np.ndarray], ids: Iterable[str]) -> pd.DataFrame:
    name = next((n for n in ids if n in attributes), None)
    if name is None:
        raise InputError(f"{path} names its cells or genes by none of {list(ids)} (it has {sorted(attributes)}); add one of them")
    return pd.DataFrame({n: v for n, v in attributes.items() if v.ndim == 1 and n != name}, index=pd.Index(attributes[name].astype(str)))
