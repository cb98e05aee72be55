"""What numbers rest on beside the data: versions of libraries, and the commit where scrutiny runs from a checkout."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

LIBRARIES = ("scrutiny", "numpy", "scipy", "scikit-learn", "pandas", "anndata", "scanpy")


def library_versions() -> dict[str, str]:
    """Versions of Python, the system and the libraries that every Run rests on."""
    return {"python": platform.python_version(), "system": platform.system(), **{name: _version(name) for name in LIBRARIES}}


def module_versions(modules: Iterable[str]) -> dict[str, str]:
    """Module to version of the package that holds it; "unknown" for one that tells none."""
    return {module: _version(_distribution(module)) for module in sorted(modules)}


@cache
def commit() -> str:
    """Commit of the checkout that this package runs from, with "+changes" where files differ from it; '' outside of one."""
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # the repository may be another one, around the environment
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


@cache
def _distribution(module: str) -> str:
    """Name on the package index of what holds a module (``sklearn`` is in ``scikit-learn``)."""
    return packages_distributions().get(module.split(".")[0], [module])[0]
