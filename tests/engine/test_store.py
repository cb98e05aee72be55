import json
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.core.errors import StoreError
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.scores import Cost, Replicates, Run, RunSpec, Score, Status
from scrutiny.engine.records import plain, run_from_json, run_to_json
from scrutiny.engine.store import Store
from scrutiny.engine.table import COLUMNS


def spec(method="pca", seed=0, **more):
    return RunSpec(method, "cells", "cell_types", seed, "1", "1", "key", **more)


def finished(value=0.5, status=Status.OK, **more):
    score = Score("f1", Status.OK, value, replicates=Replicates("5 folds", 5, (0.1, None), (0.2, 0.3)))
    facts = {"kind": "baseline", "primary": "f1", "metrics": {"f1": {"family": "cell types", "better": "higher"}, "asw": {}}}
    return Run(spec(**more), status, "", (score,) if status is Status.OK else (), Cost(1.0, 2.0, 3.0, 4.0), "abc", 50, facts)


def output(n=4, dims=3):
    return CellEmbedding(np.arange(n * dims, dtype=np.float32).reshape(n, dims), np.array([f"cell {i}" for i in range(n)]))


def test_nothing_is_made_before_the_first_write(store_folder):
    store = Store(store_folder)
    assert store.runs() == [] and store.scores().empty and list(store.scores().columns) == COLUMNS
    assert store.cache_size() == 0 and not store.done("x") and store.cached_output("x") is None
    assert not store_folder.exists()


def test_a_finished_run_is_never_written_twice(store_folder):
    store = Store(store_folder)
    store.put(finished(0.5))
    store.put(finished(0.9))
    assert [run.scores[0].value for run in store.runs()] == [0.5]


def test_failures_are_counted_and_a_value_outweighs_them(store_folder):
    store = Store(store_folder)
    for _ in range(11):
        store.put(finished(status=Status.FAILED))
    assert store.failures(spec().key) == 11 and not store.done(spec().key)
    assert [run.status for run in store.runs()] == [Status.FAILED]
    store.put(finished())
    assert [run.status for run in store.runs()] == [Status.OK]


def test_the_last_failure_is_shown(store_folder):
    store = Store(store_folder)
    for n in range(12):
        store.put(Run(spec(), Status.FAILED, f"attempt {n}"))
    assert store.runs()[0].reason == "attempt 11"


def test_what_was_skipped_may_be_skipped_for_another_reason(store_folder):
    store = Store(store_folder)
    for reason in ("not installed", "too expensive"):
        store.skip(Run(spec(), Status.NOT_APPLICABLE, reason))
    assert [run.reason for run in store.runs()] == ["too expensive"] and not store.done(spec().key)


def test_one_row_per_metric_also_where_there_is_no_score(store_folder):
    store = Store(store_folder)
    store.put(finished())
    store.put(finished(status=Status.FAILED, method="scvi"))
    table = store.scores().set_index(["method", "metric"])
    assert list(table.columns) == [c for c in COLUMNS if c not in ("method", "metric")]
    assert table.loc[("pca", "f1"), "value"] == 0.5 and table.loc[("pca", "f1"), "primary"]
    assert table.loc[("pca", "f1"), "replicates_kept"] == [0.1, None]
    assert list(table.loc["scvi", "status"]) == ["failed", "failed"] and table.loc["scvi", "value"].isna().all()


def test_tables_on_disk_hold_the_same(store_folder, tmp_path):
    store = Store(store_folder)
    store.put(finished())
    store.write_csv(tmp_path / "t.csv")
    store.write_parquet(tmp_path / "t.parquet")
    assert pd.read_csv(tmp_path / "t.csv")["value"][0] == 0.5
    assert list(pd.read_parquet(tmp_path / "t.parquet")["replicates_held"][0]) == [0.2, 0.3]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema": 1}', '{"schema": 99}', "\x00\x01"])
def test_a_record_that_cannot_be_read_is_left_out_and_named(store_folder, caplog, content):
    store = Store(store_folder)
    store.put(finished())
    (store_folder / "runs" / "bad.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert len(store.runs()) == 1
    assert "bad.json" in caplog.text


def test_a_half_written_file_is_invisible(store_folder):
    store = Store(store_folder)
    store.put(finished())
    (store_folder / "runs" / ".other.json.1234.part").write_text('{"schema": 1, "sp')
    (store_folder / "runs" / ".other.json").write_text("{")
    assert len(store.runs()) == 1


def test_outputs_come_back_and_can_be_cleaned_away(store_folder):
    store = Store(store_folder)
    store.put_output("k", output(), {"seconds_fit": 1.5})
    found = store.output("k")
    np.testing.assert_array_equal(found.values, output().values)
    np.testing.assert_array_equal(found.cell_ids, output().cell_ids)
    assert store.cache.get("k").facts == {"seconds_fit": 1.5}
    size = store.cache_size()
    assert size > 0 and store.clean_cache() == size and store.cache_size() == 0
    with pytest.raises(StoreError, match="cleaned"):
        store.output("k")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK nonsense", lambda b: _flip(b)])
def test_a_damaged_cache_file_is_as_good_as_absent(store_folder, caplog, damage):
    store = Store(store_folder)
    store.put_output("k", output(1000, 10), {})
    path = store_folder / "cache" / "k.npz"
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store.cached_output("k") is None
    assert "k.npz" in caplog.text


def _flip(content):
    changed = bytearray(content)
    changed[len(content) // 3] ^= 0xFF
    return bytes(changed)


def test_values_exchanged_in_a_sound_file_are_noticed(store_folder):
    store = Store(store_folder)
    store.put_output("k", output(), {})
    path = store_folder / "cache" / "k.npz"
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    np.savez(path, **{**members, "values": members["values"][::-1]})
    assert store.cached_output("k") is None


def test_studies_are_put_together_and_the_last_one_is_believed(store_folder):
    store = Store(store_folder)
    store.add_study({"datasets": {"a": {"n_cells": 1}, "b": {"n_cells": 2}}, "methods": {"pca": {"reads": frozenset({"y", "x"})}}})
    store.add_study({"datasets": {"a": {"n_cells": 5}}, "methods": {}})
    study = store.study()
    assert study["datasets"] == {"a": {"n_cells": 5}, "b": {"n_cells": 2}}
    assert study["methods"]["pca"]["reads"] == ["x", "y"] and study["tasks"] == {}


def test_cells_are_found_by_the_name_of_the_data(store_folder):
    store = Store(store_folder)
    store.put_cells("key", {"cell_id": ["a", "b"], "cell_type": ["T", "B"]})
    store.add_study({"datasets": {"mine": {"key": "key"}}})
    assert store.cells("mine").loc["b", "cell_type"] == "B"
    with pytest.raises(StoreError):
        store.cells("yours")


@pytest.mark.parametrize("write", ["put", "put_output", "check_writable", "claim"])
def test_a_folder_that_cannot_be_made_is_our_error(tmp_path, write):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    writes = {
        "put": lambda: store.put(finished()),
        "put_output": lambda: store.put_output("k", output(), {}),
        "check_writable": store.check_writable,
        "claim": lambda: store.claims.take("k", _owner()),
    }
    with pytest.raises(StoreError, match="--out"):
        writes[write]()


def _owner():
    from scrutiny.engine.claims import Owner

    return Owner.this_process()


FULL = """
import resource, signal, sys
sys.path[:0] = {path!r}
from test_store import finished, output
from scrutiny.core.errors import StoreError
from scrutiny.engine.store import Store
store = Store({folder!r})
store.put(finished())
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    store.put_output("big", output(100_000, 10), {{}})
except StoreError as error:
    print("REFUSED", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
def test_no_space_left_is_our_error_and_nothing_is_lost(store_folder):
    code = FULL.format(path=[str(__import__("pathlib").Path(__file__).parent)], folder=str(store_folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "REFUSED no space left" in done.stdout and "goes on" in done.stdout and not done.stderr
    store = Store(store_folder)
    assert len(store.runs()) == 1 and store.cached_output("big") is None
    assert not list(store_folder.rglob("*.part"))


texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
replicates = st.builds(
    Replicates, texts, st.integers(2, 9), st.lists(numbers, max_size=4).map(tuple), st.lists(numbers, max_size=4).map(tuple)
)
scores = st.builds(
    Score,
    texts,
    st.sampled_from(Status),
    numbers,
    texts,
    st.floats(0, 1e9),
    texts,
    st.dictionaries(texts, json_values),
    st.none() | replicates,
)
specs = st.builds(
    RunSpec, texts, texts, texts, st.integers(0, 2**31), texts, texts, texts, st.dictionaries(texts, json_values, max_size=3), st.just({})
)
runs = st.builds(
    Run,
    specs,
    st.sampled_from(Status),
    texts,
    st.lists(scores, max_size=3).map(tuple),
    st.builds(Cost, st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9), numbers, texts, st.booleans()),
    texts,
    st.none() | st.integers(1, 10**6),
    st.dictionaries(texts, json_values, max_size=3),
    st.dictionaries(texts, texts, max_size=3),
    texts,
)


@settings(max_examples=60, deadline=None)
@given(runs)
def test_any_run_survives_the_way_through_json(run):
    again = run_from_json(json.loads(json.dumps(run_to_json(run), allow_nan=False)))
    assert again == run and again.spec.key == run.spec.key


def test_numpy_and_sets_become_json_and_what_is_not_finite_becomes_none():
    found = plain({"a": np.float32(1.5), "b": {3, 1}, "c": (np.nan, np.int8(2)), "d": np.arange(2), 5: Status.OK})
    assert found == {"a": 1.5, "b": [1, 3], "c": [None, 2], "d": [0, 1], "5": "ok"}
