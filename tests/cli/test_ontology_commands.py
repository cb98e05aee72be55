"""The commands on the ontology and the options that name one, as a person uses them."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scrutiny.cli.app import app
from scrutiny.core.errors import InputError

SMALL = str(Path(__file__).parents[1] / "data" / "small.obo")


def said(*arguments, code=0):
    """What a command prints; its errors come as they are."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def cells(tmp_path):
    """Sixty cells of four labels, one of which is no term by name."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"type": np.tile(["B cells", "Monocytes", "Dendritic", "CD4 T"], 15)}, index=[f"c{i}" for i in range(60)])
    made = ad.AnnData(rng.poisson(2.0, (60, 40)).astype(np.float32), obs, pd.DataFrame(index=[f"g{i}" for i in range(40)]))
    made.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_names_with_brackets_are_shown_as_they_are(tmp_path):
    obo = "ontology: cl\n\n[Term]\nid: CL:0000001\nname: cell [/b]\n\n[Term]\nid: CL:0000002\nname: kind [red]\nis_a: CL:0000001\n"
    (tmp_path / "odd.obo").write_text(obo)
    shown = said("ontology", "show", "CL:0000002", "--ontology", tmp_path / "odd.obo")
    assert "kind [red]" in shown and "CL:0000001 cell [/b]" in shown


def test_show():
    shown = said("ontology", "show", "T-Cells", "--ontology", SMALL)
    assert all(text in shown for text in ("CL:0000084  T cell", "T lymphocyte", "CL:0000542 lymphocyte", "leukocyte (2)", "2026-03-26"))
    assert "CL:0000624 CD4-positive, alpha-beta T cell" in shown
    with pytest.raises(InputError, match="near CL:0000576 monocyte"):
        said("ontology", "show", "monocite", "--ontology", SMALL)
    with pytest.raises(InputError, match="may be any of"):
        said("ontology", "show", "mononuclear", "--ontology", SMALL)
    with pytest.raises(InputError, match="no single term that is called so: 'CL:0000004'"):
        said("ontology", "show", "CL:0000004", "--ontology", SMALL)


def test_map_writes_a_table_to_fill_in(cells, tmp_path):
    shown = said("ontology", "map", cells, "--label", "type", "--ontology", SMALL, "-o", tmp_path / "terms.tsv")
    assert "CL:0000451" in shown and "Not mapped" in shown and "CD4-positive, alpha-beta T cell" in shown
    written = (tmp_path / "terms.tsv").read_text()
    assert "B cells\tCL:0000236\tB cell\n" in written and "CD4 T\t\t\n" in written
    again = ("ontology", "map", cells, "--label", "type", "--ontology", SMALL, "--terms", tmp_path / "terms.tsv")
    assert "Not mapped" in said(*again)
    (tmp_path / "terms.tsv").write_text(written.replace("CD4 T\t", "CD4 T\tCL:0000624"))
    assert "Every label is a term" in said(*again)
    with pytest.raises(InputError, match="no column 'tipe'"):
        said("ontology", "map", cells, "--label", "tipe", "--ontology", SMALL)


def test_without_an_ontology_the_command_is_named():
    with pytest.raises(InputError, match="`scrutiny ontology fetch`"):
        said("ontology", "show", "T cell")


def test_fetch(tmp_path, monkeypatch):
    """From the address of a file; the transfer itself has tests of its own."""
    from scrutiny.data import ontology_release

    def brought(folder, *, anew, progress):
        place = folder or ontology_release.ontology_folder()
        place.mkdir(parents=True)
        (place / ontology_release.NAME).write_bytes(Path(SMALL).read_bytes())
        return place / ontology_release.NAME

    monkeypatch.setattr(ontology_release, "fetch_ontology", brought)
    assert "Cell Ontology 2026-03-26, 9 terms. It is used from now on" in said("ontology", "fetch")
    assert "T cell" in said("ontology", "show", "T cell")


def test_the_options_of_plan(cells, tmp_path):
    (tmp_path / "terms.tsv").write_text("label\tcl_id\nCD4 T\tCL:0000624\n")
    common = ("plan", cells, "--label", "type", "--task", "type_relations", "--methods", "pca", "-o", tmp_path / "out")
    assert "Not mapped: 'CD4 T'" in said(*common, "--ontology", SMALL)
    assert "4 of 4 labels of 'type' are terms" in said(*common, "--ontology", SMALL, "--terms", tmp_path / "terms.tsv")
    assert "terms of the Cell Ontology" not in said(*common)
    with pytest.raises(InputError, match="but there is no ontology"):
        said(*common, "--terms", tmp_path / "terms.tsv")
