"""The house rules that a machine can check: floors, file length, light import, no forbidden names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "scrutiny"
FLOORS = [{"core"}, {"data", "metrics", "nets"}, {"tuning"}, {"methods", "tasks"}, {"engine"}, {"report", "testing"}, {"cli"}]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
TOP = len(FLOORS)  # files that stand in the package itself: the doors


def imported_modules(source: str, package: list[str]) -> list[str]:
    """Every scrutiny module a file imports, hidden imports (in functions, under TYPE_CHECKING) included."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found += [".".join([*base, *([node.module] if node.module else []), alias.name]) for alias in node.names]
    return [name for name in found if name.split(".")[0] == "scrutiny"]


def breaches(source: str, path: Path) -> list[str]:
    """Imports of one file (path relative to the package) that do not go down."""
    package = ["scrutiny", *path.parts[:-1]]
    here = path.parts[0] if len(path.parts) > 1 else None
    height = FLOOR[here] if here else TOP
    bad = []
    for name in imported_modules(source, package):
        parts = name.split(".")
        there = parts[1] if len(parts) > 1 else "<root>"
        if there == here or (here is None and there not in FLOOR):
            continue
        if FLOOR.get(there, TOP) >= height:
            bad.append(f"{path}: {here or 'top'} -> {there}")
    return bad


def test_imports_go_down_only():
    bad = [b for p in sorted(ROOT.rglob("*.py")) for b in breaches(p.read_text(), p.relative_to(ROOT))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("metrics/x.py", "from scrutiny.data.h5ad import read_h5ad"),
        ("core/x.py", "def f():\n    import scrutiny.engine.store"),
        ("methods/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from scrutiny.tasks import cells"),
        ("data/x.py", "from scrutiny import metrics"),
        ("report/x.py", "from scrutiny import __version__"),
        ("data/x.py", "from ..metrics import neighbors"),
    ],
)
def test_a_planted_breach_is_seen(path, source):
    assert breaches(source, Path(path))


def test_arrays_only_in_metrics_and_anndata_only_at_the_door():
    for path in ROOT.rglob("*.py"):
        modules = {name.split(".")[0] for name in all_imports(path.read_text())}
        folder = path.relative_to(ROOT).parts[0]
        if folder not in ("data", "methods") and path.parent != ROOT:
            assert not modules & {"anndata", "scanpy"}, path
        if folder in ("core", "data", "metrics", "report"):
            assert "torch" not in modules, path


def all_imports(source: str) -> list[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    return plain + [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]


def test_files_are_short_and_well_named():
    for path in ROOT.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, f"{path} is too long"
        assert path.stem not in {"utils", "helpers", "common", "misc", "base", "manager"}, path


def test_import_loads_nothing_heavy_and_has_no_side_effect():
    heavy = ("numpy", "pandas", "scipy", "torch", "scanpy", "anndata", "sklearn", "matplotlib")
    code = f"import sys, scrutiny; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
