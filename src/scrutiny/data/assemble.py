"""Catalogue entries that are published in pieces, put together as one h5ad."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.core.registry import require

from .tenx import offer_of_folder

if TYPE_CHECKING:
    from anndata import AnnData

POPULATIONS = {
    "b_cells": "CD19+ B",
    "cd14_monocytes": "CD14+ Monocyte",
    "cd34": "CD34+",
    "cd4_t_helper": "CD4+ T Helper2",
    "cd56_nk": "CD56+ NK",
    "cytotoxic_t": "CD8+ Cytotoxic T",
    "memory_t": "CD4+/CD45RO+ Memory",
    "naive_cytotoxic": "CD8+/CD45RA+ Naive Cytotoxic",
    "naive_t": "CD4+/CD45RA+/CD25- Naive T",
    "regulatory_t": "CD4+/CD25 T Reg",
}
"""10x's file name -> the population's name in Zheng et al. (2017)."""

SCVI_LAYOUT = {
    "pbmc4k.tar.gz": "pbmc4k/filtered_gene_bc_matrices.tar.gz",
    "pbmc8k.tar.gz": "pbmc8k/filtered_gene_bc_matrices.tar.gz",
    "gene_info.csv": "gene_info_pbmc.csv",
    "pbmc_metadata.pickle": "pbmc_metadata.pickle",
}
"""Our name -> where scvi-tools looks before it downloads."""

MATRIX_FILES = ("matrix.mtx", "genes.tsv", "features.tsv", "barcodes.tsv")


def sorted_populations(files: Mapping[str, Path]) -> AnnData:
    """Ten sorted populations as one AnnData; ``files`` maps ``b_cells.tar.gz`` and so on to downloads.

    Raises
    ------
    InputError
        If an archive is broken or the populations differ in their genes.
    """
    from anndata import AnnData

    values, obs, var = [], [], None
    for population, label in POPULATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            offer = offer_of_folder(_unpacked(files[f"{population}.tar.gz"], Path(folder)))
        candidate = offer.candidates["X"]
        if var is not None and not candidate.var.index.equals(var.index):
            raise InputError(f"{population} has other genes than the populations before it; remove its download and fetch it again")
        var = candidate.var
        values.append(candidate.values)
        obs.append(pd.DataFrame({"cell_type": label}, index=f"{population}_" + offer.obs.index.astype(str)))
    return AnnData(sparse.vstack(values, format="csr"), pd.concat(obs), var)


def scvi_pbmc(files: Mapping[str, Path]) -> AnnData:
    """What ``scvi.data.pbmc_dataset`` makes of its four downloads, which it finds laid out as it would have stored them.

    Raises
    ------
    MissingDependency
        If scvi-tools is not installed.
    """
    require(["scvi"], "scvi", needed_by="the data set pbmc_12k")
    from scvi.data import pbmc_dataset

    with tempfile.TemporaryDirectory() as folder:
        for name, place in SCVI_LAYOUT.items():
            target = Path(folder) / place
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(files[name], target)
        adata = pbmc_dataset(save_path=f"{folder}{os.sep}")
    adata.obsm.clear()  # quality metrics under numeric names, which h5ad does not hold
    return adata


ASSEMBLERS: dict[str, Callable[[Mapping[str, Path]], AnnData]] = {"sorted_populations": sorted_populations, "scvi_pbmc": scvi_pbmc}


def _unpacked(archive: Path, folder: Path) -> Path:
    """The files of a 10x matrix, wherever in the archive they lie. Names within the archive never become paths."""
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = Path(member.name).name
                if member.isfile() and name.removesuffix(".gz") in MATRIX_FILES:
                    with open(folder / name, "wb") as out:
                        shutil.copyfileobj(opened.extractfile(member), out)  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive} is not a whole tar.gz archive ({error}); remove it and fetch it again") from error
    return folder
