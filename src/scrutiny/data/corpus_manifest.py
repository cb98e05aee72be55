"""What is written down of a corpus: its genes, the hashes of its cells, and where they come from and what was left out."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.atomic import write_atomic
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json

from .cell_hashes import FEWEST_EXPRESSED, gene_keys
from .corpus import FORMAT, GENES, HASHES, MANIFEST
from .corpus_config import CorpusConfig
from .corpus_genes import Medians, chosen_genes
from .corpus_judge import KEPT, NO_GENE, Judge, Judged
from .corpus_shards import Columns, Dealing, Found
from .corpus_sources import Source, Union, sha256_of

PANELS = (1000, 250, 64)
"""Sizes of the panels of genes over which cells are hashed for audits, each the start of the one before."""
PACKAGES = ("scrutiny", "numpy", "pandas", "scipy", "anndata", "h5py")


class Built(NamedTuple):
    """All that the manifest tells of; ``judged`` and ``found`` by name of the file, ``held`` the hashes of cells held out, file by file."""

    config: CorpusConfig
    key: str
    sources: Mapping[str, Source]
    judge: Judge
    columns: Columns
    dealing: Dealing
    judged: Mapping[str, Judged]
    found: Mapping[str, Found]
    shards: list[str]
    held: list[NDArray[np.uint64]]

    def lacking(self, name: str) -> NDArray[np.bool_]:
        """Genes of the corpus (n_genes,) that a file does not list."""
        union = self.judge.union
        return ~union.lists.listed[union.list_of[name], self.columns.rows]

    def verdicts(self, name: str) -> NDArray[np.int64]:
        """Verdict (n_cells,) on each cell of a file, with those that turned out to express no gene of the corpus."""
        verdict = self.judged[name].verdict.astype(np.int64)
        verdict[self.found[name].no_gene] = self.judge.reasons(self.sources[name]).index(NO_GENE)
        return verdict


def key_of(config: CorpusConfig, digests: Mapping[str, str]) -> str:
    """Key of a corpus, built or not: of its config and the SHA-256 of each file by name."""
    return digest_of_json([FORMAT, described(config), dict(digests)])


def described(config: CorpusConfig) -> dict[str, Any]:
    """A config as JSON holds it: files by name, not by where they lie."""
    told = asdict(config)
    for listed in ("files", "hold_out_cells_of"):
        told[listed] = [{**file, "path": Path(file["path"]).name} for file in told[listed]]
    for tables in ("gene_tables", "orthologues"):
        paths = [Path(source) for source in told[tables].split(",") if source]
        told[tables] = {path.name: sha256_of(path) if path.is_file() else "" for path in paths}
    told["genes"] = config.genes if isinstance(config.genes, int) else config.genes.read_text("utf-8").split()
    return told


def columns_of(union: Union, judged: Mapping[str, Judged], config: CorpusConfig) -> Columns:
    """The genes of the corpus and the panels for audits. Raises InputError if no cell or no gene is left."""
    n_kept = {name: len(some.whole) for name, some in judged.items()}
    if not sum(n_kept.values()):
        n_read = sum(len(some.verdict) for some in judged.values())
        raise InputError(f"of {n_read:,} cells none is left; look at min_genes, min_counts, max_mito and at what is held out")
    measured = sum(n * union.lists.listed[union.list_of[name]].astype(np.int64) for name, n in n_kept.items())
    table = union.genes.table().assign(n_cells=sum(some.n_expressing for some in judged.values()), n_measured=measured)
    table.attrs["n_cells"] = sum(n_kept.values())
    rows = chosen_genes(table, config)
    chosen = table.iloc[rows]
    return Columns(chosen, rows, gene_keys(chosen.index), _panels(chosen, sum(n_kept.values())))


def _panels(genes: pd.DataFrame, n_cells: int) -> NDArray[np.bool_]:
    """Genes (n_panels, n_genes) of each panel, largest first.

    They are the genes that most cells express of those that all files list. Mitochondrial ones are left out, as many files lack them.
    """
    usable = (genes["n_measured"] == n_cells) & ~genes["symbol"].str.upper().str.startswith("MT-")
    ranked = genes.assign(column=np.arange(len(genes)), id=genes.index)[usable].sort_values(["n_cells", "id"], ascending=[False, True])
    sizes = sorted({min(size, len(ranked)) for size in PANELS} - set(range(FEWEST_EXPRESSED)), reverse=True)
    panels = np.zeros((len(sizes), len(genes)), dtype=bool)
    for panel, size in zip(panels, sizes, strict=True):
        panel[ranked["column"].to_numpy()[:size]] = True
    return panels


def medians_of(found: Iterable[Found], n_genes: int) -> NDArray[np.float64]:
    """Median (n_genes,) of count / total * 10,000 over the cells that express a gene; see `Medians`."""
    medians = Medians(n_genes)
    for some in found:
        medians.histogram.reshape(-1)[some.bins] += some.counts
    return medians.values()


def write_manifest(folder: Path, built: Built) -> None:
    """Genes, hashes and, last, the manifest."""
    genes = built.columns.table
    write_atomic(folder / GENES, lambda file: genes.to_csv(file, sep="\t", float_format="%.6g"))
    hashes = {"whole": [found.whole for found in built.found.values()], "held_out": built.held}
    for i, panel in enumerate(built.columns.panels):
        hashes[f"panel_{panel.sum()}"] = [found.panels[i] for found in built.found.values()]
    sets = {name: np.unique(np.concatenate([*parts, np.empty(0, np.uint64)])) for name, parts in hashes.items()}
    write_atomic(folder / HASHES, lambda file: np.savez(file, **sets))
    text = json.dumps(_manifest(built), indent=1)
    write_atomic(folder / MANIFEST, lambda file: file.write(text.encode()))


def _manifest(built: Built) -> dict[str, Any]:
    whole = np.concatenate([found.whole for found in built.found.values()])
    n_validation = int(built.dealing.is_validation(whole).sum())
    files = {name: _file(built, name) for name in built.judged}
    genes, lacking = built.columns.table, np.array([built.lacking(name) for name in files])
    return {
        "scrutiny_corpus": FORMAT,
        "key": built.key,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "config": described(built.config),
        "cells": {
            "read": sum(file["cells"] for file in files.values()),
            "train": len(whole) - n_validation,
            "validation": n_validation,
            "left_out": _summed(file["left_out"] for file in files.values()),
        },
        "genes": {"kept": len(genes), "of": len(built.judge.union.genes), "listed_by_all": int((~lacking.any(axis=0)).sum())},
        "shards": {side: [name for name in built.shards if name.startswith(side)] for side in ("train", "validation")},
        "files": files,
        "held_out_files": {file.name: _origin(built.sources[file.name]) for file in built.config.hold_out_cells_of},
        "panel": {"sizes": [int(panel.sum()) for panel in built.columns.panels], "genes": _panel_genes(built.columns)},
    }


def _file(built: Built, name: str) -> dict[str, Any]:
    source, judged, verdict = built.sources[name], built.judged[name], built.verdicts(name)
    by_study = {str(study): _counted(built, source, verdict[judged.study == i]) for i, study in enumerate(judged.studies)}
    return {
        **_origin(source),
        **_counted(built, source, verdict),
        "genes": len(source.names.symbols),
        "genes_not_listed": np.flatnonzero(built.lacking(name)).tolist(),
        "studies": by_study,
    }


def _origin(source: Source) -> dict[str, Any]:
    return {"file": source.file.path.name, "sha256": source.sha256, "bytes": source.n_bytes, **source.about}


def _counted(built: Built, source: Source, verdict: NDArray[np.int64]) -> dict[str, Any]:
    """Cells in all, those kept, and those left out by reason."""
    counts = np.bincount(verdict[verdict != KEPT], minlength=1)
    reasons = built.judge.reasons(source)
    left_out = {reasons[i]: int(n) for i, n in enumerate(counts) if n}
    return {"cells": len(verdict), "kept": int((verdict == KEPT).sum()), "left_out": left_out}


def _summed(counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in counted:
        for reason, n in counts.items():
            total[reason] = total.get(reason, 0) + n
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def _panel_genes(columns: Columns) -> list[tuple[str, str]]:
    """Ensembl id and symbol of the genes of the largest panel, those of the smallest first."""
    depth = columns.panels.sum(axis=0)
    order = np.lexsort((columns.table.index, -depth))[: int((depth > 0).sum())]
    genes = columns.table.iloc[order]
    return list(zip(genes["ensembl_id"], genes["symbol"], strict=True))
