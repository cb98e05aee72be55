"""Labels become terms by table, column, name and synonym; what may be several things becomes none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError
from scrutiny.data.label_terms import TERM_COLUMN, map_labels, read_terms_table, spelling_of, with_terms
from scrutiny.data.ontology import read_ontology

SMALL = read_ontology(Path(__file__).with_name("small.obo"))
T, B, CD4, CD8, MONO, DC = "CL:0000084", "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000576", "CL:0000451"


@pytest.mark.parametrize(
    ("label", "term", "how"),
    [
        ("T cell", T, "name"),
        ("T cells", T, "name"),
        ("t_cell", T, "name"),
        ("T-Cell", T, "name"),
        ("T", T, "name"),
        ("Monocytes", MONO, "name"),
        ("Dendritic", DC, "name"),
        ("CD4+ alpha/beta T cells", CD4, "name"),
        ("T lymphocytes", T, "synonym"),
        ("White blood cells", "CL:0000738", "synonym"),
        ("CL:0000084", T, "id"),
        ("CL_0000236", B, "id"),
        ("CL:0000003", "CL:0000000", "id"),
    ],
)
def test_labels_that_are_found(label, term, how):
    found = map_labels([label], SMALL).terms
    assert found.by_label == {label: term} and found.found_by == {label: how}


@pytest.mark.parametrize("label", ["zebra", "CD4 T", "thymus", "obsolete native cell", "CL:0000004", "CL:9999999", "", "unknown", "NaN"])
def test_labels_that_are_not_found(label):
    assert map_labels([label], SMALL).terms.by_label == {}


def test_what_several_terms_are_called_is_not_guessed():
    (found,) = map_labels(["Mononuclear"], SMALL).unmapped
    assert found.is_ambiguous and found.candidates == (DC, MONO)
    assert found.sentence(SMALL) == "'Mononuclear' (may be any of CL:0000451 dendritic cell, CL:0000576 monocyte)"


@pytest.mark.parametrize(("label", "near"), [("Monocites", MONO), ("CD4 T", CD4), ("activated T cell", T), ("Mono", MONO), ("CD8+ T", CD8)])
def test_near_matches_are_shown(label, near):
    (found,) = map_labels([label], SMALL).unmapped
    assert not found.is_ambiguous and near in found.candidates and len(found.candidates) <= 3


def test_the_table_goes_before_the_column_and_the_column_before_the_name():
    assert map_labels(["B"], SMALL, table={"B": T}, column={"B": CD4}).terms.by_label == {"B": T}
    assert map_labels(["B"], SMALL, column={"B": CD4}).terms.by_label == {"B": CD4}


@pytest.mark.parametrize(
    ("label", "spelling"),
    [
        ("CD14+ Monocytes", "cd14 positive monocyte"),
        ("CD4+/CD25- T", "cd4 positive cd25 negative t"),
        ("alpha-beta", "alpha beta"),
        ("Mast_cells", "mast cell"),
        ("basophilic erythroblasts (bone marrow)", "basophilic erythroblast bone marrow"),
        ("Langerhans cells", "langerhan cell"),
        ("nucleus", "nucleus"),
    ],
)
def test_spellings(label, spelling):
    assert spelling_of(label) == spelling


def cells(**columns):
    obs = pd.DataFrame(columns, index=[f"c{i}" for i in range(len(next(iter(columns.values()))))])
    return from_arrays("cells", np.ones((len(obs), 2)), obs, ["g1", "g2"], roles={"label": next(iter(columns))})


def test_the_column_of_terms_counts_where_label_and_term_go_together():
    """'x' has two terms; 'y' and 'z' share one; 'w' and 'Monocytes' have their own; what the column calls obsolete is replaced."""
    data = cells(
        label=["x", "x", "y", "z", "w", "w", "Monocytes", "v"], **{TERM_COLUMN: [T, B, CD4, CD4, CD8, CD8, DC, "CL:0000003"]}
    )
    found = with_terms(data, ["label"], SMALL)
    assert found.terms.by_label == {"Monocytes": DC, "v": "CL:0000000", "w": CD8}
    assert found.terms.found_by == {"Monocytes": "column", "v": "column", "w": "column"}


def test_a_note_says_what_did_not_map():
    data = cells(label=["T cells", "Monocites", "Mononuclear"], other=["B", "B", "T"])
    found = with_terms(data, ["label", "other"], replace(SMALL, version="2026-03-26"))
    assert found.terms.by_label == {"B": B, "T": T, "T cells": T}
    first, second = found.notes
    assert first.startswith("1 of 3 labels of 'label' are terms of the Cell Ontology (version 2026-03-26). Not mapped: 'Monocites' (near")
    assert "'Mononuclear' (may be any of" in first and first.endswith("with --terms.")
    assert second == "2 of 2 labels of 'other' are terms of the Cell Ontology (version 2026-03-26)."
    assert data.terms is None and data.notes == ()


def table(tmp_path, text):
    (tmp_path / "terms.tsv").write_text(text)
    return read_terms_table(tmp_path / "terms.tsv", SMALL)


def test_the_table_of_a_user(tmp_path):
    found = table(tmp_path, f"label\tcl_id\tremark\nMono\t{MONO}\tx\nNA\t{T}\t\nold\tCL:0000003\t\n")
    assert found == {"Mono": MONO, "NA": T, "old": "CL:0000000"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label\tcl_id\nx\tCL:77\n", "'x' is CL:77, which the ontology has not"),
        (f"label\tcl_id\nx\t{T}\nx\t{B}\n", "gives the label 'x' two terms"),
        ("name,term\nx,y\n", "expected a table of 'label' and 'cl_id'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        table(tmp_path, text)


def test_labels_of_real_data_sets(shared_data):
    """By name alone no label gets another term than the one that was chosen by hand, save terms that say more or less of the same."""
    ontology = read_ontology(shared_data)
    by_hand = read_terms_table(shared_data / "cl_label_map.tsv.gz", ontology)
    found = map_labels(by_hand, ontology).terms.by_label
    other = {label: term for label, term in found.items() if term != by_hand[label]}
    assert set(other) <= {"CD19+ B cell", "acinar"}
    assert all(ontology.ancestors(term) & {by_hand[label]} or ontology.ancestors(by_hand[label]) & {term} for label, term in other.items())
    assert {"B cells", "CD14+ Monocytes", "Dendritic cells", "Megakaryocytes", "Platelet", "macrophage"} <= found.keys()
