"""Cells from the CELLxGENE Census by a query, at a fixed release, kept as a file like every other data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.registry import require

from .download import cache_folder, write_whole
from .read import read

LATIN = {"human": "homo_sapiens", "mouse": "mus_musculus"}
COLUMNS = ["soma_joinid", "dataset_id", "donor_id", "cell_type", "cell_type_ontology_term_id", "assay", "disease", "tissue"]


@dataclass(frozen=True)
class Query:
    """Which cells. The same query gives the same cells."""

    value_filter: str
    """In the Census's own language, e.g. ``tissue_general == 'blood' and is_primary_data == True``."""
    organism: str = "human"
    version: str = "2025-11-08"
    """A long-term release, which stays available."""
    cells: int = 20_000
    """At most so many, drawn at random from all that match."""
    seed: int = 0
    uri: str | None = None
    """A copy of the Census elsewhere, e.g. on a local disk."""

    @property
    def file_name(self) -> str:
        return f"census_{digest_of_json(asdict(self))}.h5ad"


def census(query: Query, *, cache: Path | None = None, name: str = "census") -> Dataset:
    """Counts of the cells that match, labelled by cell type, with the data set as batch and the donor.

    Raises
    ------
    MissingDependency
        If cellxgene_census is not installed.
    InputError
        If nothing matches, or the Census cannot be reached.
    """
    roles = {"label": "cell_type", "batch": "dataset_id", "donor": "donor_id"}
    return read(fetch_census(query, cache=cache), roles=roles, scale=Scale.COUNTS, organism=query.organism, name=name)


def fetch_census(query: Query, *, cache: Path | None = None) -> Path:
    """The h5ad of a query, asked of the Census only where it is not in the cache yet. Raises as `census`."""
    target = (cache or cache_folder()) / query.file_name
    if target.exists():
        return target
    require(["cellxgene_census"], "", needed_by="a query of the CELLxGENE Census")
    import cellxgene_census
    from tiledbsoma import SOMAError

    if query.organism not in LATIN:
        raise InputError(f"the Census is asked for {sorted(LATIN)} here, not for {query.organism!r}")
    organism = LATIN[query.organism]
    try:
        with cellxgene_census.open_soma(census_version=query.version, uri=query.uri) as soma:
            found = cellxgene_census.get_obs(soma, organism, value_filter=query.value_filter, column_names=["soma_joinid"])
            if found.empty:
                raise InputError(f"no {query.organism} cell of the Census {query.version} matches {query.value_filter!r}")
            ids = found["soma_joinid"].to_numpy(np.int64)
            if len(ids) > query.cells:
                ids = np.sort(np.random.default_rng(query.seed).choice(ids, query.cells, replace=False))
            adata = cellxgene_census.get_anndata(soma, organism, obs_coords=ids, obs_column_names=COLUMNS)
    except (SOMAError, OSError) as error:
        said = f"{type(error).__name__}: {str(error)[:120]}"
        raise InputError(f"the Census {query.version} does not answer; it needs a network, and a query it understands ({said})") from error
    adata.obs.index = adata.obs["soma_joinid"].astype(str)
    adata.obs.index.name = None
    adata.var.index = adata.var["feature_id"].astype(str)
    adata.var.index.name = None
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(target, adata.write_h5ad)
