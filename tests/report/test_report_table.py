"""The tables: order, best marks, what has no number and why."""

import numpy as np
import pandas as pd
import pytest
from made_tables import Made, row, tidy

from scrutiny.report.comparisons import comparisons
from scrutiny.report.figures import brief, columns
from scrutiny.report.table import coverage, long, wide
from scrutiny.report.words import duration, listing, number


@pytest.fixture
def comparison():
    made = Made({"hvg_pca": ("baseline", 0.8), "harmony": ("baseline", 0.6)})
    made.extra = [
        row(made, method="hvg_pca", metric="nmi", value=0.5),
        row(made, method="harmony", metric="nmi", value=0.9),
        row(made, method="hvg_pca", metric="kbet", family="batches", status="not_applicable", value=np.nan, reason="one batch"),
        row(made, method="harmony", metric="kbet", family="batches", value=0.2),
        *(row(made, method="scvi", metric=m, status="failed", value=np.nan, reason="no memory") for m in ("nmi", "kbet")),
    ]
    return comparisons(tidy(made))[0]


def test_best_first_and_controls_last(comparison):
    table = wide(comparison)
    assert table.methods[:3] == ["hvg_pca", "harmony", "scvi"]
    assert all(m.startswith("control/") for m in table.methods[3:])


def test_the_primary_metric_stands_first_and_families_together(comparison):
    table = wide(comparison)
    assert table.metrics[0] == comparison.primary
    assert list(table.families) == ["annotation", "cell types", "batches"]


def test_the_best_of_each_metric_is_marked_and_no_control_is(comparison):
    cells = wide(comparison).cells
    assert cells["hvg_pca"][comparison.primary].best and cells["harmony"]["nmi"].best
    assert not cells["control/label_oracle"][comparison.primary].best


def test_a_cell_without_a_number_says_why(comparison):
    cells = wide(comparison).cells
    assert cells["hvg_pca"]["kbet"].value is None and cells["hvg_pca"]["kbet"].reason == "one batch"
    assert cells["scvi"][comparison.primary].reason == "no memory"


def test_coverage_tells_a_lost_run_once(comparison):
    found = coverage(comparison)
    assert found.to_dict("records") == [
        {"method": "hvg_pca", "metric": "kbet", "status": "not_applicable", "reason": "one batch"},
        {"method": "scvi", "metric": "", "status": "failed", "reason": "no memory"},
    ]


def test_the_long_table_has_a_row_per_run_and_metric(comparison):
    found = long([comparison])
    assert len(found) == len(comparison.rows)
    assert found.loc[found["method"] == "control/label_oracle", "scaled"].iloc[0] == pytest.approx(1.0)


def test_columns_of_the_page_read_back_as_the_table():
    table = pd.DataFrame({"text": ["a", None, "b", "a"], "number": [1.0, np.nan, 0.123456789, 3.0]})
    text, numbers = columns(table)["columns"]
    assert [text["levels"][c] if c >= 0 else None for c in text["codes"]] == ["a", None, "b", "a"]
    assert numbers["values"] == [1, None, 0.12346, 3]


@pytest.mark.parametrize(("value", "shown"), [(1.0, 1), (0.123456, 0.12346), (np.nan, None), (None, None), (np.inf, None), (-2e-9, -2e-9)])
def test_brief(value, shown):
    assert brief(value) == shown


def test_words():
    assert [number(v) for v in (0.5, -0.5, -0.001, None, np.nan)] == ["0.50", "−0.50", "0.00", "–", "–"]
    assert [number(v, signed=True) for v in (0.5, -0.5, 0.0)] == ["+0.50", "−0.50", "0.00"]
    assert [duration(s) for s in (0.04, 3.46, 35.2, 600, 9000, None)] == ["0.04 s", "3.5 s", "35 s", "10 min", "2.5 h", "–"]
    assert [listing(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
    assert listing(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
