"""Told labels are checked before anybody uses them: for each promise one prediction that breaks it."""

import numpy as np
import pytest

from scrutiny.core.errors import ContractError, Misaligned
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.outputs import output_from

CELLS, NAMES = np.array(["a", "b", "c"]), np.array(["B", "T"])
SHARES = np.float32([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])


def made(**changed):
    return LabelPrediction(**{"cell_ids": CELLS, "label_names": NAMES, "probabilities": SHARES, **changed})


def test_the_likeliest_label_and_its_probability():
    assert made().labels.tolist() == ["B", "B", "T"], "of equal ones the first by name"
    assert np.allclose(made().confidence, [0.9, 0.5, 0.8])


def test_predictions_follow_their_cells():
    found = made().aligned_to(np.array(["c", "a", "b"]))
    assert found.labels.tolist() == ["T", "B", "B"] and found.cell_ids.tolist() == ["c", "a", "b"]
    assert found.probabilities.dtype == np.float32 and found.probabilities.flags.c_contiguous
    assert made().of_cells(np.array(["c"])).labels.tolist() == ["T"] == made().part(np.array([2])).labels.tolist()
    with pytest.raises(Misaligned, match="'d'"):
        made().of_cells(np.array(["d"]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label_names": np.array(["T", "B"])}, "sorted"),
        ({"label_names": np.array(["T", "T"])}, "each once"),
        ({"label_names": np.array(["", "T"])}, "none empty"),
        ({"label_names": np.array(["B", "NK", "T"])}, r"shape \(3, 2\); expected \(3, 3\)"),
        ({"probabilities": SHARES * 2}, "3 of 3 cells have no probabilities: those of cell 'a' add up to 2"),
        ({"probabilities": np.float32([[1.1, -0.1], [1, 0], [0, 1]])}, "1 of 3 cells .* the least is -0.1"),
        ({"probabilities": np.float32([[np.nan, 1], [1, 0], [0, 1]])}, "1 of 3 cells"),
    ],
)
def test_broken_predictions_are_refused(changed, message):
    with pytest.raises(ContractError, match=message):
        made(**changed).aligned_to(CELLS)


def test_other_cells_are_refused():
    with pytest.raises(Misaligned):
        made().aligned_to(np.array(["a", "b"]))


def test_a_prediction_comes_back_from_its_arrays():
    again = output_from(made().to_arrays())
    assert isinstance(again, LabelPrediction) and again.labels.tolist() == made().labels.tolist()
    assert np.array_equal(again.probabilities, SHARES)
