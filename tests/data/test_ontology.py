"""Ancestors by hand on five terms, and on the Cell Ontology against what is known of it."""

import gzip

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.data.ontology import read_ontology

FIVE = "child\tparent\nT\tcell\nCD4\tT\nCD8\tT\nB\tcell\n"


def read(folder, text, name="parents.tsv"):
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return read_ontology(folder / name)


@pytest.mark.parametrize("name", ["parents.tsv", "parents.tsv.gz"])
def test_ancestors_are_closed(tmp_path, name):
    five = read(tmp_path, FIVE, name)
    assert five.terms.tolist() == ["B", "CD4", "CD8", "T", "cell"]
    assert {term: set(five.ancestors(term)) for term in five.terms} == {
        "B": {"cell"},
        "CD4": {"T", "cell"},
        "CD8": {"T", "cell"},
        "T": {"cell"},
        "cell": set(),
    }


def test_comparable_terms_are_the_same_or_one_above_the_other(tmp_path):
    five = read(tmp_path, FIVE)
    apart = ~five.comparable()
    pairs = {tuple(five.terms[[i, j]].tolist()) for i, j in zip(*np.nonzero(np.triu(apart)), strict=True)}
    assert pairs == {("B", "CD4"), ("B", "CD8"), ("B", "T"), ("CD4", "CD8")}
    assert np.array_equal(apart, apart.T)


def test_a_term_may_have_several_parents_and_long_lines_are_closed(tmp_path):
    chain = "child\tparent\n" + "".join(f"{i}\t{i + 1}\n" for i in range(10, 40)) + "10\tside\n"
    found = read(tmp_path, chain)
    assert found.ancestors("10") == {str(i) for i in range(11, 41)} | {"side"} and found.ancestors("39") == {"40"}


def test_codes(tmp_path):
    five = read(tmp_path, FIVE)
    assert five.codes(np.array(["cell", "", "B", "unknown"])).tolist() == [4, -1, 0, -1]
    with pytest.raises(InputError, match=r"no term NK, zebra \(2 such\)"):
        five.codes(np.array(["zebra", "B", "NK", "zebra"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("child\tparent\na\tb\nb\tc\nc\ta\n", "a an ancestor of itself"),
        ("child\tparent\na\ta\n", "a an ancestor of itself"),
        ("child\tparent\n", "0 rows"),
        ("kind,of\na,b\n", "expected a table of 'child' and 'parent'"),
        ("", "is no tab-separated table"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_not_there_or_is_broken(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_ontology(tmp_path / "none.tsv")
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(FIVE.encode() * 100)[:40])
    with pytest.raises(InputError, match="is no tab-separated table"):
        read_ontology(tmp_path / "cut.tsv.gz")


def test_the_cell_ontology(shared_data):
    """A naive CD4 T cell is a T cell and a leukocyte; it is no B cell and no monocyte."""
    found = read_ontology(shared_data / "cl_parents.tsv.gz")
    above = found.ancestors("CL:0000895")
    assert {"CL:0000624", "CL:0000084", "CL:0000738", "CL:0000000"} <= above and not {"CL:0000236", "CL:0000576"} & above
