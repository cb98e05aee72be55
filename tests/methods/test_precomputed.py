"""Ready-made arrays are methods like others."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.data.synth import planted
from scrutiny.methods.precomputed import Precomputed
from scrutiny.testing import check_embedder
from scrutiny.testing.embedder import example_cells

CELLS = example_cells(Precomputed.card)
CELLS = replace(CELLS, obsm={"X_mine": np.random.default_rng(0).normal(size=(CELLS.n_cells, 4)), "X_other": np.ones((CELLS.n_cells, 2))})


def test_the_array_of_that_name_goes_with_its_cells():
    rows = np.arange(CELLS.n_cells)[::-1]
    found = Precomputed("X_mine").fit(CELLS, seed=0).embed(CELLS.take(rows))
    np.testing.assert_allclose(found.values, CELLS.obsm["X_mine"][rows], rtol=1e-6)
    assert found.cell_ids[0] == CELLS.cell_ids[-1]


def test_a_missing_array_is_named():
    with pytest.raises(InputError, match="'planted' has no array 'X_mine'"):
        Precomputed("X_mine").embed(planted(10, 5))


def test_contract():
    check_embedder(lambda: Precomputed("X_mine"), data=CELLS)
