"""The config of a pretraining: TOML in, checked fields out. ::

name = "small rank model"
seed = 0

[corpus]                      # see scrutiny.data.corpus
files = ["blood.h5ad", "pancreas.h5ad"]

[model]
family = "geneformer"         # any family; sizes in common words
width = 128
layers = 4

[objective]
name = "masked_rank"
share = 0.15

[training]                    # see scrutiny.tuning.schedule.Training
epochs = 10
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrutiny.core.errors import InputError
from scrutiny.core.options import made, unknown_option

from .schedule import Training

DEFAULT_EPOCHS = 10.0
KEYS = ("name", "seed", "weights", "corpus", "model", "objective", "training")


@dataclass(frozen=True)
class Pretraining:
    """What is trained, on what, for what and how.

    Attributes
    ----------
    corpus
        The table ``[corpus]`` as it stands; `folder` is where its paths begin.
    family, sizes
        The architecture: the table ``[model]``, whose other keys are sizes.
    objective, options
        The table ``[objective]``, whose other keys are options of the objective.
    weights
        How the trained weights are stored: "float32" or "float16".
    """

    name: str
    family: str
    objective: str
    corpus: Mapping[str, Any]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = Training(epochs=DEFAULT_EPOCHS)  # noqa: RUF009 - frozen
    seed: int = 0
    weights: str = "float32"
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"{self.name}: seed is {self.seed}; expected 0 or more")


def read_pretraining(path: str | Path) -> Pretraining:
    """The config that a file holds.

    Raises
    ------
    InputError
        If the file is missing, is no TOML, or has a table, key or value that a config has not; the message names them.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error
    return pretraining_of(content, path.parent, str(path), default_name=path.stem)


def pretraining_of(content: Mapping[str, Any], folder: Path, source: str, *, default_name: str) -> Pretraining:
    """The config from its tables; ``source`` is named in errors, and ``folder`` is where paths begin."""
    for name in content:
        if name not in KEYS:
            raise unknown_option(source, name, KEYS)
    tables = {name: _table(content, name, source) for name in ("corpus", "model", "objective")}
    model, objective = dict(tables["model"]), dict(tables["objective"])
    training = dict(_table({"training": {}, **content}, "training", source))
    if not {"epochs", "steps", "teraflops"} & training.keys():
        training["epochs"] = DEFAULT_EPOCHS
    own = {name: value for name, value in content.items() if name not in (*tables, "training")}
    fields = {
        "name": default_name,
        **own,
        "corpus": tables["corpus"],
        "family": _named(model, "family", f"{source}: [model]"),
        "sizes": model,
        "objective": _named(objective, "name", f"{source}: [objective]"),
        "options": objective,
        "training": made(Training, options=training, owner=f"{source}: [training]"),
        "folder": folder,
    }
    return made(Pretraining, options=fields, owner=source)


def _table(content: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    table = content.get(name)
    if not isinstance(table, dict):
        raise InputError(f"{source} needs a table [{name}]; found {table!r}" if table is not None else f"{source} has no table [{name}]")
    return table


def _named(table: dict[str, Any], key: str, where: str) -> str:
    """Take out the key that says which."""
    value = table.pop(key, None)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} needs '{key}', a name; found {value!r}")
    return value
