"""What a folder of official files holds, read as strictly as a study reads it, and whether the model runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.data.checkpoints import record

from .genes import Vocabulary
from .recognise import TELLING, check_family, family_of

N_CELLS, N_GENES = 3, 8_000
EXPRESSED = 0.15
"""Share of the genes of a made-up cell that have counts."""


@dataclass(frozen=True)
class Examined:
    """A checkpoint that was loaded strictly and has embedded made-up cells."""

    family: str
    folder: Path
    key: str
    """Of the content of all files that were read."""
    config: dict[str, Any]
    n_parameters: int
    n_used: int
    """Tensors of the checkpoint that became part of the net."""
    dropped: dict[str, list[str]]
    """Why -> names of the tensors that are not needed."""
    absent: list[str]
    """Optional parts of the net that this checkpoint has not."""
    vocabulary: Vocabulary
    n_dims: int
    """Of the vector of a cell."""
    origin: str
    """Whose weights they are."""


def examine(folder: Path, family: str = "", *, device: str = "cpu") -> Examined:
    """Load a checkpoint and embed a few made-up cells that have genes of its vocabulary.

    Parameters
    ----------
    family
        By default told from the names of the files.

    Raises
    ------
    InputError
        If the family is not known, the files are those of another, a file is missing or damaged, a tensor is missing, left over or of
        another shape, or a vector of a made-up cell is not finite, or the folder is a draft.
    """
    family = family.lower() or family_of(folder)
    if family not in TELLING:
        raise InputError(f"there is no family '{family}'; there is {', '.join(TELLING)}")
    if record(folder).get("draft"):
        raise InputError(f"{folder} is a draft of {family}, whose weights are not trained; control/untrained_{family} runs on it")
    check_family(folder, family)
    model = METHODS.get(family)(str(folder), device=device)
    names = list(model.tensors(model.folder))
    dropped: dict[str, list[str]] = {}
    for name in names:
        reason = next((why for pattern, why in model.names.dropped if re.fullmatch(pattern, name)), None)
        if reason is not None:
            dropped.setdefault(reason, []).append(name)
    values = _embedded(model, made_up_cells(model))
    if not np.isfinite(values).all():
        raise InputError(f"{folder} loads as {family}, but gives vectors that are not finite: are the weights damaged?")
    return Examined(
        family=family,
        folder=folder,
        key=model.weights_key,
        config=_flat(getattr(model.files, "config", None)),
        n_parameters=sum(parameter.numel() for parameter in model.net.parameters()),
        n_used=len(names) - sum(map(len, dropped.values())),
        dropped=dropped,
        absent=sorted(model.absent),
        vocabulary=model.files.vocabulary,
        n_dims=values.shape[1],
        origin=model.weights_facts["origin"],
    )


def made_up_cells(model: Any) -> Dataset:
    """A few cells with counts of genes that the model knows."""
    genes = model.files.vocabulary.names[:N_GENES]
    rng = np.random.default_rng(0)
    counts = sparse.random_array((N_CELLS, len(genes)), density=EXPRESSED, rng=rng, format="csr", dtype=np.float32)
    counts.data = np.ceil(counts.data * 9)
    organism = "human" if "human" in model.files.vocabulary.organisms else min(model.files.vocabulary.organisms)
    obs = pd.DataFrame(index=[f"made-up cell {i}" for i in range(N_CELLS)])
    return from_arrays("made-up cells", sparse.csr_matrix(counts), obs, genes, organism=organism)


def _embedded(model: Any, data: Dataset) -> np.ndarray:
    made = model.fit_embed(data, seed=0) if model.card.transductive else model.fit(data, seed=0).embed(data)
    return made.values


def _flat(config: Any) -> dict[str, Any]:
    """The fields of a config, nested ones included, that a person can read."""
    plain: dict[str, Any] = {}
    for field in fields(config) if is_dataclass(config) else ():
        value = getattr(config, field.name)
        plain |= {field.name: value} if isinstance(value, str | int | float) else _flat(value)
    return plain
