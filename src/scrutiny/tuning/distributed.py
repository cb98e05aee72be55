"""Several processes that train one net together: each takes its share of the batches of a step, and their gradients are averaged.

A process finds the others by the environment variables of ``torchrun``, on one machine or many; `launch` sets the same ones for
processes that it starts here. Processors talk over gloo, CUDA devices over nccl, one device a process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import connection, get_context
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from scrutiny.core.errors import InputError, ScrutinyError

VARIABLES = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
PATIENCE = timedelta(hours=6)
"""How long a process waits for the others: the first one validates and writes alone. One that dies is noticed at once, without this."""
HERE = "127.0.0.1"

Result = TypeVar("Result")
Tell = Callable[[Any], None]


class World(NamedTuple):
    """The processes that train together, seen from one of them."""

    rank: int
    size: int
    device: torch.device
    """Of this process."""

    @property
    def is_first(self) -> bool:
        """Whether it is this one that validates, logs and writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all of them are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Meet the processes that ``torchrun`` or `launch` started together with this one; where neither did, there is no other.

    Raises
    ------
    InputError
        If there is no such device for each of them.
    """
    if not os.environ.keys() >= VARIABLES:
        yield World(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if device.index >= torch.cuda.device_count():
            raise InputError(f"process {device.index} of this machine has no CUDA device: there are {torch.cuda.device_count()}")
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise InputError(f"several processes train on cpu or cuda, not on {device}")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield World(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()  # not after an error: the others would fail by that before anybody has heard of it


def averaging(module: nn.Module, device: torch.device) -> nn.parallel.DistributedDataParallel:
    """The module, with its weights made those of the first process and its gradients the mean over all; some may have none."""
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def summed(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Sums over all processes, which name the same values."""
    if not dist.is_initialized():
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def launch(work: Callable[[Tell], Result], n_processes: int, tell: Tell) -> Result:
    """Call ``work`` in so many new processes, which find each other by `joined`, and return what it returned in the first.

    Parameters
    ----------
    work
        A function that other processes can import, or a `functools.partial` of one. It is given a function to tell of its progress:
        what the first process tells, values that can be pickled, is passed on to ``tell`` here.

    Raises
    ------
    ScrutinyError
        What a process raised first; the others are then ended.
    InputError
        If one was killed.
    """
    reader, writer = get_context("spawn").Pipe(duplex=False)
    place = {"WORLD_SIZE": str(n_processes), "MASTER_ADDR": HERE, "MASTER_PORT": str(_free_port())}
    threads = max(1, torch.get_num_threads() // n_processes)
    started = multiprocessing.start_processes(_begin, (work, place, threads, writer), n_processes, join=False, start_method="spawn")
    returned: list[Result] = []
    try:
        done = False
        while not done:
            connection.wait([reader, *started.sentinels])
            while reader.poll():
                what, value = reader.recv()
                if what == "raised":
                    raise value
                (returned.append if what == "returned" else tell)(value)
            done = started.join(timeout=0)
    except multiprocessing.ProcessExitedException as error:
        raise InputError(
            f"process {error.error_index} of {n_processes} was ended from outside ({error.signal_name or error.exit_code}), most often for "
            "lack of memory, and so the others were; the same command goes on from the last snapshot, fewer tokens_per_batch need less"
        ) from error
    finally:
        for process in started.processes:
            process.kill()
            process.join()
    return returned[0]


def _begin(rank: int, work: Callable[[Tell], Any], place: Mapping[str, str], threads: int, writer: Any) -> None:
    """One process; only the first has anything to tell."""
    os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(threads)

    def send(what: str, value: Any) -> None:
        writer.send((what, value))

    try:
        result = work((lambda value: send("told", value)) if rank == 0 else lambda value: None)
    except ScrutinyError as error:
        send("raised", error)
        raise
    if rank == 0:
        send("returned", result)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind((HERE, 0))
        return int(listening.getsockname()[1])
