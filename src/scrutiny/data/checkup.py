"""Look at a file as a run would, without running anything: for `scrutiny check`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scrutiny.core.dataset import Dataset, Scale, flag_of
from scrutiny.core.errors import NotApplicable, ScrutinyError

from .confounding import confounding, technical_twins
from .genes import identify
from .propose import propose_roles, with_proposed_roles
from .quality import keep_good
from .read import read
from .sample import N_CELLS

SHOWN = 12
"""Values of a column that are listed."""


def checkup(path: str | Path, *, layer: str | None = None) -> dict[str, list[str]]:
    """Heading to lines: what the file holds, what would be used, and what stands in the way.

    Raises
    ------
    InputError
        If the file cannot be read at all; the message says why.
    """
    data = read(path, layer=layer)
    proposed = with_proposed_roles(data)
    return {
        f"{data.name}: {data.n_cells:,} cells x {data.n_genes:,} genes": [_values(data), *data.notes],
        "Genes": _genes(data),
        "Columns": _columns(proposed),
        "Ready-made arrays": [f"{name}: {array.shape[1]} dimensions" for name, array in data.obsm.items()] or ["none in obsm"],
        "What a run would do": _would_do(proposed),
    }


def _values(data: Dataset) -> str:
    density = data.matrix.nnz / max(1, data.n_cells * data.n_genes)
    advice = "" if data.scale is Scale.COUNTS else "; methods that need raw counts will not apply (name a layer with --layer)"
    return f"{data.scale} values, {density:.1%} of them not zero{advice}"


def _genes(data: Dataset) -> list[str]:
    found = identify(data)
    return [f"{found.kind} of {found.organism}, e.g. {', '.join(data.genes[:3])}", *found.findings]


def _columns(data: Dataset) -> list[str]:
    lines = []
    for role, proposals in propose_roles(data.obs).items():
        lines += [f"{role}: {p}" for p in proposals] or [f"{role}: no column looks like one; name it with {flag_of(role)}"]
    for column, role in {column: role for role, column in data.roles.items()}.items():
        values, counts = np.unique(data.role(role), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:SHOWN]
        rest = f", and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        lines.append(f"{column}: {', '.join(f'{values[i]} {counts[i]:,}' for i in order)}{rest}")
    return lines


def _would_do(data: Dataset) -> list[str]:
    try:
        kept = keep_good(data)
    except ScrutinyError as error:
        return [str(error)]
    lines = [note for note in kept.notes if note not in data.notes]
    if kept.n_cells > N_CELLS:
        lines.append(f"A stratified sample of {N_CELLS:,} of {kept.n_cells:,} cells would be scored; --cells all takes all.")
    for column in technical_twins(kept):
        lines.append(f"Each label is one value of '{column}', so types may be told apart by how they were processed.")
    try:
        facts = confounding(kept.role("label"), kept.role("batch"))
        alone = f"; in one batch only: {', '.join(facts.labels_in_one_batch)}" if facts.labels_in_one_batch else ""
        lines.append(f"Label and batch go together with Cramer's V = {facts.cramers_v:.2f} (0 independent, 1 the same){alone}.")
    except NotApplicable as reason:
        lines.append(f"Integration cannot be judged: {reason}.")
    if not kept.has("label") and not kept.has("batch"):
        advice = "write them into obs of an h5ad file" if not len(data.obs.columns) else "name one with --label or --batch"
        return [*lines, f"Nothing can be scored: there is neither a label nor a batch column; {advice}."]
    chosen = " ".join(f"--{role} {column}" for role, column in kept.roles.items() if role in ("label", "batch"))
    return [*lines, f"scrutiny run FILE {chosen}".rstrip()]
