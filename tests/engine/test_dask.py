"""The same plan on a Dask cluster of real processes."""

import pandas as pd
import pytest
from toys import toys as chosen

from scrutiny.core.errors import InputError
from scrutiny.engine.study import Study

pytest.importorskip("distributed")
COLUMNS = ["dataset", "method", "task", "seed", "metric", "status", "reason"]
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.skipif("sys.platform == 'win32'", reason="signals are POSIX")]


def test_the_same_as_the_local_engine_and_a_dead_worker_costs_only_its_job(cells, tmp_path):
    methods = ("hvg_pca", *chosen("counting", "raising", "together"))
    grid = Study((cells,), methods, ("cell_types", "toy/separate"))
    local = grid.run(tmp_path / "local", jobs=2, threads=1).scores()
    both = Study((cells,), (*methods, *chosen("deadly")), grid.tasks).run(tmp_path / "dask", jobs=2, threads=1, engine="dask").scores()
    dead = both[both["method"] == "toy/deadly"]
    assert set(dead["status"]) == {"failed"} and dead["reason"].str.contains("2 times").any()
    dask = both[both["method"] != "toy/deadly"].reset_index(drop=True)
    pd.testing.assert_frame_equal(dask[COLUMNS], local[COLUMNS])
    pd.testing.assert_series_equal(dask["value"], local["value"], atol=1e-6, rtol=0)
    for left, right in zip(dask["replicates_kept"], local["replicates_kept"]):
        assert left is right is None or left == pytest.approx(right, abs=1e-6)
    assert dask.loc[dask["method"] == "hvg_pca", "peak_memory_mb"].notna().all()
    assert list((tmp_path / "dask" / "started").iterdir()) == [] and not list((tmp_path / "dask").glob(".data-*"))


def test_a_scheduler_that_is_not_there_is_our_error(cells, store_folder, monkeypatch):
    from scrutiny.engine import dask

    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.2)
    with pytest.raises(InputError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        Study((cells,), chosen("counting"), ("toy/separate",)).run(store_folder, engine="dask", scheduler="tcp://127.0.0.1:9")
