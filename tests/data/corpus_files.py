"""Small files of cells to build corpora of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scrutiny.data.corpus_config import CorpusConfig

N_GENES = 60
SYMBOLS = np.array([f"GENE{i}" for i in range(N_GENES)])
IDS = np.array([f"ENSG{i:011d}" for i in range(N_GENES)])
LOOSE = {"min_genes": 1, "min_counts": 0, "max_mito": 1.0, "min_cells": 1, "measured_in": 0.0, "validation": 0.2, "shard_cells": 16}
"""Limits that leave no cell and no gene out."""


def poisson(n_cells: int, seed: int, rate: float = 2.0) -> np.ndarray:
    """Counts (n_cells, N_GENES) of which no two rows are alike and most genes are expressed."""
    return np.random.default_rng(seed).poisson(rate, (n_cells, N_GENES)).astype(np.float32)


def write(path: Path, counts: np.ndarray, genes: np.ndarray | None = None, obs: Mapping[str, Any] | None = None, **more: Any) -> Path:
    """An h5ad of counts whose columns are these of the 60 genes, by default all in order; ``more`` goes to uns."""
    genes = np.arange(counts.shape[1]) if genes is None else genes
    var = pd.DataFrame({"symbol": SYMBOLS[genes], "ensembl_id": IDS[genes]}, index=SYMBOLS[genes])
    table = pd.DataFrame(dict(obs or {}), index=[f"c{i}" for i in range(len(counts))])
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=table, var=var)
    adata.uns["source"] = {"organism": "Homo sapiens", **more}
    adata.write_h5ad(path)
    return path


def config(folder: Path, *files: Any, **options: Any) -> CorpusConfig:
    return CorpusConfig.from_fields({"files": list(files), **LOOSE, **options}, folder, "made.toml")
