"""Genes of several files as one list, the choice of those that are kept, and their medians."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError
from scrutiny.data.corpus_config import CorpusConfig
from scrutiny.data.corpus_genes import GeneRows, Medians, Names, chosen_genes, names_for, placed


def names(*pairs):
    return Names(*(np.array(column, dtype=str) for column in zip(*pairs, strict=True)))


def added(*files):
    rows = GeneRows()
    return rows, [rows.add(names(*file)).tolist() for file in files]


def test_genes_meet_by_id_and_else_by_symbol():
    """TXNIP had the id of the first file up to GENCODE 19 and has that of the second since; both spellings are one gene."""
    rows, found = added(
        [("ENSG00000117289", "TXNIP"), ("ENSG00000090382", "LYZ")],
        [("ENSG00000265972", "TXNIP"), ("ENSG00000090382", "LYZ (old)"), ("", "NEW")],
        [("", "TXNIP"), ("ENSG00000265972", ""), ("", "NEW")],
    )
    assert found == [[0, 1], [0, 1, 2], [3, 0, 2]], "in the third file the id takes the row, so the bare symbol is another gene"
    assert rows.table()["symbol"].tolist()[:3] == ["TXNIP", "LYZ", "NEW"]
    assert rows.table().index.is_unique


def test_a_symbol_of_several_genes_is_not_a_name():
    _, found = added([("ENSG1", "X"), ("ENSG2", "X")], [("", "X")], [("ENSG3", "X")])
    assert found == [[0, 1], [2], [3]]


def test_one_file_may_not_bring_two_of_its_genes_together_by_symbol():
    """In the second file the symbol goes with a new id while the old id is there as well: they are two genes."""
    _, found = added([("ENSG1", "X")], [("ENSG1", "Y"), ("ENSG2", "X")])
    assert found == [[0], [0, 1]]


def test_genes_without_an_id_meet_by_symbol_even_when_repeated():
    rows, found = added([("", "X"), ("", "X")], [("", "X"), ("", "")])
    assert found == [[0, 0], [0, -1]] and rows.table().index.tolist() == ["X"]


def test_an_id_is_learnt_from_a_later_file():
    rows, found = added([("", "X")], [("ENSG1", "X")], [("ENSG1", "other")])
    assert found == [[0], [0], [0]] and rows.table().index.tolist() == ["ENSG1"]


def test_finding_changes_nothing():
    rows, _ = added([("ENSG1", "X")])
    assert rows.find(names(("ENSG9", "Q"), ("", "X"))).tolist() == [-1, 0] and len(rows) == 1


def mouse(symbols):
    return from_arrays("m", sparse.csr_matrix(np.ones((2, len(symbols)))), pd.DataFrame(index=["a", "b"]), symbols, organism="mouse")


def test_mouse_genes_go_by_their_orthologues(tmp_path):
    (tmp_path / "pairs.tsv").write_text("human_symbol\tmouse_symbol\nCD3E\tCd3e\nLYZ\tLyz1\nLYZ\tLyz2\n")
    config = CorpusConfig((), orthologues=str(tmp_path / "pairs.tsv"))
    assert names_for(config, mouse(["Cd3e", "Lyz1", "Lyz2", "Gm123"])).symbols.tolist() == ["CD3E", "LYZ", "LYZ", ""]
    with pytest.raises(InputError, match="orthologues = TABLE"):
        names_for(CorpusConfig(()), mouse(["Cd3e"]))


def test_a_gene_table_gives_present_ids(tmp_path):
    (tmp_path / "genes.tsv").write_text("ensembl_id\tsymbol\tsynonyms\nENSG00000265972\tTXNIP\tVDUP1\n")
    data = from_arrays("h", sparse.csr_matrix(np.ones((2, 3))), pd.DataFrame(index=["a", "b"]), ["VDUP1", "TXNIP", "ODD"], organism="human")
    found = names_for(CorpusConfig((), gene_tables=str(tmp_path / "genes.tsv")), data)
    assert found.ensembl.tolist() == ["ENSG00000265972", "ENSG00000265972", ""]
    assert found.symbols.tolist() == ["TXNIP", "TXNIP", "ODD"]


TABLE = pd.DataFrame(
    {"symbol": list("abcde"), "ensembl_id": "", "n_cells": [50, 40, 9, 45, 40], "n_measured": [100, 50, 100, 100, 100]},
    index=pd.Index(list("abcde"), name="gene"),
)
TABLE.attrs["n_cells"] = 100


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"measured_in": 0.5}, "abde"),
        ({"measured_in": 0.9}, "ade"),
        ({"measured_in": 0.5, "genes": 1}, "b"),
        ({"measured_in": 0.9, "genes": 2}, "ad"),
        ({"measured_in": 0.9, "min_cells": 1}, "acde"),
    ],
)
def test_genes_are_kept_by_the_share_of_the_cells_in_which_they_were_measured(options, kept):
    """By hand: shares are a 0.5, b 0.8, c 0.09, d 0.45, e 0.4; c is in 9 cells, fewer than the usual 10; b is listed for half of them."""
    assert "".join(TABLE.index[chosen_genes(TABLE, CorpusConfig((), **options))]) == kept


def test_a_list_of_genes_and_no_gene_at_all(tmp_path):
    (tmp_path / "genes.txt").write_text("d\na\nzz\n")
    assert TABLE.index[chosen_genes(TABLE, CorpusConfig((), genes=tmp_path / "genes.txt"))].tolist() == ["a", "d"]
    with pytest.raises(InputError, match="no gene is left"):
        chosen_genes(TABLE, CorpusConfig((), min_cells=99))


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (9, 4), elements=st.integers(0, 50).map(float)))
def test_medians_are_those_of_numpy_within_half_a_percent(counts):
    totals = counts.sum(axis=1) + 7.0
    found = Medians(4)
    found.add(sparse.csr_matrix(counts[:5]), totals[:5])
    found.add(sparse.csr_matrix(counts[5:]), totals[5:])
    for gene, median in enumerate(found.values()):
        values = (counts[:, gene] / totals * 10_000)[counts[:, gene] > 0]
        if len(values):
            assert median == pytest.approx(np.quantile(values, 0.5, method="inverted_cdf"), rel=0.005)
        else:
            assert np.isnan(median)


@given(arrays(np.float32, (3, 5), elements=st.integers(0, 3).map(float)), st.lists(st.integers(-1, 3), min_size=5, max_size=5))
def test_columns_are_placed_summed_and_left_out(counts, columns):
    expected = np.zeros((3, 4))
    for gene, column in enumerate(columns):
        if column >= 0:
            expected[:, column] += counts[:, gene]
    found = placed(sparse.csr_matrix(counts), np.array(columns), 4)
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.has_sorted_indices
