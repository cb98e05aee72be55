"""The table [corpus]: what it may hold and what is said of the rest."""

import re
from pathlib import Path

import pytest

from scrutiny.core.errors import InputError
from scrutiny.data.corpus_config import CorpusConfig, CorpusFile, read_corpus_config


@pytest.fixture
def folder(tmp_path):
    for name in ("b.h5ad", "a.h5ad", "more/c.h5ad", "genes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("GENE1\n")
    return tmp_path


def read(folder, **table):
    return CorpusConfig.from_fields(table, folder, "made.toml")


def test_paths_globs_and_tables_are_files_in_the_order_given(folder):
    found = read(folder, files=["more/c.h5ad", "*.h5ad", {"path": "more/c.h5ad", "name": "again", "studies": "donor"}])
    assert [(file.name, file.path) for file in found.files] == [
        ("c", folder / "more/c.h5ad"),
        ("a", folder / "a.h5ad"),
        ("b", folder / "b.h5ad"),
        ("again", folder / "more/c.h5ad"),
    ]
    assert found.files[3] == CorpusFile(folder / "more/c.h5ad", name="again", studies="donor")


def test_values_are_checked_by_kind(folder):
    found = read(folder, files=["a.h5ad"], genes="genes.txt", max_mito=1, hold_out="b*", hold_out_cells_of=["b.h5ad"], seed=3)
    assert (found.genes, found.max_mito, found.hold_out, found.seed) == (folder / "genes.txt", 1.0, ("b*",), 3)
    assert [file.name for file in found.hold_out_cells_of] == ["b"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "files"),
        ({"files": []}, "expected a list of paths, globs or tables with a path"),
        ({"files": ["a.h5ad"], "holdout": ["b"]}, "has no option 'holdout'; did you mean ['hold_out']?"),
        ({"files": [{"path": "a.h5ad", "studys": "x"}]}, "has no option 'studys'; did you mean ['studies']?"),
        ({"files": ["z.h5ad"]}, "there is no file"),
        ({"files": [{"path": "*.h5ad", "name": "x"}]}, "is 2 files, which cannot all be called 'x'"),
        ({"files": ["a.h5ad", "*.h5ad"]}, "two files are called 'a'"),
        ({"files": ["a.h5ad"], "hold_out_cells_of": ["a.h5ad"]}, "two files are called 'a'"),
        ({"files": ["a.h5ad"], "genes": "none.txt"}, "expected a list of genes"),
        ({"files": ["a.h5ad"], "genes": 0}, "at least 1"),
        ({"files": ["a.h5ad"], "max_mito": 1.5}, "a share from 0 to 1"),
        ({"files": ["a.h5ad"], "validation": 0.9}, "a share from 0 to 0.5"),
        ({"files": ["a.h5ad"], "min_genes": "many"}, "expected a whole number"),
        ({"files": ["a.h5ad"], "hold_out": 3}, "names or globs"),
        ({"files": ["a.h5ad"], "organism": 3}, "expected text"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(folder, table, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read(folder, **table)
    assert "made.toml: [corpus]" in str(error.value)


def test_a_file_of_other_tables_beside(folder):
    (folder / "c.toml").write_text('name = "x"\n[corpus]\nfiles = ["a.h5ad"]\n[training]\nsteps = 3\n')
    assert [file.path for file in read_corpus_config(folder / "c.toml").files] == [folder / "a.h5ad"]
    assert read_corpus_config(folder / "c.toml", folder).files == read_corpus_config(folder / "c.toml").files


@pytest.mark.parametrize(
    ("text", "message"), [("[other]\n", "no table [corpus]; it has ['other']"), ("[corpus", "is no TOML"), (None, "cannot be read")]
)
def test_a_file_that_is_none(tmp_path: Path, text, message):
    if text is not None:
        (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_corpus_config(tmp_path / "c.toml")
