"""AnnData in memory and on disk (h5ad, Zarr). Of the file only the tables are read here; matrices are located, not loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scrutiny.core.errors import InputError

from .offer import Candidate, Offer
from .stored import locate, opened

if TYPE_CHECKING:
    from anndata import AnnData

ORGANISMS = {"homo sapiens": "human", "mus musculus": "mouse"}
"""Latin names that files use."""


def offer_of_file(path: Path) -> Offer:
    """What an h5ad file or an AnnData Zarr folder offers."""
    with opened(path) as root:
        if "obs" not in root or "var" not in root:
            raise InputError(f"{path} has no obs and var tables (it has {sorted(root)[:8]}); expected an AnnData file")
        is_older_than_groups = hasattr(root["obs"], "dtype")
        if not is_older_than_groups:
            return _offer_of_groups(path, root)
    return _offer_of_old_file(path)


def offer_of_object(adata: AnnData, source: str = "the AnnData object") -> Offer:
    """What an AnnData object offers. Nothing is copied yet and nothing is written into it. Raises InputError for any other object."""
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        raise InputError(f"the cells are of type {type(adata).__name__}; expected a path, an AnnData object or a Dataset")
    if adata.isbacked:
        return _offer_of_backed_object(adata)
    candidates = {"X": Candidate(adata.X, adata.var)} if adata.X is not None else {}
    if adata.raw is not None:
        candidates["raw"] = Candidate(adata.raw.X, adata.raw.var, ".raw")
    _add_layers(candidates, {name: Candidate(adata.layers[name], adata.var, f"layer '{name}'") for name in adata.layers})
    facts, organism = _told(adata.uns, adata.obs)
    return Offer(source, adata.obs, candidates, _arrays_of_object(adata), facts, organism=organism)


def _offer_of_groups(path: Path, root: Any) -> Offer:
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older encodings, which are read all the same
        obs, var = read_elem(root["obs"]), read_elem(root["var"])
        uns = {name: read_elem(root["uns"][name]) for name in ("title", "citation", "organism", "source") if name in root.get("uns", ())}
        raw_var = read_elem(root["raw/var"]) if "raw/var" in root else None
    candidates = {"X": Candidate(locate(path, "X", root["X"]), var)} if "X" in root else {}
    if raw_var is not None and "raw/X" in root:
        candidates["raw"] = Candidate(locate(path, "raw/X", root["raw/X"]), raw_var, ".raw")
    layers = {name: locate(path, f"layers/{name}", root["layers"][name]) for name in root.get("layers", ())}
    _add_layers(candidates, {name: Candidate(stored, var, f"layer '{name}'") for name, stored in layers.items()})
    obsm = {name: partial(_element, path, f"obsm/{name}") for name in root.get("obsm", ())}
    facts, organism = _told(uns, obs)
    return Offer(path.name, obs, candidates, obsm, facts, organism=organism)


def _element(path: Path, key: str) -> Any:
    from anndata.io import read_elem

    with opened(path) as root:
        return read_elem(root[key])


def _offer_of_old_file(path: Path) -> Offer:
    """A file of anndata before 0.7: read at once, by anndata, as such files are small."""
    from anndata import read_h5ad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return offer_of_object(read_h5ad(path), path.name)


def _offer_of_backed_object(adata: AnnData) -> Offer:
    """Only X and .raw of a backed object are on disk; a view of one, which knows no place in the file, is read."""
    if adata.is_view:
        return offer_of_object(adata.to_memory())
    path = Path(adata.filename)
    places = {"X": (adata.var, "X")} | ({"raw/X": (adata.raw.var, ".raw")} if adata.raw is not None else {})
    with opened(path) as root:
        found = {key: Candidate(locate(path, key, root[key]), *more) for key, more in places.items() if key in root}
    candidates = {key.removesuffix("/X"): candidate for key, candidate in found.items()}
    _add_layers(candidates, {name: Candidate(adata.layers[name], adata.var, f"layer '{name}'") for name in adata.layers})
    facts, organism = _told(adata.uns, adata.obs)
    return Offer(path.name, adata.obs, candidates, _arrays_of_object(adata), facts, organism=organism)


def _arrays_of_object(adata: AnnData) -> dict[str, Callable[[], Any]]:
    return {name: partial(adata.obsm.__getitem__, name) for name in adata.obsm}


def _add_layers(candidates: dict[str, Candidate], layers: Mapping[str, Candidate]) -> None:
    """Layers go in by their name; as ``layers/raw`` where there is a ``.raw`` as well."""
    candidates |= {f"layers/{name}" if name in candidates else name: layer for name, layer in layers.items()}


def _told(uns: Mapping[str, Any], obs: pd.DataFrame) -> tuple[dict[str, str], str]:
    """What a file says of itself: keys of the CELLxGENE schema, or the same under ``uns['source']``."""
    inner = uns.get("source")
    told = {**(inner if isinstance(inner, Mapping) else {}), **{k: v for k, v in uns.items() if k != "source"}}
    names = {"citation": "citation", "source": "title", "file_note": "note", "licence": "license"}
    facts = {fact: str(told[key]) for fact, key in names.items() if isinstance(told.get(key), str)}
    latin = told.get("organism")
    if latin is None and "organism" in obs and obs["organism"].nunique() == 1:
        latin = obs["organism"].iloc[0]
    return facts, ORGANISMS.get(str(latin).lower(), "")
