"""Columns are proposed by name, if their values allow it; what was taken is said."""

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.dataset import from_arrays
from scrutiny.data.propose import propose_roles, with_proposed_roles
from scrutiny.data.read import read
from scrutiny.data.synth import planted


def table(**columns):
    n = 60
    filled = {name: np.arange(n) % k if isinstance(k, int) else k for name, k in columns.items()}
    return pd.DataFrame(filled, index=[f"c{i}" for i in range(n)])


def columns(obs, role):
    return [p.column for p in propose_roles(obs)[role]]


def test_names_are_ranked_and_finer_labels_come_first():
    obs = table(leiden=5, celltype_coarse=3, CellType=6, celltype_fine=12, cell_type_ontology_term_id=6, donor_id=4, sample=8, Batch=2)
    assert columns(obs, "label") == ["CellType", "celltype_fine", "celltype_coarse", "leiden"]
    assert columns(obs, "batch") == ["Batch", "sample", "donor_id"]
    assert columns(obs, "donor") == ["donor_id"]


def test_groups_that_can_be_held_out_are_known_by_name_and_not_missed():
    obs = table(cell_type=6, study=3, Species=2, organ_tissue=4, organism_ontology_term_id=2, tissue_score=3)
    assert columns(obs, "study") == ["study"] == columns(obs, "batch"), "a study is a batch too"
    assert columns(obs, "species") == ["Species"] and columns(obs, "tissue") == ["organ_tissue"]
    data = with_proposed_roles(from_arrays("cells", planted(n_cells=60).values, table(cell_type=3, batch=2, organism=1), planted().genes))
    assert data.roles == {"label": "cell_type", "batch": "batch"} and len(data.notes) == 2, "one organism is nothing to hold out"


@pytest.mark.parametrize("values", [np.full(60, "a"), np.arange(60), np.arange(60) / 7, np.arange(60).astype(str)])
def test_values_that_cannot_be_a_label(values):
    assert columns(table(cell_type=values), "label") == []


@pytest.mark.parametrize("name", ["seurat_clusters", "RNA_snn_res.0.8", "louvain", "leiden_1.0", "Cluster"])
def test_clusterings_are_known_by_name(name):
    data = with_proposed_roles(from_arrays("cells", planted(n_cells=60).values, table(**{name: 4}), planted().genes))
    assert data.roles == {"label": name} and data.facts["label_origin"] == "clustered"
    assert "it is a clustering, which favours methods like the one that made it" in data.notes[0]


@pytest.mark.parametrize("name", ["n_genes", "percent_mito", "S_score", "cell_type_colors", "total", "time"])
def test_other_columns_are_left_alone(name):
    assert columns(table(**{name: 4}), "label") == columns(table(**{name: 4}), "batch") == []


def test_what_was_taken_is_said():
    obs = table(cell_type=3, cell_type_fine=6, batch=1)
    data = with_proposed_roles(from_arrays("cells", planted(n_cells=60).values, obs, planted().genes))
    assert data.roles == {"label": "cell_type"}
    assert data.notes == (
        "Nobody named the label, so it was taken from 'cell_type' (3 values): it is named cell type. Others could be: 'cell_type_fine'.",
        "No batch column was found ('batch' has a single value); name one with --batch COLUMN if there is one.",
    )


def test_named_roles_stay():
    data = with_proposed_roles(planted().with_roles(label="batch"))
    assert data.roles["label"] == "batch" and data.notes == () and "label_origin" not in data.facts


def test_real_files(shared_data):
    found = {name: with_proposed_roles(read(shared_data / f"{name}.h5ad")).roles for name in ("kang_ifnb", "zheng_facs", "ccle_expr_706")}
    assert found == {
        "kang_ifnb": {"label": "cell_type", "batch": "batch", "donor": "donor"},
        "zheng_facs": {"label": "cell_type"},
        "ccle_expr_706": {},
    }
