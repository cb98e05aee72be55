"""Cells in shards: real kills, real processes at once, torn files; nothing is embedded twice and nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_local import HERE, wait_for
from toys import Alone

from scrutiny.core.errors import ContractError, InputError, Misaligned, ScrutinyError, StoreError
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import METHODS
from scrutiny.data.synth import planted
from scrutiny.engine import shards as module
from scrutiny.engine.cache import ArrayCache
from scrutiny.engine.claims import Owner
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.once import embed, embedded
from scrutiny.engine.shards import SHARD, ShardedEmbedding, Shards, embed_in_shards, many_at_once
from scrutiny.engine.spread import ask
from scrutiny.engine.store import Store

N_CELLS = 7 * SHARD + 100
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@pytest.fixture(scope="module")
def many():
    """Eight shards, the last one short."""
    return planted(N_CELLS, 12)


@pytest.fixture(scope="module")
def whole(many):
    return embed(many, "toy/alone").values


@pytest.fixture
def one_by_one(monkeypatch):
    """Never two shards at once."""
    monkeypatch.setattr(module, "MOST", 1)


def notes(calls, word):
    return [line.split()[1:] for line in Path(calls).read_text().splitlines() if line.startswith(word)] if Path(calls).exists() else []


def kept(folder):
    return sorted(path.name.split(".")[1] for path in (folder / "cache").glob("*.npz"))


# The pieces ---------------------------------------------------------------------------------------------------------------------------


def test_shards_know_what_is_missing_and_come_back_in_order(tmp_path):
    shards, values = Shards(ArrayCache(tmp_path), "key", N_CELLS), np.arange(N_CELLS * 2, dtype=np.float32).reshape(-1, 2)
    assert shards.missing() == list(range(8)) and shards.n_done() == 0
    for numbers in (range(5, 8), range(0, 1), range(1, 5), range(3, 6)):  # the last one twice: by two that knew nothing of each other
        shards.put(numbers, values[slice(shards.rows(numbers).start, shards.rows(numbers).stop)], seconds=1.0)
        if numbers == range(0, 1):
            assert shards.missing() == [1, 2, 3, 4] and shards.n_done() == N_CELLS - 4 * SHARD
    assert shards.missing() == [] and shards.n_done() == N_CELLS and shards.seconds == 4.0
    np.testing.assert_array_equal(np.concatenate(list(shards.blocks())), values)
    Shards(ArrayCache(tmp_path), "another", N_CELLS).remove()
    assert shards.missing() == []
    shards.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_torn_or_altered_is_missing(tmp_path):
    shards = Shards(ArrayCache(tmp_path), "key", 3 * SHARD)
    for number in range(3):
        shards.put(range(number, number + 1), np.full((SHARD, 2), number, np.float32), seconds=1.0)
    torn, other = tmp_path / "key.0-0.npz", tmp_path / "key.2-2.npz"
    torn.write_bytes(torn.read_bytes()[:-50])
    other.write_bytes((tmp_path / "key.1-1.npz").read_bytes()[: SHARD * 4])
    with pytest.raises(StoreError, match="cells from 1 on are not in"):
        list(shards.blocks())
    later = Shards(ArrayCache(tmp_path), "key", 3 * SHARD)
    later.check()
    assert later.missing() == [0, 2] and later.seconds == 1.0


@pytest.mark.parametrize(("n", "seconds", "next_time"), [(1, 100.0, 1), (1, 10.0, 1), (1, 1.0, 10), (20, 2.0, 100), (1, 1e-9, 128)])
def test_as_many_at_once_as_take_some_seconds(n, seconds, next_time):
    assert many_at_once(n, seconds) == next_time


def test_one_process_makes_only_what_is_missing(many, whole, tmp_path, calls, one_by_one):
    asked = ask(many, Chosen("toy/alone", {"calls": calls}), 0)
    shards = Shards(ArrayCache(tmp_path / "cache"), asked.key, many.n_cells)
    first = embed_in_shards(asked, asked.method.fit(asked.train, seed=0), shards)
    np.testing.assert_array_equal(first.values, whole)
    assert first.cell_ids.tolist() == many.cell_ids.tolist() and len(notes(calls, "embed")) == 8
    for name in ("2-2", "7-7"):
        shards.cache.remove(f"{asked.key}.{name}")
    again = Shards(shards.cache, asked.key, many.n_cells)
    np.testing.assert_array_equal(embed_in_shards(asked, asked.method, again).values, whole)
    assert [pair[0] for pair in notes(calls, "embed")[8:]] == [many.cell_ids[2 * SHARD], many.cell_ids[7 * SHARD]]
    assert again.seconds > 0


def test_a_control_is_shown_the_truth_of_the_cells_of_the_shard(many):
    class Truthful(Alone):
        card = METHODS.get("toy/peeking").card

        def embed(self, query, *, truth):
            assert {len(values) for values in truth.values()} == {query.n_cells}
            return CellEmbedding((truth["label"] == "type_1").astype(np.float32)[:, None], query.cell_ids)

    asked = ask(many, Chosen("toy/peeking"), 0)
    rows = range(SHARD, 3 * SHARD)
    found = module.embed_rows(asked, Truthful(), rows)
    np.testing.assert_array_equal(found[:, 0], many.role("label")[rows.start : rows.stop] == "type_1")


def test_what_a_method_breaks_is_told(many):
    asked = ask(many, Chosen("toy/alone"), 0)
    with pytest.raises(Misaligned):
        module.embed_rows(asked, METHODS.get("toy/misaligned")(), range(10))

    class Raw(Alone):
        def embed(self, query):
            return np.zeros((query.n_cells, 2))

    with pytest.raises(ContractError, match="returned a ndarray"):
        module.embed_rows(asked, Raw(), range(10))


# One call -----------------------------------------------------------------------------------------------------------------------------


def test_the_folder_lasts_as_long_as_the_output_is_not_safe(many, whole, tmp_path, calls, one_by_one):
    folder, told, chosen = tmp_path / "shards", [], Chosen("toy/alone", {"calls": calls})
    with pytest.raises(OSError, match="no room"), embedded(many, chosen, folder=folder, tell=told.append) as made:
        assert isinstance(made.vectors, ShardedEmbedding) and made.vectors.n_dims == 5
        raise OSError("no room for the output")
    assert len(kept(folder)) == 8
    assert [progress.done for progress in told[:3]] == [0, SHARD, 2 * SHARD] and told[-1].done == told[-1].total == N_CELLS
    told.clear()
    with embedded(many, chosen, folder=folder, tell=told.append) as made:
        np.testing.assert_array_equal(made.vectors.whole().values, whole)
    assert len(notes(calls, "embed")) == 8 and told[0].before == N_CELLS
    assert not folder.exists()


def test_other_options_never_take_over_the_shards(many, tmp_path, calls):
    folder = tmp_path / "shards"
    with pytest.raises(OSError), embedded(many, Chosen("toy/alone", {"calls": calls}), folder=folder):
        raise OSError
    other = embed(many.take(np.arange(300)), "toy/alone", options={"calls": calls}, folder=folder)
    assert other.values.shape == (300, 5) and len(notes(calls, "fit")) == 2
    assert not folder.exists(), "what an earlier call left goes with it"


def test_what_needs_all_cells_at_once_is_never_cut(many, tmp_path):
    for method in ("toy/counting", "toy/together"):
        assert len(embed(many, method, folder=tmp_path / "shards").values) == N_CELLS
        with pytest.raises(InputError, match=f"{method}, which looks at all of them at once"):
            embed(many, method, folder=tmp_path / "shards", jobs=2)
    with pytest.raises(InputError, match="without a folder"):
        embed(many, "toy/alone", jobs=2)
    assert not (tmp_path / "shards").exists()


SCRIPT = f"""
import sys
sys.path[:0] = [{HERE!r}]
import numpy as np, toys
from scrutiny.data.synth import planted
from scrutiny.engine import shards
from scrutiny.engine.once import embed
shards.MOST = 1
made = embed(planted({N_CELLS}, 12), "toy/alone", options={{"calls": sys.argv[2], "seconds": float(sys.argv[3])}}, folder=sys.argv[1])
np.save(sys.argv[4], made.values)
"""


def start(folder, calls, seconds, output, **more):
    arguments = [sys.executable, "-c", SCRIPT, str(folder), calls, str(seconds), str(output)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, **more)


def test_killed_in_the_middle_it_goes_on_at_the_next_shard(whole, tmp_path, calls):
    folder, output = tmp_path / "shards", tmp_path / "out.npy"
    for n_before in (2, 5):  # to be killed twice is no death of the cells
        process = start(folder, calls, 0.25, output)
        wait_for(lambda: len(notes(calls, "embed")) > n_before)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert len(list((folder / "started").iterdir())) >= 1
    assert start(folder, calls, 0.25, output).wait(60) == 0
    np.testing.assert_array_equal(np.load(output), whole)
    first_cells = [pair[0] for pair in notes(calls, "embed")]
    assert len(set(first_cells)) == 8 and len(first_cells) <= 10, "only what was under way is embedded again"
    assert not folder.exists()


def test_two_calls_at_once_share_the_shards(whole, tmp_path, calls):
    folder, outputs = tmp_path / "shards", [tmp_path / "0.npy", tmp_path / "1.npy"]
    for process in [start(folder, calls, 0.2, output) for output in outputs]:
        assert process.wait(60) == 0, process.stderr.read()
    for output in outputs:
        np.testing.assert_array_equal(np.load(output), whole)
    assert len(notes(calls, "embed")) == 8 and len(notes(calls, "fit")) == 2
    assert not folder.exists()


def test_another_at_work_is_waited_for_and_told(many, tmp_path, calls, monkeypatch):
    folder, told = tmp_path / "shards", []
    store, key = Store(folder), ask(many, Chosen("toy/alone", {"calls": calls}), 0).key
    parent = Owner(Owner.this_process().host, os.getppid(), psutil.Process(os.getppid()).create_time())
    marker = store.claims.take(f"{key}.3", parent)

    def tell(progress):
        told.append(progress)
        if progress.trouble:
            store.claims.withdraw(marker)

    embed(many, "toy/alone", options={"calls": calls}, folder=folder, on_progress=tell)
    troubles = [progress for progress in told if progress.trouble]
    assert f"waits for process {os.getppid()}" in troubles[0].trouble and troubles[0].done == N_CELLS - SHARD
    assert told[-1].done == N_CELLS


def test_a_full_disk_is_our_error_and_keeps_what_is_finished(tmp_path, calls):
    code = SCRIPT.replace("shards.MOST = 1", "shards.MOST = 2; import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "shards", calls, "0", tmp_path / "o"], capture_output=True, text=True)
    assert "StoreError: no space left to write" in done.stderr, done.stderr
    assert kept(tmp_path / "shards") == ["0-0"] and not list(tmp_path.rglob("*.part"))


# Several workers ----------------------------------------------------------------------------------------------------------------------


def test_processes_share_the_cells_and_load_the_model_once(many, whole, tmp_path, calls):
    found = embed(many, "toy/alone", options={"calls": calls, "seconds": 0.3}, folder=tmp_path / "shards", jobs=2, threads=1)
    np.testing.assert_array_equal(found.values, whole)
    pids = [pid for (pid,) in notes(calls, "fit")]
    assert len(pids) == len(set(pids)) == 2
    starts = [pair[0] for pair in notes(calls, "embed")]
    assert len(set(starts)) == len(starts) and not (tmp_path / "shards").exists()


def test_a_worker_that_dies_costs_its_shards_which_are_done_again(many, whole, tmp_path, calls):
    told, options = [], {"calls": calls, "deadly": many.cell_ids[700], "deaths": 1}
    found = embed(many, "toy/alone", options=options, folder=tmp_path / "shards", jobs=2, threads=1, on_progress=told.append)
    np.testing.assert_array_equal(found.values, whole)
    assert any("signal 9 (SIGKILL)" in progress.trouble for progress in told)


def test_cells_that_kill_twice_are_named_and_tried_again_when_asked_for(many, whole, tmp_path, calls):
    options = {"calls": calls, "deadly": many.cell_ids[700], "deaths": 2}
    with pytest.raises(ScrutinyError, match=r"cells 513 to 768 have ended the process that embedded them 2 times \(signal 9"):
        embed(many, "toy/alone", options=options, folder=tmp_path / "shards", jobs=2, threads=1)
    assert len(notes(calls, "death")) == 2 and "0-0" in kept(tmp_path / "shards")
    np.testing.assert_array_equal(embed(many, "toy/alone", options=options, folder=tmp_path / "shards").values, whole)


def test_workers_that_never_begin_are_not_started_for_ever(many, tmp_path, calls):
    with pytest.raises(ScrutinyError, match=r"3 workers in a row ended and nothing was finished; the last one: signal 9"):
        embed(many, "toy/alone", options={"calls": calls, "deadly": "fit"}, folder=tmp_path / "shards", jobs=2, threads=1)
    assert 3 <= len(notes(calls, "fit")) <= 4


def test_what_a_worker_meets_is_told(many, tmp_path):
    with pytest.raises(ScrutinyError, match="no space|not finite"):
        embed(many, "toy/alone", options={"deadly": "nan"}, folder=tmp_path / "shards", jobs=2, threads=1)


def test_dask_workers_share_the_cells_and_nobody_waits_for_a_gpu_that_is_not_offered(many, whole, tmp_path, calls):
    distributed = pytest.importorskip("distributed")
    options = {"calls": calls, "deadly": many.cell_ids[700], "deaths": 1}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        place = {"engine": "dask", "scheduler": cluster.scheduler_address, "threads": 1}
        found = embed(many, "toy/alone", options=options, folder=tmp_path / "shards", **place)
        with distributed.Client(cluster, set_as_default=False) as client:
            assert set(client.run(n_fitted).values()) == {0}, "a cluster that lives on is not left with the model in its memory"
    np.testing.assert_array_equal(found.values, whole)
    fits = [pid for (pid,) in notes(calls, "fit")]
    assert len(notes(calls, "death")) == 2 and len(fits) == len(set(fits)) and not (tmp_path / "shards").exists()


def n_fitted():
    from scrutiny.engine.spread import _fitted

    return len(_fitted)
