"""The door: any supported file, or an AnnData object, to a Dataset whose values, ids and roles have been checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.dataset import Dataset, Scale
from scrutiny.core.errors import InputError
from scrutiny.core.matrix import Matrix

from .anndata_files import offer_of_object
from .formats import offer_of
from .genes import identify
from .names import Duplicates, name_cells, name_genes
from .offer import Offer, choose
from .scale import Detected, check_declared, detect_scale, survey

if TYPE_CHECKING:
    from anndata import AnnData

SUFFIXES = re.compile(r"(\.h5ad|\.zarr|\.loom|\.h5|\.hdf5)$", re.IGNORECASE)


@dataclass(frozen=True)
class Declared:
    """What the user says of the data; None: find out."""

    roles: Mapping[str, str] | None
    layer: str | None
    scale: Scale | None
    organism: str | None
    name: str
    obsm: Iterable[str] | None
    duplicates: Duplicates


def read(
    path: str | Path,
    *,
    roles: Mapping[str, str] | None = None,
    layer: str | None = None,
    scale: Scale | str | None = None,
    organism: str | None = None,
    name: str | None = None,
    obsm: Iterable[str] | None = None,
    duplicates: Duplicates = "error",
) -> Dataset:
    """A Dataset from a file: h5ad, zarr, loom, 10x ``.h5`` (version 2 and 3) or a 10x matrix folder. The content decides, not the name.

    Values of more than about 1 GB stay on disk and are read in chunks. Every entry is checked once.

    Parameters
    ----------
    roles
        Which obs column plays which part, e.g. ``{"label": "cell_type", "batch": "donor"}``.
    layer
        "X", "raw" or the name of a layer; by default the first that holds raw counts. The notes say which it was.
    scale
        "counts", "log", "normalised" or "scaled"; the values must agree. By default told from the values.
    organism
        "human", "mouse" or another; by default what the file or its gene ids say.
    name
        By default the name of the file.
    obsm
        Ready-made arrays to read; by default all that are numbers.
    duplicates
        "rename" numbers repeated cell ids in place of refusing them.

    Raises
    ------
    InputError
        If the file is missing, of another kind, damaged, or does not hold what is asked for.
    """
    path = Path(path)
    declared = Declared(roles, layer, _scale(scale), organism, name or SUFFIXES.sub("", path.name), obsm, duplicates)
    try:
        return _assemble(offer_of(path), declared)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); it is cut short or damaged, or may not be read: copy it again") from error


def from_anndata(
    adata: AnnData,
    *,
    roles: Mapping[str, str] | None = None,
    layer: str | None = None,
    scale: Scale | str | None = None,
    organism: str | None = None,
    name: str = "cells",
    obsm: Iterable[str] | None = None,
    duplicates: Duplicates = "error",
) -> Dataset:
    """A Dataset from an AnnData object; options as for `read`. What is needed is copied, the object is never written into."""
    return _assemble(offer_of_object(adata), Declared(roles, layer, _scale(scale), organism, name, obsm, duplicates))


def _assemble(offer: Offer, declared: Declared) -> Dataset:
    if not len(offer.obs):
        raise InputError(f"{offer.source} has no cells; expected at least one")
    choice = choose(offer, layer=declared.layer, scale=declared.scale)
    candidate, where = offer.candidates[choice.name], offer.where(choice.name)
    obs, cell_notes = name_cells(offer.obs, offer.source, declared.duplicates)
    var, gene_notes = name_genes(candidate.var)
    matrix = candidate.matrix()
    scale, reason = _checked_scale(matrix, declared.scale, where)
    data = Dataset(
        name=declared.name,
        matrix=matrix,
        obs=obs,
        var=var,
        roles=dict(declared.roles or {}),
        scale=scale,
        obsm=_arrays(offer, declared.obsm),
        facts=offer.facts,
        notes=(f"Values are from {where}{choice.reason}, taken as {scale}: {reason}.", *offer.notes, *cell_notes, *gene_notes),
    )
    return _with_organism(data, declared.organism, offer.organism)


def _scale(scale: Scale | str | None) -> Scale | None:
    try:
        return None if scale is None else Scale(scale)
    except ValueError:
        raise InputError(f"there is no scale '{scale}'; it is one of {[str(s) for s in Scale]}") from None


def _checked_scale(matrix: Matrix, declared: Scale | None, where: str) -> Detected:
    facts = survey(chunk.values.data for chunk in matrix.chunks())
    if declared is None:
        return detect_scale(facts, where)
    check_declared(declared, facts, where)
    return Detected(declared, "as declared")


def _arrays(offer: Offer, wanted: Iterable[str] | None) -> dict[str, NDArray[np.floating]]:
    names = list(offer.obsm) if wanted is None else list(wanted)
    for name in names:
        if name not in offer.obsm:
            near = difflib.get_close_matches(name, list(offer.obsm)) or sorted(offer.obsm)
            raise InputError(f"{offer.source} has no array '{name}' in obsm; there is {near or 'none at all'}")
    arrays = {name: _as_array(offer.obsm[name]()) for name in names}
    odd = [name for name, array in arrays.items() if array is None]
    if wanted is not None and odd:
        raise InputError(f"obsm '{odd[0]}' of {offer.source} is not a dense table of numbers; expected (n_cells, n_dims)")
    return {name: array for name, array in arrays.items() if array is not None}


def _as_array(values: Any) -> NDArray[np.floating] | None:
    """An obsm entry as a copy of its numbers (n_cells, n_dims); None if it is something else."""
    array = np.array(values)
    return array if array.ndim == 2 and array.shape[1] and array.dtype.kind in "fiu" else None


def _with_organism(data: Dataset, declared: str | None, told: str) -> Dataset:
    """What was declared, else what the file says, else what the gene ids look like."""
    if declared or told:
        return replace(data, organism=declared or told)
    guess = identify(data).organism
    if guess == "unknown":
        note = "The organism is not known: neither the file nor the gene ids tell it."
    else:
        note = f"The organism is taken to be {guess}, as the gene ids look."
    return replace(data, organism=guess, notes=(*data.notes, note))
