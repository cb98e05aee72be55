"""What is left out before scoring, and that it is said."""

import numpy as np
import pytest

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError
from scrutiny.data.quality import keep_good
from scrutiny.data.synth import planted


def made(values, obs, **more):
    return from_arrays("cells", values, obs, [f"g{j}" for j in range(values.shape[1])], **more)


def test_good_data_come_back_as_they_are():
    data = planted()
    assert keep_good(data) is data


def test_silent_cells_and_genes_are_left_out_and_counted():
    source = planted(n_cells=60, n_genes=50)
    counts = source.values.toarray()
    counts[[3, 4]] = 0
    counts[:, 10] = 0
    data = keep_good(made(counts, source.obs))
    assert data.matrix.shape == (58, 49)
    assert "g10" not in data.genes and source.cell_ids[3] not in data.cell_ids
    assert data.notes == (
        "2 of 60 cells were left out: they express fewer than 1 genes.",
        "1 of 50 genes were left out: they are zero in all cells.",
    )


def test_a_gene_of_shallow_cells_only_goes_with_them():
    source = planted(n_cells=60, n_genes=50)
    counts = source.values.toarray()
    counts[:, 0], counts[5] = 0, 0
    counts[5, 0] = 9
    counts = np.hstack([counts, np.zeros((60, 100))])
    data = keep_good(made(counts, source.obs))
    assert "g0" not in data.genes and data.n_cells == 59


def test_the_bound_is_200_genes_on_whole_transcriptomes():
    rng = np.random.default_rng(0)
    counts = np.zeros((40, 30_000))
    for row, n in enumerate([199] * 5 + [200] * 35):
        counts[row, rng.permutation(30_000)[:n]] = 1
    data = keep_good(made(counts, planted(n_cells=40).obs))
    assert data.n_cells == 35
    assert data.notes[0] == "5 of 40 cells were left out: they express fewer than 200 genes."


@pytest.mark.parametrize("missing", [np.nan, None, "", " NaN ", "NA"])
@pytest.mark.parametrize("role", ["label", "batch"])
def test_cells_without_a_value_are_left_out(role, missing):
    data = planted(n_cells=60)
    column = data.roles[role]
    obs = data.obs.astype(object)
    obs.iloc[:7, obs.columns.get_loc(column)] = missing
    kept = keep_good(made(data.values, obs, roles=data.roles))
    assert kept.n_cells == 53
    assert kept.notes == (f"7 of 60 cells were left out: they have no {role}.",)


def test_categories_with_missing_values():
    data = planted(n_cells=60)
    obs = data.obs.astype("category")
    obs.iloc[:7, 0] = np.nan
    assert set(keep_good(made(data.values, obs, roles=data.roles)).role("label")) == {"type_0", "type_1", "type_2"}


def test_columns_that_play_no_role_may_have_gaps():
    data = planted(n_cells=60)
    obs = data.obs.assign(other=np.nan)
    assert keep_good(made(data.values, obs, roles=data.roles)).n_cells == 60


def test_scaled_values_lose_nothing():
    obs = planted(n_cells=30).obs
    values = np.random.default_rng(0).standard_normal((30, 10))
    values[0], values[:, 0] = 0, 0
    assert keep_good(made(values, obs, scale=Scale.SCALED)).matrix.shape == (30, 10)


def test_too_few_cells_are_refused_with_the_reasons():
    data = planted(n_cells=60)
    obs = data.obs.assign(cell_type=[""] * 50 + ["a"] * 10)
    with pytest.raises(InputError, match="has 10 usable cells; expected at least 20. 50 of 60 cells were left out: they have no label"):
        keep_good(made(data.values, obs, roles=data.roles))
    with pytest.raises(InputError, match="has 12 usable cells.*no more than 12"):
        keep_good(planted(n_cells=12))
