"""Thinning, colours, packing and caching of UMAPs."""

import base64

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.outputs import CellEmbedding, Reconstruction
from scrutiny.engine.store import Store
from scrutiny.report import scatter
from scrutiny.report.scatter import MOST_LEVELS, OTHER, colours, coordinates, layout, maps, packed, packed_maps, thinned


@pytest.fixture
def cells() -> pd.DataFrame:
    n = 1000
    label = np.where(np.arange(n) % 10 == 0, "rare", "common")
    batch = np.where(np.arange(n) < 500, "b1", "b2")
    return pd.DataFrame({"label": label, "batch": batch}, index=[f"cell_{i}" for i in range(n)])


def test_thinning_keeps_the_shares_of_groups(cells):
    rows = thinned(cells, ["label", "batch"], 100)
    kept = cells.iloc[rows]
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    assert kept.value_counts().to_dict() == {("common", "b1"): 45, ("common", "b2"): 45, ("rare", "b1"): 5, ("rare", "b2"): 5}
    assert (rows == thinned(cells, ["label", "batch"], 100)).all()


def test_small_data_are_not_thinned(cells):
    assert (thinned(cells, ["label"], 1000) == np.arange(1000)).all()


def test_packing_keeps_places_to_a_part_in_65535():
    xy = np.random.default_rng(0).standard_normal((50, 2))
    back = np.frombuffer(base64.b64decode(packed(xy)), "<u2").reshape(2, -1).T / 65535
    assert np.abs(back - (xy - xy.min(axis=0)) / np.ptp(xy, axis=0)).max() < 1 / 65535


def test_a_single_place_can_be_packed():
    assert np.frombuffer(base64.b64decode(packed(np.ones((3, 2)))), "<u2").tolist() == [0] * 6


def test_colours_go_by_size_and_the_rarest_share_one():
    found = colours(pd.Series(["b", "a", "b"], name="label"))
    assert found.levels == ("b", "a") and found.codes.tolist() == [0, 1, 0]
    many = colours(pd.Series([f"label {i}" for i in range(100)], name="label"))
    assert len(many.levels) == MOST_LEVELS and many.levels[-1] == OTHER
    assert (many.codes == MOST_LEVELS - 1).sum() == 100 - MOST_LEVELS + 1


def test_coordinates_are_computed_once(tmp_path, cells, monkeypatch):
    store, calls = Store(tmp_path), []
    store.put_output(
        "out", CellEmbedding(np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32), cells.index.to_numpy(str)), {}
    )
    monkeypatch.setattr(scatter, "layout", lambda values: calls.append(1) or values[:, :2])
    first = maps(store, {"m": ["gone", "out"]}, cells, ["label"])
    again = maps(store, {"m": ["gone", "out"]}, cells, ["label"])
    assert len(calls) == 1
    assert (first.coordinates["m"] == again.coordinates["m"]).all()


def test_an_output_that_lacks_cells_is_not_drawn(tmp_path, cells):
    store = Store(tmp_path)
    store.put_output("part", CellEmbedding(np.ones((5, 3), np.float32), cells.index[:5].to_numpy(str)), {})
    assert coordinates(store, "part", cells.index.to_numpy(str)) is None


def test_predictions_of_expression_are_not_drawn(tmp_path, cells):
    ids, entries = cells.index.to_numpy(str), np.arange(len(cells))
    numbers = {"predicted": np.float32(entries), "true": np.float32(entries), "hidden": entries < 0, "quantity": "bin"}
    Store(tmp_path).put_output("key", Reconstruction(ids, np.array(["g"]), entries, 0 * entries, **numbers), {})
    assert coordinates(Store(tmp_path), "key", ids) is None


def test_what_is_packed_holds_no_cell_id(tmp_path, cells, monkeypatch):
    store = Store(tmp_path)
    store.put_output("out", CellEmbedding(np.ones((1000, 3), np.float32), cells.index.to_numpy(str)), {})
    monkeypatch.setattr(scatter, "layout", lambda values: values[:, :2])
    shown = packed_maps(maps(store, {"m": ["out"]}, cells, ["label", "batch"]), 200)
    assert shown["n"] == 200 and shown["of"] == 1000
    assert "cell_" not in str(shown)


@pytest.mark.slow
def test_layout_keeps_groups_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 60)
    values = (rng.standard_normal((180, 10)) + 20 * np.eye(3, 10)[group]).astype(np.float32)
    before = np.random.get_state()[1].copy()
    xy = layout(values)
    assert (xy == layout(values)).all() and (np.random.get_state()[1] == before).all()
    centres = np.array([xy[group == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(xy[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == group).mean() == 1.0


@pytest.mark.slow
def test_layout_of_identical_cells():
    assert np.isfinite(layout(np.ones((40, 3), np.float32))).all()
