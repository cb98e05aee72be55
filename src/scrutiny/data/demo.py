"""The data of the demo: real cells that come with scanpy, and the same cells with a batch effect whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import sparse

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import CsrMatrix

from .read import read
from .recover import recover_counts
from .splits import hold_out

FILE = "10x_pbmc68k_reduced.h5ad"
FACTS = {
    "source": "pbmc68k_reduced, built into scanpy: 700 of the 68,000 blood cells of donor A",
    "citation": "Zheng GXY et al., Nat Commun 8:14049 (2017); 10x Genomics, CC BY 4.0",
    "label_origin": "transferred",
    "catalog": "pbmc68k_reduced",
}
SHARE_THINNED = 0.5
EFFICIENCY = (4.0, 4.0)
"""Beta distribution of the share of molecules that the planted batch keeps of a gene: 0.5 on average, sd 0.17."""
SEED = 68


def demo() -> tuple[Dataset, Dataset]:
    """Real cells as they are, and with a planted batch (role ``batch``); both with raw counts and the role ``label``.

    Nothing is downloaded: scanpy's file holds log values, from which the counts are recovered exactly.

    Raises
    ------
    InputError
        If scanpy has no such file, or its values are not proven to be logarithms of counts.
    """
    cells = _pbmc68k()
    return cells, with_planted_batch(cells)


def with_planted_batch(data: Dataset, *, seed: int = SEED) -> Dataset:
    """The same cells, half of each label thinned as if by a less sensitive assay: role ``batch``, "as measured" or "thinned".

    Each molecule of a thinned cell is kept with the probability of its gene, drawn once from Beta(4, 4): so depth is halved and the
    profile is distorted, in the same way for all labels. The right answer is known: the two batches hold the same populations.

    Raises
    ------
    InputError
        If the data are no counts or have no labels.
    """
    if data.scale is not Scale.COUNTS or not data.has("label"):
        raise InputError(
            f"a batch can only be planted into labelled counts; '{data.name}' has {data.scale} values, roles {sorted(data.roles)}"
        )
    rng = np.random.default_rng([seed, data.n_cells, data.n_genes])
    thinned = hold_out(data.role("label"), SHARE_THINNED, rng)
    efficiency = rng.beta(*EFFICIENCY, size=data.n_genes)
    counts = data.values
    hit = np.repeat(thinned, np.diff(counts.indptr))
    molecules = counts.data.astype(np.int64)
    molecules[hit] = rng.binomial(molecules[hit], efficiency[counts.indices[hit]])
    values = sparse.csr_matrix((molecules, counts.indices, counts.indptr), shape=counts.shape)
    what = f"a technical batch: {thinned.sum()} of {data.n_cells} cells thinned, gene by gene (kept share Beta(4, 4)), seed {seed}"
    return replace(
        data,
        name=f"{data.name}_planted_batch",
        matrix=CsrMatrix(values),
        obs=data.obs.assign(planted_batch=np.where(thinned, "thinned", "as measured")),
        roles={**data.roles, "batch": "planted_batch"},
        facts={**data.facts, "planted": what},
        notes=(*data.notes, f"Planted, not measured: {what}."),
    )


def _pbmc68k() -> Dataset:
    spec = find_spec("scanpy")
    path = Path(spec.origin).parent / "datasets" / FILE if spec and spec.origin else None
    if path is None or not path.exists():
        raise InputError(f"scanpy's file {FILE} was not found ({path}); install scanpy 1.11 whole: pip install 'scanpy>=1.11.5,<1.12'")
    logged = read(path, layer="raw", scale=Scale.LOG, organism="human", name="pbmc68k_reduced", roles={"label": "bulk_labels"})
    counts = recover_counts(logged.values)
    note = "Raw counts were recovered exactly from the log values of scanpy's pbmc68k_reduced; computed again, the logarithms match."
    return replace(logged, matrix=CsrMatrix(counts), scale=Scale.COUNTS, obsm={}, facts=FACTS, notes=(note,))
