"""Cells of three chemistries with known batch effects, and the way methods are asked."""

import numpy as np
import pytest

from scrutiny.core.dataset import Dataset
from scrutiny.data.read import read


@pytest.fixture(scope="session")
def chemistries(shared_data) -> Dataset:
    """600 of the 1,500 PBMC of three 10x chemistries, sorted by nothing: batches and labels are mixed in the file."""
    cells = read(shared_data / "pbmc_3chem_symphony.h5ad", roles={"label": "cell_type", "batch": "batch"})
    return cells.take(np.random.default_rng(0).permutation(cells.n_cells)[:600])
