"""Scaling against the published dkd rows of OpenProblems' batch integration task (raw values, shuffle and embed_cell_types controls)."""

import numpy as np
import pandas as pd
import pytest
from made_tables import Made, row

from scrutiny.report.comparisons import comparisons
from scrutiny.report.scaling import scaled

METRICS = ["NMI", "ARI", "ASW_label", "ASW_batch", "GC", "PCR", "iLISI", "cLISI", "kBET"]
DKD = {
    "scVI": [0.8495, 0.8284, 0.5754, 0.9166, 0.9812, 0.6671, 0.3030, 0.9992, 0.2538],
    "UCE": [0.7228, 0.5080, 0.5870, 0.9286, 0.9568, 0, 0.2298, 0.9990, 0.2174],
    "Geneformer": [0.0315, 0.0024, 0.3640, 0.4736, 0.0109, 0, 0, 0.7461, 0],
    "control/shuffle": [0.0013, -0.0001, 0.4945, 0.9426, 0.2488, 0.9975, 0.4782, 0.7301, 0.4093],
    "control/embed_cell_types": [1, 1, 0.9897, 0.9593, 1, 0.5898, 0.4348, 1, 0.9490],
}


@pytest.fixture(scope="module")
def dkd() -> pd.DataFrame:
    made = Made({}, dataset="dkd", task="integration")
    rows = [
        row(made, method=method, kind="control" if "/" in method else "model", metric=metric, value=value, primary=metric == "NMI")
        | {"roof": "control/embed_cell_types"}
        for method, values in DKD.items()
        for metric, value in zip(METRICS, values)
    ]
    return scaled(comparisons(pd.DataFrame(rows))[0]).set_index(["method", "metric"])


@pytest.mark.parametrize(
    ("method", "metric", "expected"),
    [
        ("UCE", "NMI", (0.7228 - 0.0013) / (1 - 0.0013)),
        ("UCE", "ARI", 0.5081 / 1.0001),
        ("scVI", "ASW_label", 0.0809 / 0.4952),
        ("scVI", "GC", 0.7324 / 0.7512),
        ("UCE", "cLISI", 0.2689 / 0.2699),
        ("scVI", "kBET", -0.1555 / 0.5397),
        ("Geneformer", "GC", -0.2379 / 0.7512),
        ("control/shuffle", "NMI", 0.0),
        ("control/embed_cell_types", "NMI", 1.0),
    ],
)
def test_published_rows(dkd, method, metric, expected):
    assert dkd.loc[(method, metric), "scaled"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", ["ASW_batch", "PCR", "iLISI"])
def test_no_scale_where_the_shuffled_control_is_as_good_as_the_roof(dkd, metric):
    row_ = dkd.loc[("scVI", metric)]
    assert np.isnan(row_["scaled"])
    assert "at least 0.05 better" in row_["unscaled_because"]
    assert row_["value"] == DKD["scVI"][METRICS.index(metric)]


def test_values_beyond_the_controls_are_not_clipped(dkd):
    assert dkd.loc[("scVI", "kBET"), "scaled"] < 0


def test_lower_is_better_scales_the_same_way_round():
    made = Made({})
    values = {"a": 0.4, "control/shuffle": 0.8, "control/label_oracle": 0.2}
    table = pd.DataFrame([row(made, method=m, value=v, better="lower") for m, v in values.items()])
    found = scaled(comparisons(table)[0]).set_index("method")["scaled"]
    assert found["a"] == pytest.approx((0.8 - 0.4) / (0.8 - 0.2))


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"floor": None}, "does not name both"),
        ({"roof": "control/never_run"}, "no value of control/never_run"),
    ],
)
def test_says_why_there_is_no_scale(change, because):
    made = Made({})
    table = pd.DataFrame([row(made, method=m, value=v, **change) for m, v in {"a": 0.4, "control/shuffle": 0.1}.items()])
    found = scaled(comparisons(table)[0])
    assert found["scaled"].isna().all()
    assert found["unscaled_because"].str.contains(because).all()
