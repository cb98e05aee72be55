"""The Cell Ontology from an OBO file and from tables: what is taken, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.data import ontology as module
from scrutiny.data.ontology import read_ontology

SMALL = Path(__file__).with_name("small.obo")
"""In the form of the official file, with a dozen of its terms."""


@pytest.fixture(params=["small.obo", "small.obo.gz"])
def found(request, tmp_path):
    content = SMALL.read_bytes()
    (tmp_path / request.param).write_bytes(gzip.compress(content) if request.param.endswith(".gz") else content)
    return read_ontology(tmp_path / request.param)


def test_terms_parents_names_and_version_of_an_obo_file(found):
    assert len(found.terms) == 9 and found.version == "2026-03-26"
    assert found.ancestors("CL:0000624") == {"CL:0000084", "CL:0000542", "CL:0000738", "CL:0000000"}
    assert found.direct_parents("CL:0000451") == ("CL:0000738",)  # what it is a kind of in other ontologies is left out
    assert found.name("CL:0000084") == "T cell"


def test_exact_synonyms_alone(found):
    assert found.synonyms["CL:0000084"] == ("T lymphocyte", "T-cell", 'a "quoted" name')


def test_obsolete_and_merged_terms_are_gone_and_lead_to_what_replaced_them(found):
    assert not {"CL:0000003", "CL:0000577"} & {*found.terms} and "CL:0000004" not in found.replaced_by
    assert found.replaced_by == {"CL:0000003": "CL:0000000", "CL:0000577": "CL:0000576"}


TABLES = {
    "cl_parents.tsv": "child\tparent\nCL:2\tCL:1\nCL:3\tCL:2\n",
    "cl_terms.tsv": "id\tlabel\tdeprecated\treplaced_by\tsynonyms\n"
    "CL:1\tcell\tFalse\t\t\nCL:2\tT cell\tFalse\t\tT lymphocyte|T-cell\nCL:3\tNA\tFalse\t\t\nCL:9\tobsolete x\tTrue\tCL:2\t\n",
}


def folder_of(tmp_path, **changed):
    for name, text in {**TABLES, **changed}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_of_two_tables(tmp_path):
    found = read_ontology(folder_of(tmp_path))
    assert found.terms.tolist() == ["CL:1", "CL:2", "CL:3"] and found.ancestors("CL:3") == {"CL:1", "CL:2"}
    assert found.synonyms == {"CL:2": ("T lymphocyte", "T-cell")} and found.replaced_by == {"CL:9": "CL:2"}
    assert found.names.tolist() == ["cell", "T cell", "NA"]


def test_the_same_terms_and_parents_have_the_same_key_from_any_source(tmp_path):
    table = tmp_path / "parents.tsv"
    table.write_text(TABLES["cl_parents.tsv"])
    assert read_ontology(table).key == read_ontology(folder_of(tmp_path)).key


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cl_parents.tsv", "child\tparent\nCL:2\tCL:7\n", r"makes terms kinds of CL:7 \(1 such\)"),
        ("cl_parents.tsv", "child\tparent\nCL:2\tCL:9\n", "calls obsolete"),
        ("cl_parents.tsv", "child\tparent\nCL:8\tCL:1\n", "has parents of CL:8"),
        ("cl_parents.tsv", "child\tparent\nCL:1\tCL:2\nCL:2\tCL:1\n", "an ancestor of itself"),
        ("cl_terms.tsv", "term\tname\nCL:1\tcell\n", "expected a table of 'id' and 'label'"),
        ("cl_terms.tsv", "id\tlabel\n", "0 rows"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, name, text, said):
    with pytest.raises(InputError, match=said):
        read_ontology(folder_of(tmp_path, **{name: text}))


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no cl_parents.tsv"):
        read_ontology(tmp_path)


HEADER = "format-version: 1.2\nontology: cl\n\n"
CIRCLE = "[Term]\nid: CL:1\nname: a\nis_a: CL:2\n\n[Term]\nid: CL:2\nname: b\nis_a: CL:1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + CIRCLE, "an ancestor of itself"),
        (HEADER + "[Term]\nid: CL:1\nname: a\nis_a: CL:5\n", "makes terms kinds of CL:5"),
        (HEADER + "[Term]\nid: GO:1\nname: a\n", "is it the Cell Ontology"),
        ("<html><body>Not found</body></html>\n", "is no OBO file|is it the Cell Ontology"),
        ("", "is it the Cell Ontology|is no OBO file"),
        (HEADER + "[Term]\nname: without an id\n", "is no OBO file"),
        (HEADER + "[Term]\nid: CL:1\nname: a\nrelationship: part_of\n", "is no OBO file"),
        ("\x00\x01\x02", "is no OBO file|is it the Cell Ontology"),
    ],
)
def test_other_obo_files_are_refused(tmp_path, text, said):
    (tmp_path / "x.obo").write_text(text)
    with pytest.raises(InputError, match=said):
        read_ontology(tmp_path / "x.obo")


def test_what_is_cut_or_too_large_is_refused(tmp_path, monkeypatch):
    packed = gzip.compress(SMALL.read_bytes() * 50)
    (tmp_path / "cut.obo.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="cut or damaged"):
        read_ontology(tmp_path / "cut.obo.gz")
    monkeypatch.setattr(module, "LARGEST", 1000)
    (tmp_path / "bomb.obo.gz").write_bytes(packed)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_ontology(tmp_path / "bomb.obo.gz")
    monkeypatch.setattr(module, "MOST_TERMS", 2)
    with pytest.raises(InputError, match="3 terms; expected at most 2"):
        read_ontology(folder_of(tmp_path))


def test_a_file_made_to_take_long_or_to_fill_the_memory_does_not(tmp_path):
    """A line of a million blanks; and a term that has 20,000 kinds and 20,000 parents, hence 400 million pairs."""
    (tmp_path / "blanks.obo").write_text(HEADER + "[Term]\nid: CL:1\nname: a" + " " * 1_000_000 + "b\n")
    assert read_ontology(tmp_path / "blanks.obo").names.tolist() == ["a b"]
    kinds = "".join(f"k{i}\thub\nhub\tp{i}\n" for i in range(20_000))
    (tmp_path / "hub.tsv").write_text(f"child\tparent\n{kinds}")
    with pytest.raises(InputError, match="ways up among 40,001 terms"):
        read_ontology(tmp_path / "hub.tsv")


def test_the_tables_of_the_cell_ontology(shared_data):
    """Known of the release: CD4 and CD8 T cells meet in the mature alpha-beta T cell, neurons far above."""
    found = read_ontology(shared_data)
    assert len(found.terms) == 3324 and found.name("CL:0000624") == "CD4-positive, alpha-beta T cell"
    assert found.lowest_common_ancestors("CL:0000624", "CL:0000625") == ("CL:0000791",)
    steps = found.distances(["CL:0000624", "CL:0000625", "CL:0000540"])
    assert steps[0, 1] == 2 and steps[0, 2] > 5 and np.array_equal(steps, steps.T)
