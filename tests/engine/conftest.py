from dataclasses import replace

import pytest

from scrutiny.data.synth import planted


@pytest.fixture(scope="session")
def cells():
    """120 cells with three labels (``cell_type``), the same in two groups (``coarse``), and two batches."""
    data = planted(120, 40)
    return replace(data, obs=data.obs.assign(coarse=data.obs["cell_type"].replace({"type_2": "type_1"})))


@pytest.fixture
def calls(tmp_path):
    """A file in which toys note their fits."""
    return str(tmp_path / "calls.txt")


@pytest.fixture
def store_folder(tmp_path):
    return tmp_path / "results"
