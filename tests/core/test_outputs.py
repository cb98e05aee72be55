"""Outputs are checked before anybody uses them: for each promise of a reconstruction one that breaks it."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import ContractError, Misaligned
from scrutiny.core.outputs import CellEmbedding, Reconstruction, output_from

CELLS, GENES = np.array(["a", "b", "c"]), np.array(["x", "y"])


def made(**changed):
    """Entries of three cells: (a, x), (a, y), (b, y), (c, x)."""
    fields = {
        "cell_ids": CELLS,
        "gene_ids": GENES,
        "rows": np.array([0, 0, 1, 2]),
        "columns": np.array([0, 1, 1, 0]),
        "predicted": np.float32([1, 2, 3, 4]),
        "true": np.float32([0, 2, 3, 5]),
        "hidden": np.array([True, False, False, True]),
        "quantity": "bin",
        "also": {"from the cell embedding": np.float32([5, 6, 7, 8])},
    }
    return Reconstruction(**{**fields, **changed})


def test_entries_follow_their_cells_and_are_sorted():
    shuffled = np.array([3, 1, 0, 2])
    names = ("rows", "columns", "predicted", "true", "hidden")
    given = replace(made(), **{name: getattr(made(), name)[shuffled] for name in names}, also={"c": np.float32([8, 6, 5, 7])})
    found = given.aligned_to(np.array(["c", "a", "b"]))
    assert found.cell_ids.tolist() == ["c", "a", "b"]
    assert found.rows.tolist() == [0, 1, 1, 2] and found.columns.tolist() == [0, 0, 1, 1]
    assert found.predicted.tolist() == [4, 1, 2, 3] and found.also["c"].tolist() == [8, 5, 6, 7]
    assert found.hidden.tolist() == [True, True, False, False]


def test_some_of_the_cells():
    part = made(weight=np.float32([1, 1, 2, 3])).of_cells(np.array(["c", "b"]))
    assert part.rows.tolist() == [0, 1] and part.predicted.tolist() == [4, 3] and part.weight.tolist() == [3, 2]
    assert made().part(np.array([2, 1])).predicted.tolist() == [4, 3]
    with pytest.raises(Misaligned, match="lacks 1 of the asked cells, e.g. 'd'"):
        made().of_cells(np.array(["a", "d"]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"quantity": "counts"}, "quantity 'counts'"),
        ({"predicted": np.float32([1, 2, 3])}, "4 rows of entries.*predicted"),
        ({"also": {"c": np.ones((4, 2), np.float32)}}, "also 'c'"),
        ({"rows": np.array([0, 0, 1, 3])}, "rows run from 0 to 3"),
        ({"columns": np.array([0, 1, -1, 0])}, "columns run from -1"),
        ({"gene_ids": np.array(["x", "x"])}, "gene id occurs more than once"),
        ({"true": np.float32([0, np.nan, 3, 5])}, "1 of 4 entries of true are not finite"),
        ({"also": {"c": np.float32([0, np.inf, 3, 5])}}, "also 'c' are not finite"),
        ({"weight": np.float32([1, 0, 1, 1])}, "weight 0"),
        ({"weight": np.float32([1, 1, 1, 2])}, "cell 'b' stand for 1 genes; expected all 2"),
        ({"weight": np.float32([1, 1, 2, 2])}, "weight other than 1 .* true value 3"),
        ({"columns": np.array([1, 1, 1, 0])}, "gene 'y' of cell 'a' occurs more than once"),
    ],
)
def test_what_breaks_a_promise_is_said(changed, message):
    with pytest.raises(ContractError, match=message):
        made(**changed).aligned_to(CELLS)


def test_a_weight_is_that_of_zeros():
    """Each cell has one gene that is not 0 and one zero that stands for two."""
    entries = {"rows": np.repeat([0, 1, 2], 2), "columns": np.array([0, 1, 1, 2, 0, 2]), "gene_ids": np.array(["x", "y", "z"])}
    numbers = {"true": np.float32([1, 0, 0, 4, 3, 0]), "weight": np.float32([1, 2, 2, 1, 1, 2])}
    found = made(**entries, **numbers, predicted=np.ones(6, np.float32), hidden=np.zeros(6, bool), also={}).aligned_to(CELLS)
    assert found.weight.tolist() == [1, 2, 2, 1, 1, 2]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "b", "d"], ["a", "b", "c", "d"]])
def test_other_cells_than_asked_for(ids):
    with pytest.raises(Misaligned, match="has 3 cells"):
        made().aligned_to(np.array(ids))
    with pytest.raises(Misaligned, match="more than once"):
        made(cell_ids=np.array(["a", "b", "b"])).aligned_to(CELLS)


def test_from_arrays_and_back():
    found = made().aligned_to(CELLS)
    again = output_from(found.to_arrays())
    assert isinstance(again, Reconstruction) and again.quantity == "bin" and again.weight is None
    for name in ("cell_ids", "gene_ids", "rows", "columns", "predicted", "true", "hidden"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert {name: values.tolist() for name, values in again.also.items()} == {"from the cell embedding": [5, 6, 7, 8]}
    embedding = CellEmbedding(np.ones((3, 2), np.float32), CELLS)
    assert isinstance(output_from(embedding.to_arrays()), CellEmbedding)


def test_cells_without_entries_are_kept():
    found = made(cell_ids=np.array(["a", "b", "c", "d"])).aligned_to(np.array(["d", "c", "b", "a"]))
    assert output_from(found.to_arrays()).aligned_to(found.cell_ids).rows.tolist() == [1, 2, 3, 3]
