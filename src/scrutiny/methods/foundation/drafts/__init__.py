"""Drafts: folders in the layout of a family, of any size and over any genes, with config and vocabulary but without trained weights.

The untrained twin of the family runs on a draft; once weights are saved in it, the family itself does.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from scrutiny.core.cards import TWIN
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.data.checkpoints import RECORD
from scrutiny.methods.foundation.model import Published
from scrutiny.nets.export import official, write_checkpoint
from scrutiny.nets.weights import build

from .cellplm import CELLPLM
from .genecompass import GENECOMPASS
from .layout import Draft, Layout, Size
from .nicheformer import NICHEFORMER
from .ranks import GENEFORMER, LANGCELL
from .scbert import SCBERT
from .scfoundation import SCFOUNDATION
from .scgpt import SCGPT
from .scimilarity import SCIMILARITY
from .uce import UCE

LAYOUTS: Mapping[str, Layout] = {
    "scgpt": SCGPT,
    "geneformer": GENEFORMER,
    "scfoundation": SCFOUNDATION,
    "uce": UCE,
    "scimilarity": SCIMILARITY,
    "nicheformer": NICHEFORMER,
    "scbert": SCBERT,
    "cellplm": CELLPLM,
    "langcell": LANGCELL,
    "genecompass": GENECOMPASS,
}


def draft(family: str, folder: str | Path, *, genes: pd.DataFrame, sizes: Mapping[str, Size] | None = None) -> None:
    """Write a draft of a family: all of it, once its untrained twin could read it, or nothing.

    Parameters
    ----------
    folder
        A new or an empty one.
    genes
        Index: names of the genes in the corpus. Columns ``symbol`` and ``ensembl_id`` ('' where there is none) as the vocabulary of the
        family asks for, and ``median``, float, of the values above 0 in counts per 10,000 of the cell, where it compares genes to it.
    sizes
        In common words, ``width``, ``layers``, ``heads``, ``feed_forward``, ``context``, and what else the family has; see `LAYOUTS`.

    Raises
    ------
    InputError
        If there is no such family or size, a size cannot be, the table lacks what the family needs, or the folder has files.
    """
    family, folder = family.lower(), Path(folder)
    if family not in LAYOUTS:
        raise InputError(f"there are no drafts of '{family}'; there are of {', '.join(LAYOUTS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name a new folder, or an empty one")
    layout = LAYOUTS[family]
    complete = layout.complete(family, sizes or {})
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
    part.mkdir(parents=True)
    made = Draft(part, genes, complete)
    try:
        layout.write(made)
        _check(family, part)
        record = {"draft": True, "family": family, "sizes": made.sizes, "notes": made.notes, "made_by": f"scrutiny {version('scrutiny')}"}
        made.write_json(RECORD, record)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(family: str, folder: Path) -> None:
    """That the untrained twin runs on it, as far as its files tell."""
    twin = METHODS.get(f"{TWIN}{family}")(str(folder), device="cpu")
    twin.files  # noqa: B018 - read here, since within `build` tensors have no storage
    build(twin.make_net)


def save(model: Published, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a model's net into its folder, so that the family reads them.

    Each file is there whole or not at all.

    Raises
    ------
    InputError
        If a weight is not finite.
    StoreError
        If a file cannot be written.
    """
    tensors = official(model.net.state_dict(), model.names)
    family = model.card.twin_of or model.card.name
    for name, content in LAYOUTS[family].weights(model, tensors).items():
        write_checkpoint(content, model.folder.path / name, dtype=dtype)
