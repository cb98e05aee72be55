"""Jobs in child processes: real crashes, real kills, real memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from toys import toys as chosen

from scrutiny.core.scores import Status
from scrutiny.data.synth import planted
from scrutiny.engine.store import Store
from scrutiny.engine.study import Study

HERE = str(Path(__file__).parent)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
VALUES = ["method", "task", "seed", "metric", "status", "value", "reason", "run_key", "output_key"]


def table(store, columns=VALUES):
    return store.scores()[columns].reset_index(drop=True)


def n_calls(calls):
    return len(Path(calls).read_text().splitlines()) if Path(calls).exists() else 0


def study(cells, methods, tasks=("toy/separate", "toy/batches"), **more):
    return Study((cells,), methods, tasks, **more)


def test_two_at_once_give_the_same_as_one(cells, tmp_path):
    grid = study(cells, chosen("counting", "seeded", "peeking", "misaligned"), seeds=(0, 1))
    one, two = (grid.run(tmp_path / str(n), jobs=n, threads=1) for n in (1, 2))
    pd.testing.assert_frame_equal(table(one), table(two))
    assert len(one.runs()) == 10


def test_nothing_is_run_twice(cells, store_folder, calls):
    grid = study(cells, chosen("counting", "raising", calls=calls))
    first = table(grid.run(store_folder))
    stamps = {path: path.stat().st_mtime_ns for path in store_folder.rglob("*.json") if path.parent.name in ("runs", "failed")}
    second = table(grid.run(store_folder))
    pd.testing.assert_frame_equal(first, second)
    assert n_calls(calls) == 2 and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.mark.parametrize(("how", "word"), [("exit", "exit code 3"), ("kill", "signal 9 (SIGKILL), often because memory ran out")])
def test_what_kills_its_process_costs_only_itself_and_is_tried_twice(cells, store_folder, calls, how, word):
    events = []
    grid = study(cells, (*chosen("deadly", calls=calls, how=how), *chosen("counting")))
    store = grid.run(store_folder, jobs=2, on_event=events.append)
    by_method = {method: group for method, group in table(store).groupby("method")}
    assert set(by_method["toy/counting"]["task"]) == {"toy/separate", "toy/batches"}
    assert by_method["toy/counting"]["value"].notna().any()
    assert set(by_method["toy/deadly"]["status"]) == {"failed"}
    assert f"ended the process that ran it 2 times ({word})" in by_method["toy/deadly"]["reason"].iloc[0]
    assert n_calls(calls) == 2 and [event.kind for event in events].count("died") == 2
    assert list((store_folder / "started").iterdir()) == []
    grid.run(store_folder)
    assert n_calls(calls) == 2
    grid.run(store_folder, retry=True)
    assert n_calls(calls) == 4


def test_memory_is_that_of_each_run(cells, store_folder):
    store = study(cells, chosen("hungry", "counting", "slow"), ("toy/separate", "toy/split")).run(store_folder)
    costs = store.scores().drop_duplicates("run_key").set_index(["method", "task"])
    plain = costs.loc[("toy/counting", "toy/separate"), "peak_memory_mb"]
    assert ((costs.loc["toy/hungry", "peak_memory_mb"] - plain).between(290, 330)).all()
    assert (costs.loc[["toy/counting", "toy/slow"], "peak_memory_mb"] - plain).abs().max() < 15, (
        "the second output does not pay for the first scores"
    )
    assert costs.loc["toy/slow", "seconds_embed"].between(0.3, 3.0).all()


def test_a_job_without_a_sign_of_life_is_ended(cells, store_folder):
    store = study(cells, chosen("slow", seconds=60), ("toy/separate",)).run(store_folder, timeout=0.5)
    (run,) = store.runs()
    assert run.status is Status.FAILED and "no word for 0.5 s, the limit" in run.reason


def test_what_a_job_prints_stays_off_the_terminal_but_its_last_words_are_kept(cells, store_folder, capfd):
    store = study(cells, chosen("deadly", how="abort"), ("toy/separate",)).run(store_folder)
    assert "signal 6 (SIGABRT); its last words: out of ideas" in store.runs()[0].reason
    assert "ideas" not in "".join(capfd.readouterr())


def test_events_tell_how_far_it_is(cells, store_folder):
    events = []
    study(cells, chosen("counting", "raising")).run(store_folder, on_event=events.append)
    kinds = [event.kind for event in events]
    assert kinds[0] == "planned" and kinds.count("started") == 2 and kinds.count("finished") == 4
    assert [event.done for event in events if event.kind == "finished"] == [1, 2, 3, 4]
    assert {event.total for event in events} == {4} and events[0].seconds_left is None and events[-1].seconds_left == 0
    assert {event.status for event in events if event.kind == "finished"} == {Status.OK, Status.FAILED}


def slow_study(calls):
    """Five jobs of a third of a second, two Runs each."""
    return study(planted(120, 40), chosen("slow", seconds=0.3, calls=calls), seeds=tuple(range(5)))


SCRIPT = f"""
import sys
sys.path[:0] = [{HERE!r}]
from test_local import slow_study
# no guard around what follows: a child must not run it again
slow_study(sys.argv[2]).run(sys.argv[1], threads=1)
"""


def start(folder, calls, **more):
    script = Path(calls).with_name("script.py")
    script.write_text(SCRIPT)
    return subprocess.Popen([sys.executable, str(script), str(folder), calls], stderr=subprocess.PIPE, text=True, **more)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path(f"/proc/{pid}/stat").exists() else True


STABLE = ["method", "task", "seed", "metric", "status", "value", "reason"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of the slow study, never interrupted."""
    return table(slow_study("").run(tmp_path_factory.mktemp("whole"), jobs=2, threads=1), STABLE)


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C", "kill -9 of all"])
def test_stopped_in_the_middle_it_goes_on_to_the_same_table(whole, store_folder, calls, how):
    process = start(store_folder, calls, start_new_session=True)
    wait_for(lambda: n_calls(calls) >= 3)
    children = {int(line) for line in Path(calls).read_text().split()}
    match how:
        case "kill -9":
            process.kill()
        case "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        case "kill -9 of all":
            os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) != 0
    wait_for(lambda: not any(alive(child) for child in children))
    done = len(list((store_folder / "runs").glob("*.json")))
    assert 0 < done < 10
    left = list((store_folder / "started").glob("*"))
    assert bool(left) == (how == "kill -9 of all"), "only a child that was killed itself leaves its markers"
    pd.testing.assert_frame_equal(table(slow_study(calls).run(store_folder, threads=1), STABLE), whole)
    assert n_calls(calls) <= 6, "at most the one that was under way is embedded again"
    assert list((store_folder / "started").glob("*")) == []


def test_two_processes_on_one_store_share_the_work(whole, store_folder, calls):
    both = [start(store_folder, calls), start(store_folder, calls)]
    for process in both:
        assert process.wait(timeout=90) == 0, process.stderr.read()
    pd.testing.assert_frame_equal(table(Store(store_folder), STABLE), whole)
    assert n_calls(calls) == 5, "nothing was embedded twice"
    assert not list(store_folder.rglob("*.part")) and list((store_folder / "started").glob("*")) == []


def test_a_class_of_the_users_script_travels_to_the_child(store_folder):
    code = (
        f"import sys; sys.path[:0] = [{HERE!r}]\n"
        "import toys\n"
        "from scrutiny.core.registry import register_method\n"
        "from scrutiny.data.synth import planted\n"
        "from scrutiny.engine.study import Study\n"
        "@register_method\n"
        "class Mine(toys.Toy):\n"
        "    card = toys.card('mine')\n"
        f"store = Study((planted(60, 30),), ('toy/mine',), ('toy/separate',)).run({str(store_folder)!r})\n"
        "print(store.runs()[0].status)\n"
    )
    script = store_folder.with_name("mine.py")
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout.strip() == "ok", done.stderr


def test_a_full_disk_stops_the_study_with_our_error_and_keeps_what_is_finished(store_folder):
    code = (
        f"import resource, sys; sys.path[:0] = [{HERE!r}]\n"
        "from toys import toys as chosen\n"
        "from scrutiny.core.errors import StoreError\n"
        "from scrutiny.data.synth import planted\n"
        "from scrutiny.engine.study import Study\n"
        "cells = planted(60, 30)\n"
        f"Study((cells,), chosen('counting'), ('toy/separate',)).run({str(store_folder)!r})\n"
        "import multiprocessing.forkserver as f; f._forkserver._stop()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try:\n"
        f"    Study((planted(2000, 30),), chosen('counting'), ('toy/separate',)).run({str(store_folder)!r})\n"
        "except StoreError as error:\n"
        "    print('REFUSED', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "REFUSED no space left" in done.stdout, done.stderr
    assert len(list((store_folder / "runs").glob("*.json"))) == 1 and not list(store_folder.rglob("*.part"))
