"""Cells into shards in random order with bounded memory: each file is scattered into pieces, each shard gathers its part of all pieces.

The order of a corpus is that of a number mixed of each cell's hash and the seed, so it does not depend on the order of the files, and a
cell stays on its side, training or validation, when the corpus grows. A piece holds one chunk of a file, its cells by shard; the pieces
of a file appear together once all are written, and a shard appears whole, so a build that was stopped goes on with the next file or shard.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from scrutiny.core.atomic import write_atomic

from .cell_hashes import mixed, panel_hashes
from .corpus_config import CorpusConfig
from .corpus_genes import Medians, placed
from .corpus_judge import KEPT, Judged
from .corpus_quality import totals_of
from .corpus_sources import Source

FOUND = "found.npz"
PIECE = "piece_{:06d}"


@dataclass(frozen=True, eq=False)
class Dealing:
    """Which shard each cell goes to: first places (n_shards,) uint64 of the shards of training and of validation, sorted."""

    seed: int
    validation: float
    train: NDArray[np.uint64]
    held: NDArray[np.uint64]

    @classmethod
    def of(cls, whole: NDArray[np.uint64], config: CorpusConfig) -> Dealing:
        """Shards of about equal size for cells with these hashes (n_cells,)."""
        none = cls(config.seed, config.validation, np.empty(0, np.uint64), np.empty(0, np.uint64))
        place, is_held = none.places(whole), none.is_validation(whole)
        return cls(config.seed, config.validation, *(_firsts(place[side], config.shard_cells) for side in (~is_held, is_held)))

    def places(self, whole: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Place of each cell (n_cells,) in the order of the corpus."""
        return mixed(whole ^ mixed(np.array([2 * self.seed], np.uint64)))

    def is_validation(self, whole: NDArray[np.uint64]) -> NDArray[np.bool_]:
        drawn = mixed(whole ^ mixed(np.array([2 * self.seed + 1], np.uint64)))
        return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.validation

    def shards(self, whole: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Number of the shard of each cell (n_cells,): those of training come first."""
        place = self.places(whole)
        train, held = (np.searchsorted(firsts, place, side="right") - 1 for firsts in (self.train, self.held))
        return np.where(self.is_validation(whole), len(self.train) + held, train)

    @property
    def names(self) -> list[str]:
        return [f"{side}_{i:05d}.h5ad" for side, firsts in (("train", self.train), ("validation", self.held)) for i in range(len(firsts))]


def _firsts(place: NDArray[np.uint64], shard_cells: int) -> NDArray[np.uint64]:
    n_shards = max(1, round(len(place) / shard_cells)) if len(place) else 0
    firsts = np.sort(place)[np.linspace(0, len(place), n_shards, endpoint=False).astype(int)]
    firsts[:1] = 0
    return firsts


@dataclass(frozen=True, eq=False)
class Columns:
    """The genes of a corpus.

    Attributes
    ----------
    table
        (n_genes,) as the shards have them.
    rows
        (n_genes,) their rows in the union of the files' genes.
    keys
        (n_genes,) uint64, for hashes.
    panels
        Genes (n_panels, n_genes) bool of each panel.
    """

    table: pd.DataFrame
    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    panels: NDArray[np.bool_]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Column in the corpus of each gene of a file (n_genes,), from its row in the union; -1 where it has none."""
        return pd.Index(self.rows).get_indexer(rows)

    def with_medians(self, medians: NDArray[np.float64]) -> Columns:
        return replace(self, table=self.table.assign(median=medians))


class Found(NamedTuple):
    """What the scattering of a file found out.

    Attributes
    ----------
    whole
        (n_cells,) uint64 hashes of the cells that went into pieces.
    panels
        For each panel, hashes of those of them that express enough of its genes.
    no_gene
        Rows of the file, kept so far, that express no gene of the corpus.
    bins, counts
        The nonzero entries of the histogram for medians, by flat index.
    """

    whole: NDArray[np.uint64]
    panels: list[NDArray[np.uint64]]
    no_gene: NDArray[np.int64]
    bins: NDArray[np.int64]
    counts: NDArray[np.uint32]

    def save(self, path: Path) -> None:
        arrays = self._asdict() | {f"panels_{i}": hashes for i, hashes in enumerate(self.panels)}
        del arrays["panels"]
        write_atomic(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> Found:
        with np.load(path, allow_pickle=False) as file:
            panels = [file[f"panels_{i}"] for i in range(sum(name.startswith("panels_") for name in file.files))]
            return cls(**{name: file[name] for name in cls._fields if name != "panels"}, panels=panels)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Scatters the kept cells of files into pieces."""

    columns: Columns
    dealing: Dealing

    def __call__(self, source: Source, judged: Judged, rows: NDArray[np.int64], folder: Path, tell: Callable[[int], object]) -> None:
        """Make ``folder`` with the pieces of a file; ``rows`` (n_genes,) of its genes in the union."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        data, columns, finding = source.open(), self.columns.of(rows), _Finding(self.columns)
        texts = {"cell_id": data.cell_ids, "study": judged.studies[judged.study]}
        texts |= {"label": source.labels(data), "ontology": source.ontology(data)}
        hashes = np.zeros(data.n_cells, dtype=np.uint64)
        hashes[judged.verdict == KEPT] = judged.whole
        for number, (start, stop, values) in enumerate(data.matrix.chunks()):
            kept = start + np.flatnonzero(judged.verdict[start:stop] == KEPT)
            counts = placed(values[kept - start], columns, len(self.columns.rows))
            has = np.diff(counts.indptr) > 0
            finding.no_gene.append(kept[~has])
            kept, counts = kept[has], counts[has]
            whole, totals = hashes[kept], totals_of(values[kept - start])
            finding.note(counts, totals, whole)
            cells = {name: text[kept] for name, text in texts.items()} | {"total": totals}
            self._write_piece(part / PIECE.format(number), counts, cells, whole)
            tell(stop - start)
        finding.found().save(part / FOUND)
        os.replace(part, folder)

    def _write_piece(self, folder: Path, counts: sparse.csr_matrix, cells: dict[str, NDArray[Any]], whole: NDArray[np.uint64]) -> None:
        shard, place = self.dealing.shards(whole), self.dealing.places(whole)
        order = np.lexsort((place, shard))
        counts, columns = counts[order], {**cells, "place": place}
        parts = {
            "cells": np.rec.fromarrays([column[order] for column in columns.values()], names=list(columns)),
            "bounds": np.searchsorted(shard[order], np.arange(len(self.dealing.names) + 1)),
            **{part: getattr(counts, part) for part in ("indptr", "indices", "data")},
        }
        for name, array in parts.items():
            write_atomic(folder / f"{name}.npy", partial(np.save, arr=array))


class _Finding:
    """Collects what is found while a file is scattered."""

    def __init__(self, columns: Columns) -> None:
        self.columns, self.medians = columns, Medians(len(columns.rows))
        self.no_gene: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self.whole: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
        self.panels: list[list[NDArray[np.uint64]]] = [[np.empty(0, np.uint64)] for _ in columns.panels]

    def note(self, counts: sparse.csr_matrix, totals: NDArray[np.float64], whole: NDArray[np.uint64]) -> None:
        """Cells that go into a piece: counts (n, n_genes), totals and hashes (n,)."""
        self.medians.add(counts, totals)
        self.whole.append(whole)
        on_panels = panel_hashes(counts, self.columns.keys, self.columns.panels)
        for hashes, of_cells, to_tell in zip(self.panels, *on_panels, strict=True):
            hashes.append(of_cells[to_tell])

    def found(self) -> Found:
        histogram = self.medians.histogram.ravel()
        filled = np.flatnonzero(histogram)
        panels = [np.concatenate(hashes) for hashes in self.panels]
        return Found(np.concatenate(self.whole), panels, np.concatenate(self.no_gene), filled, histogram[filled])


class Gathered(NamedTuple):
    """The cells of one shard: counts (n_cells, n_genes), and ``obs`` indexed by cell id."""

    counts: sparse.csr_matrix
    obs: pd.DataFrame


def gather(folders: dict[str, Path], shard: int, n_genes: int) -> Gathered | None:
    """The part of a shard in all pieces of the files (name -> folder), in the order of the corpus; None where there is none."""
    parts = [part for name, folder in folders.items() for part in _parts(name, folder, shard, n_genes)]
    if not parts:
        return None
    obs = pd.concat([part.obs for part in parts], ignore_index=True)
    order = np.lexsort((obs["cell_id"], obs["place"]))
    obs = obs.iloc[order].drop(columns="place").set_index("cell_id").rename_axis(None)
    return Gathered(sparse.vstack([part.counts for part in parts], format="csr")[order], obs)


def _parts(name: str, folder: Path, shard: int, n_genes: int) -> Iterator[Gathered]:
    for piece in sorted(folder.glob("piece_*")):
        at = slice(*np.load(piece / "bounds.npy")[shard : shard + 2])
        if at.start == at.stop:
            continue
        cells, indptr, indices, data = (np.load(piece / f"{part}.npy", mmap_mode="r") for part in ("cells", "indptr", "indices", "data"))
        pointers = indptr[at.start : at.stop + 1]
        entries = slice(int(pointers[0]), int(pointers[-1]))
        shape = (at.stop - at.start, n_genes)
        counts = sparse.csr_matrix((np.array(data[entries]), np.array(indices[entries]), pointers - pointers[0]), shape=shape)
        obs = pd.DataFrame({column: np.array(cells[column][at]) for column in cells.dtype.names})
        ids = [f"{name}:{cell}" for cell in obs["cell_id"]]
        yield Gathered(counts, obs.assign(cell_id=ids, file=name))


def write_shard(path: Path, cells: Gathered, genes: pd.DataFrame) -> None:
    """An h5ad that appears whole or not at all."""
    from anndata import AnnData
    from anndata.io import write_elem

    texts = {column: pd.Categorical(cells.obs[column]) for column in ("study", "file", "label", "ontology")}
    shard = AnnData(cells.counts, obs=cells.obs.assign(**texts), var=genes)
    buffer = BytesIO()
    with h5py.File(buffer, "w") as root:
        write_elem(root, "/", shard, dataset_kwargs={"compression": "lzf", "shuffle": True})
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))
