"""Non-dominated sorting: by hand, and what it must keep whatever the points."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tables import Made, row

from scrutiny.report.comparisons import comparisons
from scrutiny.report.ranks import axes, fronts, non_dominated_fronts

points = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12).map(lambda p: np.array(p, dtype=float))


def test_fronts_by_hand():
    found = non_dominated_fronts(np.array([[1, 3], [3, 1], [2, 2], [1, 1], [0, 0], [2, 2]], dtype=float))
    assert found.tolist() == [1, 1, 1, 2, 3, 1]


@given(points)
@settings(max_examples=60, deadline=None)
def test_nobody_is_dominated_from_a_later_front(values):
    found = non_dominated_fronts(values)
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            if (a >= b).all() and (a > b).any():
                assert found[i] < found[j]
    assert set(found) == set(range(1, found.max() + 1))


def integration() -> pd.DataFrame:
    made = Made({}, task="integration")
    values = {"good": (0.8, 0.7, 60.0), "cheap": (0.7, 0.6, 1.0), "bad": (0.6, 0.5, 2.0), "control/shuffle": (0.0, 1.0, 0.1)}
    rows = []
    for method, (bio, batch, seconds) in values.items():
        common = {"method": method, "kind": "control" if "/" in method else "baseline", "seconds_fit": seconds, "seconds_embed": 0.0}
        rows += [
            row(made, value=0.6 * bio + 0.4 * batch, **common),
            row(made, metric="scib_bio", value=bio, family="overall", **common),
            row(made, metric="scib_batch", value=batch, family="overall", **common),
        ]
    return pd.DataFrame(rows)


def test_controls_take_no_part_and_cost_counts_downwards():
    comparison = comparisons(integration())[0]
    assert fronts(comparison) == {"good": 1, "cheap": 1, "bad": 2}
    assert axes(comparison).loc["good"].tolist() == [0.8, 0.7, 60.0]


def test_an_axis_that_was_not_measured_is_left_out():
    made = Made({})
    table = pd.DataFrame([row(made, method=m, value=v) for m, v in {"a": 0.9, "b": 0.8}.items()])
    assert list(axes(comparisons(table)[0])) == ["biology", "cost"]
