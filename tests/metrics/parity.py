"""The parity fixture of metrics: real cells, six embeddings of each, and what independent packages say of them.

Everything is in `parity/metrics` of the shared reference material; its README says how it was made.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse

from scrutiny.core.evidence import Evidence

DATASETS = ("pbmc_3chem_symphony", "sc_mixology", "pbmc_multistudy_3000")
EMBEDDINGS = ("hvg", "pca", "harmony", "shuffled", "onehot", "scvi")

LARGEST = ("pbmc_multistudy_3000", "hvg")
"""3,000 cells by 2,000 genes: a third of the time of all cases."""


@cache
def stored_rows(folder: Path) -> list[dict]:
    return json.loads((folder / "values.json").read_text())["values"]


@cache
def stored_values(folder: Path) -> dict:
    """Row by data set, embedding and recipe; of recipes with a row per resolution the last one."""
    return {(r["dataset"], r["embedding"], r["recipe"]): r for r in stored_rows(folder)}


@cache
def arrays(folder: Path, dataset: str) -> dict:
    with np.load(folder / f"{dataset}_embeddings.npz") as stored:
        found = {name: stored[name] for name in stored.files}
    parts = tuple(found[f"hvg_counts_{part}"] for part in ("data", "indices", "indptr"))
    counts = sparse.csr_matrix(parts, shape=(len(found["label"]), len(found["hvg_genes"]))).toarray()
    found["hvg"] = np.log1p(counts.astype(float) * (1e4 / found["total_counts"][:, None])).astype(np.float32)
    return found


@cache
def evidence_of(folder: Path, dataset: str, embedding: str) -> Evidence:
    stored = arrays(folder, dataset)
    given = {"embedding": stored[embedding], "labels": stored["label"], "batch": stored["batch"], "reference": stored["pca"]}
    return Evidence(given)
