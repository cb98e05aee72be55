"""How far the numbers of our nets are from those of the reference implementations: the family tests are run and what they compare is kept.

python benchmarks/parity.py             all families; writes benchmarks/results/parity.json, from which docs/MODELS.md has its table
python benchmarks/parity.py scgpt uce   these families; the others keep what was measured before

The reference numbers lie in the shared reference folder (see tests/conftest.py). Nothing is compared here: arrays that a test reads
from a fixture know their name, also after they were cut, and each comparison that a test makes against one is noted with its largest
difference and its tolerance. So the table says what the tests assert, and no more.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "parity.json"
TESTS = HERE.parent / "tests" / "methods" / "foundation"


class Named(np.ndarray):
    """An array of a fixture that knows which it is."""

    origin: tuple[str, str] | None = None
    notes: "Notes | None" = None

    def __array_finalize__(self, parent: Any) -> None:
        self.origin, self.notes = getattr(parent, "origin", None), getattr(parent, "notes", None)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        made = super().__array_function__(function, types, args, options)
        if not isinstance(made, np.ndarray):
            return made
        joined = made.view(Named)  # of several arrays
        joined.origin, joined.notes = self.origin, self.notes
        return joined

    def __eq__(self, other: Any) -> Any:  # a test may also say (found == expected["ids"]).all()
        same = np.asarray(self) == np.asarray(other)
        if self.notes is not None and np.all(same):
            self.notes.note(other, self)
        return same

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Comparison:
    """The widest comparison with one array of a fixture."""

    largest_difference: float = 0.0
    atol: float = 0.0
    rtol: float = 0.0
    tests: list[str] = field(default_factory=list)


class Notes:
    """A pytest plugin that notes what is compared with arrays of ``parity/MODEL/expected.npz``."""

    def __init__(self) -> None:
        self.compared: dict[str, dict[str, Comparison]] = {}
        self.arrays: dict[str, list[str]] = {}
        self.failed: list[str] = []
        self._test = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid.rpartition("/")[2]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def note(self, found: Any, expected: Any, atol: float = 0.0, rtol: float = 0.0) -> None:
        """Take down a comparison that has held."""
        origin = getattr(expected, "origin", None) or getattr(found, "origin", None)
        if origin is None:
            return
        model, array = origin
        known = self.compared.setdefault(model, {}).setdefault(array, Comparison())
        known.largest_difference = max(known.largest_difference, largest_difference(found, expected))
        known.atol, known.rtol = max(known.atol, atol), max(known.rtol, rtol)
        known.tests = sorted({*known.tests, self._test.partition("[")[0]})

    def read(self, file: np.lib.npyio.NpzFile, name: str, array: np.ndarray) -> np.ndarray:
        """The array with its name, if it is one of a fixture."""
        path = Path(file.zip.filename or getattr(file.fid, "name", ""))
        if path.name != "expected.npz" or path.parent.parent.name != "parity":
            return array
        self.arrays[path.parent.name] = list(file.files)
        named = array.view(Named)
        named.origin, named.notes = (path.parent.name, name), self
        return named


def largest_difference(found: Any, expected: Any) -> float:
    """Over all entries; NaN where NaN is expected is none."""
    found, expected = (np.asarray(values, dtype=np.float64) for values in (found, expected))
    return float(np.abs(np.where(np.isnan(found) & np.isnan(expected), 0.0, found - expected)).max(initial=0.0))


def watch(notes: Notes, patch: pytest.MonkeyPatch) -> None:
    """Let the comparisons of numpy and torch, and the reading of fixtures, tell."""

    def told(function: Callable[..., Any], tolerance: Callable[[dict[str, Any]], dict[str, float]]) -> Callable[..., Any]:
        @wraps(function)
        def compare(found: Any, expected: Any, *more: Any, **options: Any) -> Any:
            held = function(found, expected, *more, **options)
            if held is not False:
                notes.note(found, expected, **tolerance(options))
            return held

        return compare

    def exact(options: dict[str, Any]) -> dict[str, float]:
        return {}

    def near(options: dict[str, Any]) -> dict[str, float]:
        return {"atol": options.get("atol") or 0.0, "rtol": options.get("rtol", 1e-7) or 0.0}

    for module, name, tolerance in (
        (np, "array_equal", exact),
        (np, "allclose", near),
        (np.testing, "assert_array_equal", exact),
        (np.testing, "assert_allclose", near),
        (torch.testing, "assert_close", near),
    ):
        patch.setattr(module, name, told(getattr(module, name), tolerance))
    unwatched = np.lib.npyio.NpzFile.__getitem__
    patch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda file, name: notes.read(file, name, unwatched(file, name)))


def measured(families: list[str]) -> dict[str, Any]:
    """Model -> comparisons by array, and the arrays that no test compares with (most are inputs)."""
    notes = Notes()
    files = [TESTS / f"test_{family}.py" for family in families] if families else [TESTS]
    with pytest.MonkeyPatch.context() as patch:
        watch(notes, patch)
        pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not gpu", *map(str, files)], plugins=[notes])
    if notes.failed:
        raise SystemExit(f"failed, so nothing is written: {', '.join(notes.failed)}")
    return {
        model: {
            "compared": {name: rounded(asdict(compared[name])) for name in notes.arrays[model] if name in compared},
            "not_compared": [name for name in notes.arrays[model] if name not in compared],
        }
        for model, compared in sorted(notes.compared.items())
    }


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.2g}") if isinstance(value, float) else value for name, value in values.items()}


def main() -> None:
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() and sys.argv[1:] else {}
    RESULTS.write_text(json.dumps({**before, **measured(sys.argv[1:])}, indent=1) + "\n")


if __name__ == "__main__":
    main()
