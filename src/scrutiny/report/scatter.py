"""UMAPs of the methods' embeddings: coordinates computed once, kept in the store, thinned and packed for the page."""

from __future__ import annotations

import base64
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.errors import NotApplicable
from scrutiny.core.keys import digest_of_json
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.sample import shares
from scrutiny.engine.cache import Arrays
from scrutiny.engine.store import Store
from scrutiny.metrics.neighbors import nearest

RECIPE = "umap-1"
"""Rises when coordinates change."""
MOST_CELLS = 2000
N_NEIGHBORS = 15
EPOCHS = 200
SEED = 0
MOST_LEVELS = 40
"""Values of a column that get a colour of their own; the rarer ones become "other"."""
OTHER = "other"

log = logging.getLogger(__name__)


def thinned(cells: pd.DataFrame, columns: Sequence[str], most: int) -> NDArray[np.intp]:
    """Rows of at most ``most`` cells, in proportion to the groups that the columns make; the same for the same cells, sorted."""
    if len(cells) <= most:
        return np.arange(len(cells))
    rng = np.random.default_rng([SEED, len(cells), most])
    groups = cells.groupby(list(columns), sort=True).indices if columns else {"": np.arange(len(cells))}
    strata = [groups[key] for key in sorted(groups)]
    return np.sort(np.concatenate([rng.permutation(rows)[:n] for rows, n in zip(strata, shares([len(s) for s in strata], most))]))


def coordinates(store: Store, output_key: str, cell_ids: NDArray[np.str_]) -> NDArray[np.float32] | None:
    """UMAP coordinates (n_cells, 2) of some cells of an output, cached beside it; None if the output does not hold them all."""
    key = digest_of_json([RECIPE, output_key, list(cell_ids)])
    kept = store.cache.get(f"umap-{key}")
    if kept is not None:
        return kept.by_name["xy"]
    output = store.cached_output(output_key)
    values = _rows_of(output, cell_ids) if isinstance(output, CellEmbedding) else None
    if values is None:
        return None
    try:
        xy = layout(values)
    except NotApplicable as reason:
        log.info("no UMAP of %s: %s", output_key, reason)
        return None
    store.cache.put(f"umap-{key}", Arrays({"xy": xy}, {"recipe": RECIPE}))
    return xy


def layout(embedding: NDArray[np.floating]) -> NDArray[np.float32]:
    """UMAP coordinates (n_cells, 2) float32 of an embedding (n_cells, n_dims), from exact neighbours and a fixed seed.

    Raises
    ------
    NotApplicable
        If there are too few cells.

    References
    ----------
    McInnes, Healy and Melville, arXiv:1802.03426 (2018).
    """
    if len(embedding) <= N_NEIGHBORS:
        raise NotApplicable(f"a UMAP needs more than {N_NEIGHBORS} cells; there are {len(embedding)}")
    found = nearest(embedding, N_NEIGHBORS - 1)
    itself = np.arange(len(embedding), dtype=found.indices.dtype)[:, None]
    indices = np.hstack([itself, found.indices])
    distances = np.hstack([np.zeros_like(found.distances[:, :1]), found.distances])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that neighbours come without a search index, that a part of the graph stands alone
        from umap import UMAP

        reducer = UMAP(n_neighbors=N_NEIGHBORS, n_epochs=EPOCHS, random_state=SEED, n_jobs=1, precomputed_knn=(indices, distances, None))
        return np.asarray(reducer.fit_transform(embedding), dtype=np.float32)


@dataclass(frozen=True)
class Colours:
    """A column as levels and codes (n_cells,); the last level is `OTHER` where there are too many."""

    column: str
    levels: tuple[str, ...]
    codes: NDArray[np.uint8]


def colours(values: pd.Series) -> Colours:
    """Levels by number of cells, most first, so that common ones get the colours that are easiest to tell apart."""
    counts = values.astype(str).value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    levels = list(counts.index[: MOST_LEVELS - 1] if len(counts) > MOST_LEVELS else counts.index)
    kept = values.astype(str).where(values.astype(str).isin(levels), OTHER)
    levels += [OTHER] if len(counts) > MOST_LEVELS and OTHER not in levels else []
    code = {level: i for i, level in enumerate(levels)}
    return Colours(str(values.name), tuple(levels), kept.map(code).to_numpy(np.uint8))


def packed(xy: NDArray[np.floating]) -> str:
    """Coordinates (n_cells, 2) as base64 of little-endian uint16, all x then all y; each axis spans 0 to 65535."""
    low, span = xy.min(axis=0), np.ptp(xy, axis=0)
    scaled = (xy - low) / np.where(span > 0, span, 1.0)
    return base64.b64encode(np.round(scaled * 65535).astype("<u2").T.tobytes()).decode()


@dataclass(frozen=True, eq=False)
class Maps:
    """UMAPs of a data set: the columns of the cells that are drawn, and coordinates (n_cells, 2) of each method, in the same order."""

    cells: pd.DataFrame
    n_cells_in_all: int
    coordinates: dict[str, NDArray[np.float32]]


def maps(store: Store, output_keys: Mapping[str, Sequence[str]], cells: pd.DataFrame, columns: Sequence[str]) -> Maps:
    """UMAPs of the methods whose embedding of these cells is in the cache.

    Parameters
    ----------
    output_keys
        Method to the keys of its outputs; the first that holds all cells is drawn.
    cells
        Columns that were used, index cell id.
    columns
        Columns to colour by.
    """
    some = cells.iloc[thinned(cells, columns, MOST_CELLS)]
    ids = some.index.to_numpy(str)
    found: dict[str, NDArray[np.float32]] = {}
    for method, keys in output_keys.items():
        for key in keys:
            if method not in found and (xy := coordinates(store, key, ids)) is not None:
                found[method] = xy
    return Maps(some[list(columns)], len(cells), found)


def packed_maps(drawn: Maps, most: int) -> dict[str, Any]:
    """At most ``most`` cells of the maps as JSON; no cell id is in it."""
    rows = thinned(drawn.cells, list(drawn.cells.columns), most)
    by = [colours(drawn.cells[column].iloc[rows]) for column in drawn.cells]
    return {
        "n": len(rows),
        "of": drawn.n_cells_in_all,
        "columns": [{"column": c.column, "levels": c.levels, "codes": base64.b64encode(c.codes.tobytes()).decode()} for c in by],
        "maps": [{"method": method, "xy": packed(xy[rows])} for method, xy in drawn.coordinates.items()],
    }


def _rows_of(output: CellEmbedding, cell_ids: NDArray[np.str_]) -> NDArray[np.float32] | None:
    where = pd.Index(output.cell_ids.astype(str)).get_indexer(cell_ids)
    return np.asarray(output.values, dtype=np.float32)[where] if (where >= 0).all() else None
