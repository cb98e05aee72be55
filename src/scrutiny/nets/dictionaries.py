"""Vocabularies, medians and offsets that come beside the weights, mostly as pickles: read without running any code in them."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

from scrutiny.core.errors import InputError

ALLOWED = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
}
"""What a pickle may name: the parts of numpy scalars. Dictionaries, lists, strings and plain numbers need no names."""


def read_dictionary(path: Path) -> dict[Any, Any]:
    """A dictionary of plain keys and values from ``.json`` or a pickle. Raises InputError for everything else."""
    try:
        found = json.loads(path.read_text()) if path.suffix == ".json" else _Restricted(io.BytesIO(path.read_bytes())).load()
    except (ValueError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"{path} is not a dictionary of plain values: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}; expected a dictionary")
    return found


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to run '{module}.{name}', which no dictionary needs; nothing was run")
        return super().find_class(module, name)
