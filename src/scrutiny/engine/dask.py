"""Jobs on a Dask cluster: the same plan on workers of one machine or of many. All workers must see the store under the same path.

SLURM, Kubernetes and others start clusters of their own (dask-jobqueue, dask-kubernetes); all that is needed here is the address of the
scheduler. Workers should have one thread each: the libraries inside a job bring their own.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cloudpickle
from dask.distributed import Client, Future, LocalCluster, wait
from distributed.scheduler import KilledWorker

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError

from .claims import Claims
from .execute import perform
from .jobs import Ended, Job, Message, Setting, register_all
from .threads import pin_threads

CONNECT_SECONDS = 10
LOG = logging.getLogger("distributed")
"""Kept still while a cluster of our own runs: what died is told by events."""
AHEAD = 2
"""Jobs handed over for each worker, so that none waits for the coordinator."""


class DaskPool:
    """Jobs as Dask tasks. What a worker says is heard when its job has ended.

    Parameters
    ----------
    scheduler
        Address such as ``tcp://host:8786``; '' starts ``n_workers`` processes on this machine.
    resources
        What each job takes of the resources that the workers of that scheduler offer, e.g. ``{"MEMORY": 16e9}``; methods that want a
        GPU also take one ``GPU`` where workers offer it.
    work
        What a worker does with a job; a function of a module, as `perform`.
    """

    def __init__(
        self,
        n_workers: int,
        datasets: Mapping[str, Dataset],
        setting: Setting,
        *,
        scheduler: str = "",
        resources: Mapping[str, float],
        work: Callable[..., Ended] = perform,
    ) -> None:
        self.setting, self.resources, self.is_own = replace(setting, registered={}), dict(resources), not scheduler
        self.work = work
        own = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
        self.log_level = LOG.level
        LOG.setLevel(logging.CRITICAL if self.is_own else self.log_level)
        self.cluster = LocalCluster(n_workers=n_workers, **own) if self.is_own else None
        self.client = _connected(scheduler or self.cluster)
        self.folder = TemporaryDirectory(dir=setting.store, prefix=".data-")
        self.content = {name: Path(self.folder.name) / str(i) for i, name in enumerate(datasets)}
        for name, path in self.content.items():  # a file, because data in the cluster's memory are lost with the worker that holds them
            path.write_bytes(cloudpickle.dumps((datasets[name], setting.registered)))
        self.running: dict[Future, Job] = {}

    @property
    def n_free(self) -> int:
        return max(1, AHEAD * len(self.client.ncores())) - len(self.running)

    def submit(self, job: Job) -> None:
        wanted = {} if self.is_own else {**self.resources, **({"GPU": 1} if job.gpu and self._has_gpus() else {})}
        future = self.client.submit(_work, self.content[job.dataset], self.work, job, self.setting, resources=wanted or None, pure=False)
        self.running[future] = job

    def _has_gpus(self) -> bool:
        """Whether a worker offers one; a job that asks for what nobody offers would wait for ever."""
        return any("GPU" in worker["resources"] for worker in self.client.scheduler_info(n_workers=-1)["workers"].values())

    def messages(self, timeout: float) -> list[tuple[Job, Message]]:
        try:
            with self.client.as_current():
                done = wait(list(self.running), timeout=timeout, return_when="FIRST_COMPLETED").done if self.running else set()
        except TimeoutError:
            return []
        return [(job, message) for future in done for job in [self.running.pop(future)] for message in _said(future)]

    def stop(self) -> None:
        self.client.cancel(list(self.running))
        with suppress(OSError, TimeoutError):  # workers that are gone have nothing to forget
            self.client.run(_forget, on_error="ignore")
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()
        LOG.setLevel(self.log_level)
        Claims(self.setting.store / "started").withdraw_all(self.setting.owner)
        self.folder.cleanup()


def _connected(scheduler: Any) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with 'dask scheduler' and give its address"
        ) from error


def _work(content: Path, work: Callable[..., Ended], job: Job, setting: Setting) -> list[Message]:
    """Runs on a worker."""
    if not content.exists():
        where = f"the Dask worker on {socket.gethostname()} does not see {setting.store}"
        return [Ended(broken=f"{where}; put the results into a folder that all workers share under one path (--out DIR)")]
    data, registered = _loaded(content)
    register_all(registered)
    said: list[Message] = []
    with pin_threads(setting.threads):
        ended = work(job, data, setting, said.append, alone=False)
    return [*said, ended]


@lru_cache(maxsize=1)
def _loaded(content: Path) -> tuple[Dataset, Mapping[str, Mapping[str, Any]]]:
    """What jobs on one data set need; kept by the worker for the next of them."""
    loaded: tuple[Dataset, Mapping[str, Mapping[str, Any]]] = cloudpickle.loads(content.read_bytes())
    return loaded


def _forget() -> None:
    """Runs on each worker at the end."""
    _loaded.cache_clear()


def _said(future: Future) -> list[Message]:
    try:
        said: list[Message] = future.result()
        return said
    except KilledWorker as error:
        return [Ended(died=f"the Dask workers that ran it died, the last one {error.last_worker.address}")]
    except Exception as error:  # noqa: BLE001 - what a cluster raises instead of running a job
        return [Ended(died=f"{type(error).__name__}: {error}", early=True)]
