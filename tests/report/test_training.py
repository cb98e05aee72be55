"""Curves of a training as a picture and as a line."""

from __future__ import annotations

import pandas as pd
import pytest

from scrutiny.report.training import sparkline, write_curves


@pytest.fixture
def log() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cells": [10, 20, 30],
            "seconds": [60.0, 120.0, 180.0],
            "learning_rate": [1e-3, 5e-4, 1e-4],
            "train": [3.0, 2.0, 1.0],
            "validation": [3.1, 2.2, 1.5],
            "train_latent": [3.0, 2.0, 1.0],
            "validation_latent": [3.1, 2.2, 1.5],
        }
    )


def test_bars_have_the_height_of_their_value():
    assert sparkline([0.0, 7.0, 3.0]) == "▁█▄"  # 3 of 7 is the fourth of eight heights
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([1.0, float("nan"), 8.0, float("inf")]) == "▁×█×"
    assert len(sparkline(list(range(100)))) == 40


def test_the_picture_has_a_panel_for_each_part_and_is_the_same_each_time(log, tmp_path):
    first, again = (write_curves(log, tmp_path / name, title="a net").read_text() for name in ("a.svg", "b.svg"))
    for text in ("a net", "latent", "cells shown", "held-out loss over time", "learning rate"):
        assert f"<!-- {text} -->" in first
    assert first.count("<g id=\"axes_") == 4 and len(first) == len(again)
