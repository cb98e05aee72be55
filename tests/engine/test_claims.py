import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from scrutiny.engine.claims import Busy, Claims, Owner, ProcessDied


@pytest.fixture
def claims(tmp_path):
    return Claims(tmp_path / "started")


@pytest.fixture
def me():
    return Owner.this_process()


@pytest.fixture
def other():
    """A living process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    yield replace(Owner.this_process(), pid=process.pid, born=psutil.Process(process.pid).create_time())
    process.communicate(b"\n")


@pytest.fixture
def dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return replace(Owner.this_process(), pid=process.pid, born=time.time())


def test_what_a_living_process_holds_is_busy_until_it_ends(claims, me, other):
    claims.take("work", other)
    with pytest.raises(Busy, match=f"process {other.pid}"):
        claims.take("work", me)
    claims.finish("work")
    assert claims.take("work", me).exists()


def test_a_dead_holder_counts_and_after_two_nobody_tries(claims, me, dead):
    claims.take("work", dead)
    marker = claims.take("work", me)
    claims.blame(marker, "signal 9 (SIGKILL)")
    with pytest.raises(ProcessDied, match=r"2 times \(signal 9 \(SIGKILL\)\)"):
        claims.take("work", me)
    claims.finish("work")
    claims.take("work", me)


def test_an_interruption_does_not_count(claims, me):
    for _ in range(5):
        claims.withdraw(claims.take("work", me))
    for _ in range(5):
        claims.take("work", me)
        claims.withdraw_all(me)


def test_taking_all_back_leaves_what_died_and_what_others_hold(claims, me, other):
    claims.blame(claims.take("died", me), "exit code 3")
    claims.take("held", me)
    claims.take("theirs", other)
    claims.withdraw_all(me)
    assert sorted(path.name for path in claims.folder.iterdir()) == ["died.1", "theirs.1"]


def test_a_process_with_the_number_of_a_dead_one_is_another(me):
    assert me.is_alive() and not replace(me, born=me.born - 100).is_alive()
    assert replace(me, host="elsewhere", born=0.0).is_alive()


def test_a_marker_that_is_being_written_is_held_and_an_old_torn_one_is_not(claims, me):
    claims.folder.mkdir()
    marker = claims.folder / "work.1"
    marker.write_text("")
    with pytest.raises(Busy):
        claims.take("work", me)
    os.utime(marker, (1, 1))
    assert claims.take("work", me).name == "work.2"


def test_of_many_processes_one_gets_the_work(claims):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    gate, results = context.Event(), context.Queue()
    racers = [context.Process(target=_race, args=(claims, gate, results)) for _ in range(6)]
    for racer in racers:
        racer.start()
    gate.set()
    won = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.terminate()
    assert won.count("won") == 1 and won.count("busy") == 5


def _race(claims, gate, results):
    gate.wait()
    try:
        claims.take("work", Owner.this_process())
        results.put("won")
    except Busy:
        results.put("busy")
    time.sleep(60)
