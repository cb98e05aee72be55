"""Metrics of read depth on hand-sized cases."""

from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.outputs import Reconstruction
from scrutiny.metrics.depth import AS_GIVEN

# Two cells. Errors of the method: 1 1 0 | 0 1; of what was given: 4 0 1 | 9 0. A zero of the second cell stands for three.
TRUE = np.array([2.0, 0.0, 1.0, 3.0, 0.0], np.float32)
GIVEN = np.array([0.0, 0.0, 2.0, 0.0, 0.0], np.float32)
PREDICTED = np.array([1.0, 1.0, 1.0, 3.0, 1.0], np.float32)
WEIGHT = np.array([1, 1, 1, 1, 3], np.float32)


@pytest.fixture
def given():
    rows, columns, hidden = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), np.ones(5, bool)
    ids = np.array(["a", "b"]), np.array(["x", "y", "z"])
    found = Reconstruction(*ids, rows, columns, PREDICTED, TRUE, hidden, "log count", also={AS_GIVEN: GIVEN}, weight=WEIGHT)
    return {"deepened": found, "asked": np.array([4.0, 4.0])}


def test_errors_beside_those_of_the_thinned_counts(given):
    found = Evidence(given)
    assert found["depth_mse"] == pytest.approx((1 + 1 + 0 + 0 + 3) / 7)
    assert found["depth_skill"] == pytest.approx(1 - 5 / 14)
    assert found["depth_mse_expressed"] == pytest.approx(1 / 3)
    assert found["depth_mse_zeros"] == pytest.approx((1 + 3) / 4)
    beside = {name: found.measure(name).details["gene_mean"] for name in ("depth_mse", "depth_mse_expressed", "depth_mse_zeros")}
    assert beside == pytest.approx({"depth_mse": 14 / 7, "depth_mse_expressed": 14 / 3, "depth_mse_zeros": 0.0})


def test_correlation_of_cells_with_at_least_three_entries(given):
    assert Evidence(given)["depth_pearson"] == 0  # all predictions of the first cell are 1
    again = {**given, "deepened": replace(given["deepened"], predicted=2 * TRUE + 1)}
    assert Evidence(again)["depth_pearson"] == pytest.approx(1)
    assert Evidence(again).measure("depth_pearson").details["gene_mean"] == pytest.approx(np.corrcoef(TRUE[:3], GIVEN[:3])[0, 1])


def test_details_for_the_picture(given):
    details = Evidence(given).measure("depth_skill").details
    assert details["quantity"] == "log count" and details["share_answered"] == pytest.approx(7 / 8)
    assert details["slope"] == pytest.approx(2)  # of gene x, the only one whose true values differ: from 2 to 3, and predicted from 1 to 3
    assert details["variance_explained"] == pytest.approx(1 - 5 / 14)
    bins = details["bins"]
    assert [b["true"] for b in bins] == [0, 1, 2, 3] and [b["n"] for b in bins] == [4, 1, 1, 1]
    assert [b["predicted"] for b in bins] == [1, 1, 1, 3] and [b["gene_mean"] for b in bins] == [0, 2, 0, 0]


def test_parts_of_the_cells(given):
    whole = Evidence(given)
    whole["depth_skill"]
    assert whole.part(np.array([1]))["depth_skill"] == pytest.approx(1 - 3 / 9)
    assert Evidence(given).part(np.array([0]))["depth_skill"] == pytest.approx(1 - 2 / 5)


def test_where_nothing_can_be_said(given):
    done = {**given, "deepened": replace(given["deepened"], also={AS_GIVEN: TRUE})}
    with pytest.raises(NotApplicable, match="nothing to tell"):
        Evidence(done)["depth_skill"]
    none = np.flatnonzero(TRUE < 0)
    cut = {name: getattr(given["deepened"], name)[none] for name in ("rows", "columns", "predicted", "true", "hidden", "weight")}
    empty = {**given, "deepened": replace(given["deepened"], **cut, also={AS_GIVEN: GIVEN[none]})}
    for name in ("depth_skill", "depth_mse", "depth_pearson", "depth_mse_zeros", "depth_mse_expressed"):
        with pytest.raises(NotApplicable, match="answers for none of the"):
            Evidence(empty)[name]
