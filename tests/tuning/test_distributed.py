"""Several processes on gloo: the same weights as one process, the same snapshots, and no death that goes unnoticed."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from small_training import small_trainer

from scrutiny.core.errors import InputError
from scrutiny.tuning.curves import read_log
from scrutiny.tuning.distributed import VARIABLES, joined, launch
from scrutiny.tuning.snapshots import Snapshots

CLOSE = {"rtol": 1e-3, "atol": 2e-5}
"""Sums of gradients are made in another order; twelve steps of Adam at a rate of 0.01 make so much of it."""


def train(folder, options, tell):
    """One of the processes."""
    with joined(torch.device("cpu")) as world:
        state = small_trainer(folder, rank=world.rank, world=world.size, tell=tell, **options).run()
        return world.size, state.step


def fail(how, tell):
    with joined(torch.device("cpu")) as world:
        tell(world.size)
        world.wait()
        if world.rank == 1:
            how()
        world.wait()


def raise_ours():
    raise InputError("the shard is damaged")


def raise_a_bug():
    raise ZeroDivisionError("a bug")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def trained(folder):
    return Snapshots(folder / "snapshots").last()


class Enough(Exception):
    pass


def enough(report):
    if report.step == 5:
        raise Enough


RANK = {"objective": "masked_rank"}
JOINT = {"objective": "joint_embedding", "checkpointing": True, "patience": 5}


@pytest.mark.parametrize(
    "options", [pytest.param(RANK, marks=pytest.mark.slow), JOINT], ids=["rank", "slow copy, recomputed, best weights"]
)
def test_two_processes_give_what_one_gives_with_twice_the_batches(tmp_path, options):
    told = []
    assert launch(partial(train, tmp_path / "two", options), 2, told.append) == (2, 12)
    small_trainer(tmp_path / "one", accumulate=2, **options).run()
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    assert one.tensors.keys() == two.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, **CLOSE)
    logs = [read_log(tmp_path / name / "log.csv") for name in ("one", "two")]
    exact = ["step", "cells", "tokens", "teraflops", "learning_rate"]
    assert logs[0][exact].equals(logs[1][exact])
    for column in ("train", "validation", "gradient_norm"):
        assert logs[1][column].tolist() == pytest.approx(logs[0][column].tolist(), rel=1e-3)
    assert [report.step for report in told] == list(range(1, 13))  # from the first process alone
    has_moments = {name.split("/")[1] for name in two.tensors if name.startswith("optimiser/")}
    assert ("net.head.bias" in has_moments) == (options is RANK)  # a head that the objective leaves unused harms nobody


@pytest.mark.slow
def test_two_processes_go_on_from_the_snapshot_of_the_first(tmp_path):
    launch(partial(train, tmp_path / "unbroken", {}), 2, lambda report: None)
    with pytest.raises(Enough):  # both are killed
        launch(partial(train, tmp_path / "broken", {}), 2, enough)
    assert 5 <= trained(tmp_path / "broken").state["step"] + 1 < 12
    launch(partial(train, tmp_path / "broken", {}), 2, lambda report: None)
    unbroken, broken = trained(tmp_path / "unbroken"), trained(tmp_path / "broken")
    assert all(torch.equal(broken.tensors[name], tensor) for name, tensor in unbroken.tensors.items())


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        pytest.param(raise_ours, InputError, "the shard is damaged", marks=pytest.mark.slow),
        pytest.param(raise_a_bug, torch.multiprocessing.ProcessRaisedException, "ZeroDivisionError: a bug", marks=pytest.mark.slow),
        (die, InputError, r"process 1 of 2 was ended from outside \(SIGKILL\).*the same command goes on from the last snapshot"),
    ],
)
def test_a_process_that_ends_ends_the_others_and_says_why(how, kind, message):
    with pytest.raises(kind, match=message):
        launch(partial(fail, how), 2, lambda size: None)


@pytest.mark.slow
def test_torchrun_starts_them_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_distributed import train\n"
        f"print(train({str(tmp_path)!r}, {{'steps': 2}}, lambda report: None))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.stdout.splitlines() == ["(2, 2)", "(2, 2)"], done.stderr
    assert trained(tmp_path).state["step"] == 2


def test_alone_there_is_nobody_to_wait_for(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with joined(torch.device("cpu")) as world:
        world.wait()
        assert (world.rank, world.size, world.is_first) == (0, 1, True)
