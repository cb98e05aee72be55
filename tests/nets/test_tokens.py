"""Tokens laid end to end: taking, joining, padding and moving to tensors keep every token with its cell."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.nets.tokens import Tokens, batch_of, joined, padded


def cells_of(tokens):
    """As a list of (ids, values, species), one a cell."""
    return [(list(tokens.of(i)), list(tokens.of(i, "values")), int(tokens.cells["species"][i])) for i in range(tokens.n_cells)]


def made(cells):
    return Tokens(
        np.array([len(ids) for ids, _, _ in cells], dtype=np.int64),
        {
            "ids": np.array([one for ids, _, _ in cells for one in ids], dtype=np.int64),
            "values": np.array([one for _, values, _ in cells for one in values], dtype=np.float32),
        },
        {"species": np.array([species for _, _, species in cells], dtype=np.int64)},
    )


CELLS = [([5, 6, 7], [0.5, 0.25, 2.0], 1), ([], [], 0), ([9], [4.0], 2), ([1, 1], [8.0, 8.0], 0)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=6), st.data())
def test_take_gives_these_cells_in_this_order(ids, data):
    cells = [(one, [i / 2 for i in one], place) for place, one in enumerate(ids)]
    rows = data.draw(st.lists(st.integers(0, len(cells) - 1), max_size=8)) if cells else []
    assert cells_of(made(cells).take(rows)) == [cells[row] for row in rows]


def test_take_nothing_and_take_by_array():
    assert made(CELLS).take([]).n_cells == 0
    assert cells_of(made(CELLS).take(np.array([3, 0], dtype=np.int32))) == [CELLS[3], CELLS[0]]


def test_joined_is_all_cells_one_after_another():
    assert cells_of(joined([made(CELLS[:1]), made([]), made(CELLS[1:])])) == CELLS


def test_padded_fills_on_the_right():
    assert padded(made(CELLS), fill=-1).tolist() == [[5, 6, 7], [-1, -1, -1], [9, -1, -1], [1, 1, -1]]
    assert padded(made(CELLS), "values").dtype == np.float32
    assert padded(made([])).shape == (0, 0)
    assert padded(made([CELLS[1]])).shape == (1, 0)


def test_a_batch_knows_where_each_token_belongs():
    batch = batch_of(made(CELLS))
    assert (batch.n_cells, batch.n_tokens, batch.lengths) == (4, 6, (3, 0, 1, 2))
    assert batch.length.tolist() == [3, 0, 1, 2]
    assert batch.start.tolist() == [0, 3, 3, 4]
    assert batch.cell.tolist() == [0, 0, 0, 2, 3, 3]
    assert batch.position.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.columns["ids"].tolist() == [5, 6, 7, 9, 1, 1] and batch.columns["values"].dtype is torch.float32
    assert batch.cells["species"].tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("cells", [[], [CELLS[1]], [CELLS[1], CELLS[1]]])
def test_a_batch_without_tokens(cells):
    batch = batch_of(made(cells))
    assert batch.cell.shape == batch.position.shape == (0,)
    assert batch.start.tolist() == [0] * len(cells)


def test_tensors_are_made_from_arrays_of_any_order():
    strided = np.arange(12, dtype=np.float32)[::2]
    batch = batch_of(Tokens(np.array([6]), {"values": strided}, {"site": np.asfortranarray(np.eye(3, 2))[:1]}))
    assert batch.columns["values"].tolist() == strided.tolist() and batch.cells["site"].tolist() == [[1.0, 0.0]]
