"""Scores of embeddings that somebody already has, as one tidy table: one row a metric, beside its controls."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METRICS
from scrutiny.data.quality import without_value
from scrutiny.data.read import from_anndata, read
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.store import Store
from scrutiny.engine.study import CONTROLS, Study, usual_methods

from .comparisons import Comparison, comparisons
from .scaling import scaled
from .verdict import score_interval

CHANCE = 0.05
"""Scaled scores below this are those of shuffled cells."""
COLUMNS = (
    "task metric family primary status value ci_low ci_high better low high floor roof scaled label_tuned reason recipe seconds n_cells"
).split()


def score_embedding(
    adata: Any,
    embedding: str,
    *,
    label: str | None = None,
    batch: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
) -> pd.DataFrame:
    """Score an array of ``obsm`` against labels, batches or both.

    Parameters
    ----------
    adata
        An AnnData object, a Dataset or a path; never written into. Cells without a label or batch are left out.
    embedding
        Name in ``obsm`` of an array (n_cells, n_dims).
    label, batch
        Columns of ``obs``. With both, integration is scored too; with a batch alone, only mixing.
    out
        Folder to keep the results in, for a report or to add methods later; by default nothing is kept.
    jobs
        Processes at once; by default one a core.

    Returns
    -------
    DataFrame
        One row per metric, columns ``COLUMNS``. ``value`` is NaN unless ``status`` is "ok", and then ``reason`` says why. ``floor`` and
        ``roof`` are what the controls score on these cells, ``scaled`` is 0 at the floor and 1 at the roof; ``ci_low`` and ``ci_high``
        are a 95 % interval of the primary metric, conditional on these cells.

    Raises
    ------
    InputError
        If neither label nor batch is given, or a column or array is not there; near matches are named.
    """
    if label is None and batch is None:
        raise InputError("there is nothing to score against: give label=, batch= or both")
    data = _dataset(adata, embedding, {role: column for role, column in (("label", label), ("batch", batch)) if column is not None})
    mine = Chosen("precomputed", {"key": embedding, "sha": data.obsm_key(embedding)})
    study = Study((data,), (mine, *(name for name in usual_methods() if name in CONTROLS)), _tasks(data))
    with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as folder:
        store: Store = study.run(folder, jobs=jobs or cpu_count() or 1, threads=1)
        asked = {run.spec.key for run in study.plan(folder).runs}
        scores = store.scores()
    scores = scores[scores["run_key"].isin(asked)].copy()
    scores["n_cells"] = data.n_cells
    return pd.concat([_of_task(c) for c in comparisons(scores)], ignore_index=True)[COLUMNS]


def _dataset(adata: Any, embedding: str, roles: dict[str, str]) -> Dataset:
    if isinstance(adata, Dataset):
        data = adata.with_roles(**roles)
    elif isinstance(adata, str | Path):
        data = read(adata, roles=roles)
    else:
        data = from_anndata(adata, roles=roles)
    data.obsm_key(embedding)
    _check_finite(data, embedding)
    lacking = np.any([without_value(data, role) for role in roles], axis=0)
    kept = data.take(np.flatnonzero(~lacking)) if lacking.any() else data
    return replace(kept, obsm={embedding: kept.obsm[embedding]})


def _check_finite(data: Dataset, embedding: str) -> None:
    bad = np.flatnonzero(~np.isfinite(data.obsm[embedding]).all(axis=1))
    if len(bad):
        first = data.cell_ids[bad[0]]
        raise InputError(f"{len(bad)} of {data.n_cells} cells have no finite vector in '{embedding}', e.g. '{first}'; leave them out")


def misaligned(table: pd.DataFrame) -> bool:
    """Whether an embedding scores like shuffled cells on what tells its labels apart: its rows are probably in another order."""
    about_labels = table[table["family"].isin(["cell types", "annotation"])]["scaled"].dropna()
    return len(about_labels) > 0 and about_labels.median() < CHANCE


def _tasks(data: Dataset) -> tuple[str, ...]:
    if not data.has("label"):
        return ("batch_mixing",)
    return ("cell_types", "integration") if data.has("batch") else ("cell_types",)


def _of_task(comparison: Comparison) -> pd.DataFrame:
    """Rows of the embedding; a metric that two tasks share is listed with the first of them."""
    rows = comparison.rows[comparison.rows["kind"] == "model"].copy()
    method = rows["method"].iloc[0]
    ends = scaled(comparison)
    ends = ends[ends["method"] == method].set_index("metric")
    interval = score_interval(comparison, method)
    rows["scaled"] = rows["metric"].map(ends["scaled"])
    rows["floor"] = rows["metric"].map(ends["floor_value"])
    rows["roof"] = rows["metric"].map(ends["roof_value"])
    rows["recipe"] = [METRICS.get(name).card.recipe for name in rows["metric"]]
    bounded = rows["primary"].astype(bool) if interval is not None else False
    rows["ci_low"] = np.where(bounded, interval.low if interval else np.nan, np.nan)
    rows["ci_high"] = np.where(bounded, interval.high if interval else np.nan, np.nan)
    return rows
