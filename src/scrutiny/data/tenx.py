"""Cell Ranger's files: ``.h5`` of version 2 and 3, and folders of ``matrix.mtx``, features (or genes) and barcodes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import io, sparse

from scrutiny.core.errors import InputError

from .offer import Candidate, Offer
from .stored import Stored, opened

EXPRESSION = "Gene Expression"


def offer_of_h5(path: Path) -> Offer:
    """Version 3 has one group ``matrix``; version 2 has a group per genome.

    Raises
    ------
    InputError
        If there are several genomes, whose cells differ.
    """
    with opened(path) as root:
        genomes = ["matrix"] if "matrix" in root else [name for name, group in root.items() if "barcodes" in group]
        if len(genomes) != 1:
            raise InputError(f"{path} holds the genomes {genomes}; expected one; export the one you want to a file of its own")
        group = root[genomes[0]]
        ids, names, kind = ("features/id", "features/name", "features/feature_type") if "features" in group else ("genes", "gene_names", "")
        lacking = [part for part in ("barcodes", "data", "indices", "indptr", "shape", ids, names) if part not in group]
        if lacking:
            raise InputError(
                f"{path} lacks {', '.join(lacking)} in '{genomes[0]}'; expected a file of Cell Ranger; it is damaged or another kind"
            )
        kinds = _texts(group[kind]) if kind and kind in group else None
        return _offer_of_group(path, genomes[0], group, _genes(group[ids], group[names]), kinds)


def offer_of_folder(folder: Path) -> Offer:
    """A folder with ``matrix.mtx``, ``features.tsv`` or ``genes.tsv``, and ``barcodes.tsv``, each plain or gzipped."""
    matrix, barcodes = _member(folder, "matrix.mtx"), _member(folder, "barcodes.tsv")
    features = _member(folder, "features.tsv", "genes.tsv")
    cells = pd.Index(_table(barcodes)[0], name="cell")
    table = _table(features)
    var = _genes(table[0], table[1] if 1 in table else table[0])
    with (gzip.open if matrix.suffix == ".gz" else open)(matrix, "rb") as file:
        try:
            values = sparse.csr_matrix(io.mmread(file).T, dtype=np.float32)
        except (ValueError, EOFError) as error:
            raise InputError(f"{matrix} is not a whole Matrix Market file ({error}); download or copy it again") from error
    if values.shape != (len(cells), len(var)):
        what = f"{len(var):,} features in {features.name} and {len(cells):,} barcodes in {barcodes.name}"
        raise InputError(f"{matrix} is {values.shape[1]:,} by {values.shape[0]:,}, but there are {what}; the files do not belong together")
    kinds = table[2].to_numpy(str) if 2 in table else None
    return _offer(folder.name, cells, values, var, matrix.name, kinds)


def is_matrix_folder(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("matrix.mtx", "matrix.mtx.gz"))


def _offer_of_group(path: Path, key: str, group: Any, var: pd.DataFrame, kinds: NDArray[np.str_] | None) -> Offer:
    """The group holds features by barcodes, the entries of a barcode together: by cell, for us."""
    n_genes, n_cells = (int(n) for n in group["shape"][:])
    stored = Stored(path, key, "by cell", (n_cells, n_genes), int(group["data"].shape[0]))
    return _offer(path.name, pd.Index(_texts(group["barcodes"]), name="cell"), stored, var, f"group '{key}'", kinds)


def _offer(source: str, cells: pd.Index, values: Any, var: pd.DataFrame, words: str, kinds: NDArray[np.str_] | None) -> Offer:
    """One candidate, without antibodies, guides and peaks, which are not expression."""
    others = sorted({*kinds} - {EXPRESSION}) if kinds is not None else []
    if kinds is None or not others or EXPRESSION not in kinds:
        return Offer(source, pd.DataFrame(index=cells), {"X": Candidate(values, var, words)})
    columns = np.flatnonzero(kinds == EXPRESSION)
    note = f"{len(var) - len(columns):,} features that are not '{EXPRESSION}' ({', '.join(others)}) were left out."
    return Offer(source, pd.DataFrame(index=cells), {"X": Candidate(values, var.iloc[columns], words, columns)}, notes=(note,))


def _genes(ids: Any, names: Any) -> pd.DataFrame:
    return pd.DataFrame({"symbol": _texts(names)}, index=pd.Index(_texts(ids), name="gene"))


def _texts(values: Any) -> NDArray[np.str_]:
    return np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in values[:]])


def _member(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.exists():
                return path
    raise InputError(f"{folder} has no {' or '.join(names)} (plain or .gz); expected matrix.mtx, features.tsv (or genes.tsv), barcodes.tsv")


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False)
