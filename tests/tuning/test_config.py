"""The config of a pretraining: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrutiny.core.errors import InputError
from scrutiny.tuning.config import pretraining_of

GOOD = {
    "name": "mine",
    "corpus": {"files": ["cells.h5ad"]},
    "model": {"family": "geneformer", "width": 16},
    "objective": {"name": "masked_rank", "share": 0.2},
    "training": {"steps": 3},
}


def config(**changes):
    return pretraining_of({**GOOD, **changes}, Path("here"), "mine.toml", default_name="other")


def test_a_config_is_read_into_its_fields():
    read = config(seed=2)
    assert (read.name, read.seed, read.family, dict(read.sizes)) == ("mine", 2, "geneformer", {"width": 16})
    assert (read.objective, dict(read.options), read.training.steps, read.folder) == ("masked_rank", {"share": 0.2}, 3, Path("here"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": 3}, r"mine.toml needs a table \[training\]; found 3"),
        ({"family": "scgpt"}, "mine.toml has no option 'family'"),  # it stands in [model], and would be ignored here
        ({"folder": "cells"}, "mine.toml has no option 'folder'"),
        ({"sed": 1}, r"mine.toml has no option 'sed'; did you mean \['seed'\]"),
        ({"extra": {}}, r"it takes \['name', 'seed', 'weights', 'corpus', 'model', 'objective', 'training'\]"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_what_a_config_has_not_is_named(changes, said):
    with pytest.raises(InputError, match=said):
        config(**changes)
