"""A corpus: a folder of shards of cells in random order, the genes that they share, and a manifest that says where they come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix

MANIFEST, HASHES, GENES = "manifest.json", "cells.npz", "genes.tsv"
FORMAT = 1
"""Version of the folder; rises when older ones can no longer be read as they are."""


class Corpus:
    """The cells that models are trained on, read shard by shard.

    Attributes
    ----------
    folder
        As `build_corpus` made it.
    manifest
        Where the cells come from, what was left out and why, totals and versions.
    train, validation
        Names of the shards; cells are dealt to them at random, so any shard is a sample of the corpus.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError if the folder holds no finished corpus."""
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.train: list[str] = self.manifest["shards"]["train"]
        self.validation: list[str] = self.manifest["shards"]["validation"]
        lacking = [name for name in (*self.train, *self.validation, GENES) if not (self.folder / name).is_file()]
        if lacking:
            raise InputError(f"{self.folder} lacks {lacking[0]}, which its manifest lists; copy the folder again, or build it again")

    @property
    def n_cells(self) -> int:
        """Cells of training and validation."""
        return int(self.manifest["cells"]["train"] + self.manifest["cells"]["validation"])

    @property
    def organism(self) -> str:
        return str(self.manifest["config"]["organism"])

    @cached_property
    def genes(self) -> pd.DataFrame:
        """One row per gene, indexed by gene id, in the order of the columns of every shard.

        ``symbol`` and ``ensembl_id`` ('' where unknown), ``n_cells`` that express it, ``n_measured`` cells whose file lists it, and
        ``median`` of count / total of the cell * 10,000 over the cells that express it.
        """
        return pd.read_csv(self.folder / GENES, sep="\t", index_col="gene", dtype={"symbol": str, "ensembl_id": str}, keep_default_na=False)

    def read(self, shard: str) -> Dataset:
        """The cells of one shard, in memory: counts of the corpus's genes.

        ``obs`` is indexed by cell id and has ``study``, ``file``, ``label``, ``ontology`` ('' where unknown) and ``total``: the counts
        over all genes of the source, which tokenisers divide by.
        """
        from anndata.io import read_elem

        with h5py.File(self.folder / shard, "r") as file:
            parts = [file["X"][part][:] for part in ("data", "indices", "indptr")]
            obs = read_elem(file["obs"])
        values = sparse.csr_matrix(tuple(parts), shape=(len(obs), len(self.genes)))
        roles = {"batch": "study"} | ({"label": "label"} if (obs["label"] != "").any() else {})
        return Dataset(f"{self.folder.name}/{shard}", CsrMatrix(values), obs, self.genes, roles, organism=self.organism)

    def measured(self, file: str) -> NDArray[np.bool_]:
        """Genes (n_genes,) that a source file, named as in ``obs["file"]``, lists; the counts of the others are 0 for want of measuring."""
        mask = np.ones(len(self.genes), dtype=bool)
        mask[self.manifest["files"][file]["genes_not_listed"]] = False
        return mask

    def carry_to(self, folder: str | Path) -> None:
        """Put what an audit needs into the folder of a model that was trained on this corpus."""
        for name in (HASHES, MANIFEST):
            shutil.copyfile(self.folder / name, Path(folder) / name)


def is_manifest_of_ours(folder: Path) -> bool:
    """Whether a folder says which corpus it is, or was trained on."""
    try:
        return "scrutiny_corpus" in json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a corpus, or of a model that was trained on one. Raises InputError if there is none that can be read."""
    if not is_manifest_of_ours(folder):
        raise InputError(f"{folder} holds no finished corpus: there is no {MANIFEST} of one. Make one with 'scrutiny corpus build'")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    if manifest["scrutiny_corpus"] != FORMAT:
        raise InputError(f"{folder} is a corpus of format {manifest['scrutiny_corpus']}; this version reads {FORMAT}: build it again")
    return manifest
