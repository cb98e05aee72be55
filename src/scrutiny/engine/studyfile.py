"""Study files: TOML in, checked fields out. A key that is not known is an error that names its near matches. ::

name = "pancreas, two species"
seeds = [0, 1, 2]
tasks = ["cell_types", "integration"]
methods = ["pca", { name = "scvi", options = { n_latent = 30 } }, { name = "scgpt", options = { checkpoint = "weights/scgpt" } }]
budget = "2h"
search = { trials = 20 }             # every method that can search for its options tries as many
ontology = "cl-basic.obo"            # the Cell Ontology, of all data sets or of one
terms = "label_terms.tsv"            # table of label and cl_id

[[datasets]]
path = "cells.h5ad"                  # from the folder of this file
label = ["coarse", "fine"]           # a column or several
batch = "donor"
cells = "all"                        # by default a sample of 5,000
without = { batch = ["pbmc3k"] }     # cells with these values in a column are left out
hold_out = { condition = ["stim"] }  # cells that tasks which learn labels hold out, in place of a batch

A study may train nets and score them; each is compared with its untrained twin, and trained anew for each seed::

    notes = "What a reader must know before anything else; the report begins with it."

    [pretraining]                        # what all nets have in common: the tables of `scrutiny pretrain`
    corpus = { files = ["blood.h5ad"] }
    model = { family = "scgpt", width = 64, layers = 2 }
    training = { teraflops = 8 }

    [[nets]]                             # and what each has of its own
    name = "masked bins"
    objective = { name = "masked_bins" }
    use = { pooling = "mean" }           # options of the family, once the net is trained
    heads = ["knn", "logreg", "lora"]    # ways to tell labels with it, for tasks that ask for labels
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from scrutiny.core.errors import InputError
from scrutiny.core.registry import named_tasks
from scrutiny.data.checkpoints import whole_path
from scrutiny.data.sample import N_CELLS

from .embedding import Chosen
from .nets import COMMON, OF_NET, methods_of
from .sources import Source

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_study_file(path: str | Path) -> dict[str, Any]:
    """Fields of a Study.

    Raises
    ------
    InputError
        If the file is missing, is no TOML, or has a key or value that a study has not; the message names file and key.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error
    fields = _Place(path, "").fields(content, _study_keys(path.parent), required={"datasets"})
    for key in ("ontology", "terms"):
        path_of_all = fields.pop(key, None)
        fields["datasets"] = tuple(replace(one, **{key: getattr(one, key) or path_of_all}) for one in fields["datasets"])
    common, nets = fields.pop("pretraining", {}), fields.pop("nets", ())
    if common and not nets:
        raise InputError(f"{path}: there is a table [pretraining], but no [[nets]] to train")
    return {**fields, **({"nets": methods_of(common, nets, path.parent)} if nets else {})}


def seconds_of(text: str | float) -> float:
    """Seconds of a time such as "2h", "90m", "1h30m" or a plain number of seconds. Raises InputError for anything else."""
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    parts = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])\s*")
    found = parts.findall(str(text))
    if not found or parts.sub("", str(text)):
        raise InputError(f"'{text}' is no time; expected e.g. '90m', '2h' or '1h30m'")
    return sum(float(n) * UNITS[unit] for n, unit in found)


class _Place(NamedTuple):
    """Where in a file something stands, for messages."""

    file: Path
    key: str

    def at(self, key: str | int) -> _Place:
        inner = f"[{key + 1}]" if isinstance(key, int) else f".{key}" if self.key else key
        return _Place(self.file, self.key + inner)

    def wrong(self, found: Any, expected: str) -> InputError:
        return InputError(f"{self.file}: '{self.key}' is {found!r}; expected {expected}")

    def fields(self, table: Any, keys: Mapping[str, _Key], *, required: set[str]) -> dict[str, Any]:
        """The fields of a table, each parsed by its own key."""
        if not isinstance(table, dict):
            raise self.wrong(table, f"a table with the keys {sorted(keys)}")
        for name in table:
            if name not in keys:
                near = difflib.get_close_matches(name, keys)
                hint = f"did you mean {near}?" if near else f"the keys are {sorted(keys)}"
                raise InputError(f"{self.file}: the key '{self.at(name).key}' is not known; {hint}")
        for name in sorted(required - set(table)):
            raise InputError(f"{self.file}: the key '{self.at(name).key}' is missing")
        return {keys[name].field or name: keys[name].parse(value, self.at(name)) for name, value in table.items()}

    def each(self, values: Any, parse: Callable[[Any, _Place], Any]) -> tuple[Any, ...]:
        if not isinstance(values, list) or not values:
            raise self.wrong(values, "a list with at least one entry")
        return tuple(parse(value, self.at(i)) for i, value in enumerate(values))


class _Key(NamedTuple):
    parse: Callable[[Any, _Place], Any]
    field: str = ""
    """Name of the field, where it is not that of the key."""


def _text(value: Any, place: _Place) -> str:
    if not isinstance(value, str) or not value:
        raise place.wrong(value, "text")
    return value


def _texts(value: Any, place: _Place) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value else place.each(value, _text)


def _seed(value: Any, place: _Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise place.wrong(value, "a whole number of at least 0")
    return value


def _trials(value: Any, place: _Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise place.wrong(value, "a whole number of at least 1")
    return value


def _budget(value: Any, place: _Place) -> float:
    try:
        return seconds_of(value)
    except InputError as error:
        raise InputError(f"{place.file}: '{place.key}': {error}") from error


def _cells(value: Any, place: _Place) -> int | None:
    if value == "all":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise place.wrong(value, f'a number of cells or "all" (by default {N_CELLS})')
    return value


def _text_table(value: Any, place: _Place) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.wrong(value, "a table of texts")
    return {name: _text(entry, place.at(name)) for name, entry in value.items()}


def _table(value: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.wrong(value, "a table")
    return value


def _value_lists(value: Any, place: _Place) -> dict[str, tuple[str, ...]]:
    return {column: _texts(values, place.at(column)) for column, values in _table(value, place).items()}


def _options(value: Any, place: _Place, folder: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.wrong(value, "a table of options")
    checkpoint = value.get("checkpoint")
    return {**value, "checkpoint": whole_path(checkpoint, folder)} if isinstance(checkpoint, str) else value


def _method(value: Any, place: _Place, folder: Path) -> Chosen:
    if isinstance(value, str):
        return Chosen(value)
    keys = {"name": _Key(_text), "options": _Key(lambda table, inner: _options(table, inner, folder))}
    return Chosen(**place.fields(value, keys, required={"name"}))


def _study_keys(folder: Path) -> dict[str, _Key]:
    return {
        "name": _Key(_text),
        "seeds": _Key(lambda value, place: place.each(value, _seed)),
        "tasks": _Key(lambda value, place: named_tasks(_texts(value, place))),
        "methods": _Key(lambda value, place: place.each(value, lambda entry, inner: _method(entry, inner, folder))),
        "budget": _Key(_budget),
        "datasets": _Key(lambda value, place: place.each(value, lambda entry, inner: _source(entry, inner, folder))),
        "notes": _Key(_text),
        "search": _Key(lambda value, place: place.fields(value, {"trials": _Key(_trials)}, required={"trials"})),
        **_ontology_keys(folder),
        "pretraining": _Key(lambda value, place: place.fields(value, _net_keys(COMMON), required=set())),
        "nets": _Key(lambda value, place: place.each(value, _net)),
    }


def _net(value: Any, place: _Place) -> dict[str, Any]:
    return place.fields(value, _net_keys(OF_NET), required={"name"})


def _net_keys(keys: Mapping[str, type]) -> dict[str, _Key]:
    return {name: _Key(_text if kind is str else _table if kind is dict else _texts) for name, kind in keys.items()}


def _ontology_keys(folder: Path) -> dict[str, _Key]:
    """Of a data set, or of all of a study."""
    path = _Key(lambda text, inner: folder / Path(_text(text, inner)).expanduser())
    return {"ontology": path, "terms": path}


def _source(value: Any, place: _Place, folder: Path) -> Source:
    keys = {
        "path": _Key(lambda text, inner: folder / _text(text, inner)),
        "catalog": _Key(_text),
        "name": _Key(_text),
        "label": _Key(_texts, "labels"),
        "batch": _Key(_text),
        "roles": _Key(_text_table),
        "layer": _Key(_text),
        "scale": _Key(_text),
        "organism": _Key(_text),
        "cells": _Key(_cells),
        "without": _Key(_value_lists),
        "hold_out": _Key(_value_lists),
        "facts": _Key(_text_table),
        **_ontology_keys(folder),
    }
    fields = place.fields(value, keys, required=set() if isinstance(value, dict) and "catalog" in value else {"path"})
    batch = {"batch": fields.pop("batch")} if "batch" in fields else {}
    return Source(**{**fields, "roles": {**fields.get("roles", {}), **batch}})
