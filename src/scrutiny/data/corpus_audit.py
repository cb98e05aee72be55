"""Whether cells are in a corpus, by their counts: seen, not listed, or unknown where nothing can be told. Never a guess.

A cell is seen if its counts are those of a cell of the corpus: over all genes, as its file calls them, or over a panel of genes. It is
known not to be in the corpus if the data have all genes of a panel and no cell has the same counts of them, or if the cell was held out
when the corpus was built. What has fewer genes is compared with the cells themselves, where the shards are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError

from .catalog import Exposure
from .cell_hashes import FEWEST_EXPRESSED, cell_hashes, gene_keys, panel_hashes
from .corpus import HASHES, MANIFEST, Corpus, is_manifest_of_ours, read_manifest
from .corpus_genes import GeneRows, Names, names_in, own_ids, placed

MOSTLY = 0.9
"""Share of the cells that must be judged for the answer "not listed"."""


class Judgement(NamedTuple):
    """Of each cell (n_cells,) bool: whether it is ``seen`` in the corpus, whether it is known to be ``absent``; neither: unknown."""

    seen: NDArray[np.bool_]
    absent: NDArray[np.bool_]


def audit(data: Dataset, folder: str | Path) -> Exposure:
    """Whether the cells of the data are in a corpus.

    Parameters
    ----------
    folder
        Of a corpus, or of a model that was trained on one.

    Raises
    ------
    InputError
        If the folder says of no corpus.
    """
    manifest = read_manifest(Path(folder))
    if data.scale is not Scale.COUNTS:
        return _by_name(data, manifest, f"the values are {data.scale}, and cells are told by their counts")
    found = judge_cells(data, folder)
    n_seen, n_judged = int(found.seen.sum()), int((found.seen | found.absent).sum())
    judged = f"the {data.n_cells:,} cells" if n_judged == data.n_cells else f"the {n_judged:,} cells of {data.n_cells:,} that can be judged"
    if n_seen:
        rest = "" if n_judged == data.n_cells else f"; {data.n_cells - n_judged:,} cannot be judged"
        told = f"{n_seen:,} of {data.n_cells:,} cells have the counts of a cell of the training corpus{rest}."
        return Exposure("seen", told, n_seen, data.n_cells)
    if n_judged >= MOSTLY * data.n_cells:
        return Exposure("not listed", f"None of {judged} has the counts of a cell of the training corpus.", 0, data.n_cells)
    why = f"{n_judged:,} of {data.n_cells:,} cells can be judged, the others have too few of the genes that cells are told by"
    return _by_name(data, manifest, why)


def exposure_facts(data: Dataset, folder: Path) -> dict[str, Any]:
    """The answer of `audit` as a fact of a Run, where a folder has the manifest of a corpus; else nothing."""
    return {"exposure": asdict(audit(data, folder))} if is_manifest_of_ours(folder) else {}


def judge_cells(data: Dataset, folder: str | Path) -> Judgement:
    """Each cell of the data, which are counts. Raises InputError if the folder says of no corpus, or lacks the hashes of its cells."""
    folder = Path(folder)
    panel = _Panel.of(read_manifest(folder), folder)
    rows = panel.genes.find(names_in(data))
    is_complete = [set(range(size)) <= set(rows.tolist()) for size in panel.sizes]
    own_keys, seen, absent = gene_keys(own_ids(data)), np.zeros(data.n_cells, dtype=bool), np.zeros(data.n_cells, dtype=bool)
    for start, stop, values in data.matrix.chunks():
        whole = cell_hashes(values, own_keys)
        seen[start:stop] = _among(whole, panel.hashes["whole"]) & (np.diff(values.indptr) >= FEWEST_EXPRESSED)
        absent[start:stop] = _among(whole, panel.hashes["held_out"])
        on_panels = panel_hashes(placed(values, rows, len(panel.genes)), panel.keys, panel.masks)
        for size, complete, hashes, to_tell in zip(panel.sizes, is_complete, *on_panels, strict=True):
            same = to_tell & _among(hashes, panel.hashes[f"panel_{size}"])
            seen[start:stop] |= same
            absent[start:stop] |= complete & to_tell & ~same
    found = Judgement(seen, absent & ~seen)
    left = np.flatnonzero(~(found.seen | found.absent))
    if len(left) and read_manifest(folder)["shards"]["train"] and (folder / read_manifest(folder)["shards"]["train"][0]).is_file():
        more = _among_shards(data.take(left), Corpus(folder))
        found.seen[left], found.absent[left] = more.seen, more.absent
    return found


class _Panel(NamedTuple):
    """The genes that cells are told by, and the hashes of all cells of the corpus over them.

    ``genes`` of the largest panel in an order of which each smaller panel is the start, ``keys`` (n_genes,), ``masks`` (n_panels,
    n_genes) bool, ``hashes`` sorted uint64 by name of the set.
    """

    sizes: list[int]
    genes: GeneRows
    keys: NDArray[np.uint64]
    masks: NDArray[np.bool_]
    hashes: Mapping[str, NDArray[np.uint64]]

    @classmethod
    def of(cls, manifest: Mapping[str, Any], folder: Path) -> _Panel:
        sizes = list(manifest["panel"]["sizes"])
        try:
            genes = _rows_of(*np.array([(id, symbol) for id, symbol in manifest["panel"]["genes"]], dtype=str).reshape(-1, 2).T)
            with np.load(folder / HASHES, allow_pickle=False) as file:
                hashes = {name: file[name] for name in ("whole", "held_out", *(f"panel_{size}" for size in sizes))}
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{MANIFEST} and {HASHES} of {folder} cannot be read together ({error}); copy both again") from error
        masks = np.array([np.arange(len(genes)) < size for size in sizes]).reshape(len(sizes), len(genes))
        return cls(sizes, genes, gene_keys(genes.table().index), masks, hashes)


def _rows_of(ensembl: NDArray[np.str_], symbols: NDArray[np.str_]) -> GeneRows:
    genes = GeneRows()
    genes.add(Names(ensembl, symbols))
    return genes


def _among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each hash is among known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    return known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes


def _among_shards(data: Dataset, corpus: Corpus) -> Judgement:
    """Compare cells with all cells of a corpus on the genes that the data, the corpus and the source file of each cell have."""
    genes = _rows_of(corpus.genes["ensembl_id"].to_numpy(str), corpus.genes["symbol"].to_numpy(str))
    rows, keys = genes.find(names_in(data)), gene_keys(corpus.genes.index)
    has = np.isin(np.arange(len(genes)), rows)
    files = list(corpus.manifest["files"])
    lists, which = np.unique([corpus.measured(file) for file in files], axis=0, return_inverse=True)
    shared, list_of = lists & has, dict(zip(files, which.ravel(), strict=True))
    known: list[list[NDArray[np.uint64]]] = [[np.empty(0, np.uint64)] for _ in shared]
    for shard in (*corpus.train, *corpus.validation):
        cells = corpus.read(shard)
        own = cells.obs["file"].map(list_of).to_numpy()
        for number, (hashes, to_tell) in enumerate(zip(*panel_hashes(cells.values, keys, shared), strict=True)):
            known[number].append(hashes[to_tell & (own == number)])
    sets = [np.unique(np.concatenate(hashes)) for hashes in known]
    seen, absent = np.zeros(data.n_cells, dtype=bool), np.ones(data.n_cells, dtype=bool)
    for start, stop, values in data.matrix.chunks():
        on_lists = panel_hashes(placed(values, rows, len(genes)), keys, shared)
        for known_hashes, hashes, to_tell in zip(sets, *on_lists, strict=True):
            same = to_tell & _among(hashes, known_hashes)
            seen[start:stop] |= same
            absent[start:stop] &= to_tell & ~same
    return Judgement(seen, absent)


def _by_name(data: Dataset, manifest: Mapping[str, Any], why: str) -> Exposure:
    """Where cells cannot be compared, what the manifest says of a data set of the catalogue by its name."""
    name = data.facts.get("catalog", "")
    if name and name in manifest["files"]:
        return Exposure("seen", f"The training corpus lists '{name}'; how many cells is not known: {why}.", None, data.n_cells)
    if name and name in manifest["held_out_files"]:
        return Exposure("not listed", f"The cells of '{name}' were held out of the training corpus.", None, data.n_cells)
    return Exposure("unknown", f"Whether the training corpus has these cells cannot be told: {why}.", None, data.n_cells)
