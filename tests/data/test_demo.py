"""The demo's data: counts recovered exactly from scanpy's own file, and a batch that was planted and says so."""

import numpy as np
import pytest

from scrutiny.core.dataset import Scale, from_arrays
from scrutiny.core.errors import InputError
from scrutiny.data.confounding import confounding
from scrutiny.data.demo import demo, with_planted_batch
from scrutiny.data.read import read
from scrutiny.data.synth import planted


@pytest.fixture(scope="module")
def both():
    return demo()


def test_real_cells_with_raw_counts(both):
    cells = both[0]
    assert (cells.n_cells, cells.n_genes, cells.scale, cells.organism) == (700, 765, Scale.COUNTS, "human")
    assert cells.values.sum(dtype=float) == 486_651  # sum of the counts that scanpy's developers published
    assert cells.roles == {"label": "bulk_labels"} and len(set(cells.role("label"))) == 10
    assert cells.facts["label_origin"] == "transferred" and "planted" not in cells.facts


def test_they_are_the_published_counts(both, shared_data):
    published = read(shared_data / "pbmc68k_reduced.h5ad")
    assert both[0].matrix.digest == published.matrix.digest
    assert both[0].cell_ids.tolist() == published.cell_ids.tolist() and both[0].genes.tolist() == published.genes.tolist()


def test_the_planted_batch_thins_half_of_each_label_and_nothing_else(both):
    cells, planted_batch = both
    thinned = planted_batch.role("batch") == "thinned"
    assert planted_batch.cell_ids.tolist() == cells.cell_ids.tolist()
    assert confounding(planted_batch.role("label"), planted_batch.role("batch")).cramers_v < 0.05
    difference = cells.values - planted_batch.values
    assert difference[np.flatnonzero(~thinned)].count_nonzero() == 0
    assert difference.min() == 0, "molecules are only lost"
    kept = planted_batch.values[np.flatnonzero(thinned)].sum() / cells.values[np.flatnonzero(thinned)].sum()
    assert 0.4 < kept < 0.6


def test_it_is_plainly_named_as_planted(both):
    data = both[1]
    assert data.name == "pbmc68k_reduced_planted_batch" and data.roles["batch"] == "planted_batch"
    assert "351 of 700 cells thinned" in data.facts["planted"]
    assert data.notes[-1].startswith("Planted, not measured: a technical batch")


def test_it_is_the_same_every_time(both):
    assert with_planted_batch(both[0]).fingerprint == both[1].fingerprint
    assert with_planted_batch(both[0], seed=1).fingerprint != both[1].fingerprint


def test_a_batch_is_only_planted_into_labelled_counts():
    with pytest.raises(InputError, match="labelled counts; 'planted' has counts values"):
        with_planted_batch(planted().with_roles(label=None))
    source = planted()
    with pytest.raises(InputError, match="labelled counts; 'cells' has log values"):
        with_planted_batch(from_arrays("cells", source.values, source.obs, source.genes, roles=source.roles, scale=Scale.LOG))


def test_a_scanpy_without_the_file_is_refused(monkeypatch):
    monkeypatch.setattr("scrutiny.data.demo.FILE", "gone.h5ad")
    with pytest.raises(InputError, match="scanpy's file gone.h5ad was not found"):
        demo()
