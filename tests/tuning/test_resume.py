"""Killed at any moment, a training goes on to the same bits: weights, moments of the optimiser, and log."""

import multiprocessing
import random
import time
from pkgutil import resolve_name

import pandas as pd
import pytest
import torch
from small_training import train

from scrutiny.tuning.curves import read_log
from scrutiny.tuning.objective import Objective
from scrutiny.tuning.objectives.table import OBJECTIVES
from scrutiny.tuning.snapshots import Snapshots

KILLS = 3
LOADED = ("drafts", "geneformer", "scgpt", "subjects")
CLOCKS = ["seconds", "waited"]
CASES = {
    "rank": {"objective": "masked_rank"},
    "slow copy, bfloat16, two batches a step": {"objective": "joint_embedding", "precision": "bfloat16", "accumulate": 2},
    "ends early": {"objective": "masked_rank", "patience": 2, "learning_rate": 0.1, "steps": 40, "validate": 20},
}
MORE = {
    "rank, bfloat16, two batches a step": {"objective": "masked_rank", "precision": "bfloat16", "accumulate": 2},
    "slow copy": {"objective": "joint_embedding"},
    "values, recomputed": {"family": "scgpt", "objective": "masked_bins", "checkpointing": True},
}


@pytest.fixture(scope="module")
def processes():
    """Where new processes come from that need not load PyTorch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scrutiny.tuning.loop", *(f"scrutiny.methods.foundation.{name}" for name in LOADED)])
    return context


def run(processes, folder, options, seconds=None):
    """Train in a process of its own, killed after so many seconds; returns how long it took and whether it ended by itself."""
    process = processes.Process(target=train, args=(folder,), kwargs=options)
    began = time.monotonic()
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return time.monotonic() - began, False
    assert process.exitcode == 0
    return time.monotonic() - began, True


def outcome(folder):
    snapshot = Snapshots(folder / "snapshots").last()
    return snapshot.tensors, {**snapshot.state, "rows": None, **dict.fromkeys(CLOCKS)}, read_log(folder / "log.csv").drop(columns=CLOCKS)


@pytest.mark.parametrize(
    "options", [*CASES.values(), *(pytest.param(case, marks=pytest.mark.slow) for case in MORE.values())], ids=[*CASES, *MORE]
)
def test_a_killed_training_ends_as_an_unbroken_one(processes, tmp_path, options):
    run(processes, tmp_path / "warm", {**options, "steps": 1})
    seconds, _ = run(processes, tmp_path / "unbroken", options)
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    print(f"kills drawn by {seed}")
    ended = [run(processes, tmp_path / "killed", options, moments.uniform(0.3, 1.0) * seconds)[1] for _ in range(KILLS)]
    print(f"ended by itself: {ended}")
    run(processes, tmp_path / "killed", options)
    tensors, state, log = outcome(tmp_path / "unbroken")
    again, state_again, log_again = outcome(tmp_path / "killed")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert state_again == state
    pd.testing.assert_frame_equal(log_again, log, check_exact=True)


def test_all_objectives_that_keep_something_are_tried():
    classes = {name: resolve_name(path) for name, path in OBJECTIVES.items()}
    stateful = {name for name, kind in classes.items() if kind.after_step is not Objective.after_step}
    assert stateful <= {case["objective"] for case in CASES.values()}
