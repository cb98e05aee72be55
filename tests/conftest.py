"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material: real cells, parity values. Tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SCRUTINY_SHARED", Path(__file__).parents[1].parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared reference folder is absent")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    return shared / "data"
