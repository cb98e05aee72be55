"""What an external command started does not outlive the study that asked for it."""

import sys

import psutil
import pytest

from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.study import Study

MARK = "291.25"


def sleepers():
    return [p.pid for p in psutil.process_iter(["cmdline"]) if MARK in (p.info["cmdline"] or [])]


@pytest.mark.slow
def test_a_command_is_ended_with_the_job_that_ran_too_long(tmp_path):
    command = ["sh", "-c", f"sleep {MARK}; echo {{input}}"]
    study = Study((planted(n_cells=60),), (Chosen("external", {"command": command}),), ("cell_types",))
    store = study.run(tmp_path, timeout=2.0)
    assert "no word for 2 s" in store.scores()["reason"].iloc[0]
    assert sleepers() == []


@pytest.mark.slow
def test_a_command_is_ended_when_the_coordinator_is_killed(tmp_path):
    import subprocess
    import time

    code = (
        "from scrutiny.data.synth import planted; from scrutiny.engine.embedding import Chosen; from scrutiny.engine.study import Study\n"
        f"chosen = Chosen('external', {{'command': ['sh', '-c', 'sleep {MARK}; echo {{input}}']}})\n"
        f"Study((planted(n_cells=60),), (chosen,), ('cell_types',)).run({str(tmp_path)!r})"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not sleepers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sleepers()
    coordinator.kill()
    coordinator.wait()
    while sleepers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sleepers() == []
