"""The log of a training: whole at any time, read by pandas, and refused in words where there is no space."""

import os

import pandas as pd
import pytest

from scrutiny.core.errors import StoreError
from scrutiny.tuning.curves import FIRST, Log, read_log

ROW = {**dict.fromkeys(FIRST, 1.0), "step": 2, "learning_rate": 1 / 3}


def test_rows_come_back_as_they_were_and_the_known_columns_first(tmp_path):
    log = Log(tmp_path / "log.csv")
    log.add({"validation_b": 0.1 + 0.2, "train_a": float("nan"), **ROW})
    log.add({**ROW, "step": 4, "validation_b": 5.0, "train_c": float("inf")})
    found = read_log(tmp_path / "log.csv")
    assert list(found) == [*FIRST, "train_a", "train_c", "validation_b"]
    assert found["validation_b"].tolist() == [0.1 + 0.2, 5.0]
    assert found["learning_rate"].tolist() == [1 / 3, 1 / 3]
    assert found["train_a"].isna().all() and found["train_c"].isna().tolist() == [True, False]
    pd.testing.assert_frame_equal(found, pd.read_csv(tmp_path / "log.csv"))


def test_a_log_that_goes_on_keeps_its_rows(tmp_path):
    Log(tmp_path / "log.csv").add(ROW)
    Log(tmp_path / "log.csv", [dict(ROW)]).add({**ROW, "step": 4})
    assert read_log(tmp_path / "log.csv")["step"].tolist() == [2, 4]
    assert os.listdir(tmp_path) == ["log.csv"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        Log(tmp_path / "log.csv").add(ROW)
