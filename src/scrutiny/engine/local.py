"""Jobs on this machine, each in a process of its own: what crashes, leaks or is killed for its memory costs one job and nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import cloudpickle

from scrutiny.core.dataset import Dataset

from .claims import Claims
from .execute import perform
from .jobs import Ended, Holding, Job, Message, Setting, register_all
from .threads import pin_threads, thread_variables

PRELOADED = ("sklearn.linear_model", "sklearn.neighbors", "sklearn.cluster", "sklearn.model_selection", "scipy.sparse.csgraph")
"""Imported once, before children are forked, because most jobs would import them otherwise."""
PATIENCE = 3.0
"""Seconds that a process has to end after it was asked to."""
WORDS = 200
"""Characters kept of the last line that a dead process printed."""
log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Child:
    """A running process: its end of the pipe, where its prints go, what it holds, and when it was heard of last."""

    job: Job
    process: Any
    pipe: Any
    prints: Path
    markers: tuple[Path, ...] = ()
    heard: float = 0.0


class LocalPool:
    """Up to ``n_jobs`` child processes at once.

    Parameters
    ----------
    datasets
        Name to data; sent to each child that needs them (data on disk go by path).
    work
        What a child does with a job; a function of a module, as `perform`.
    timeout
        Seconds without a word after which a child is ended; None: no limit.
    """

    def __init__(
        self,
        n_jobs: int,
        datasets: Mapping[str, Dataset],
        setting: Setting,
        *,
        work: Callable[..., Ended] = perform,
        timeout: float | None = None,
    ) -> None:
        self.n_jobs, self.datasets, self.setting, self.work, self.timeout = n_jobs, datasets, setting, work, timeout
        self.claims = Claims(setting.store / "started")
        self.children: list[_Child] = []
        self.context = _context(setting.threads)
        self.prints = TemporaryDirectory(prefix="scrutiny-")

    @property
    def n_free(self) -> int:
        return self.n_jobs - len(self.children)

    def submit(self, job: Job) -> None:
        ours, theirs = self.context.Pipe()
        handle, prints = mkstemp(dir=self.prints.name)
        os.close(handle)
        process = self.context.Process(target=_child, args=(theirs, prints), name=f"scrutiny {job.method}")
        with _main_left_at_home():
            process.start()
        theirs.close()
        with suppress(OSError):  # it may be dead already; then the pipe tells
            ours.send_bytes(cloudpickle.dumps((os.getcwd(), self.work, job, self.datasets[job.dataset], self.setting)))
        self.children.append(_Child(job, process, ours, Path(prints), heard=monotonic()))

    def messages(self, timeout: float) -> list[tuple[Job, Message]]:
        if self.children:
            connection.wait([child.pipe for child in self.children], timeout)
        return [(child.job, message) for child in list(self.children) for message in self._hear(child)]

    def stop(self) -> None:
        for child in self.children:
            child.process.terminate()
        for child in self.children:
            _end(child.process)
        self.children = []
        self.claims.withdraw_all(self.setting.owner)
        self.prints.cleanup()

    def _hear(self, child: _Child) -> Iterator[Message]:
        """What a child has said; its `Ended` last, in its name if it could not say it."""
        said, is_open = _read(child)
        yield from (message for message in said if not isinstance(message, Ended))
        ended = next((message for message in said if isinstance(message, Ended)), None)
        if ended is None and is_open and self.timeout is not None and monotonic() - child.heard > self.timeout:
            child.process.terminate()
            ended = Ended(died=f"no word for {self.timeout:g} s, the limit")
        if ended is not None or not is_open:
            yield self._bury(child, ended)

    def _bury(self, child: _Child, ended: Ended | None) -> Ended:
        _end(child.process)
        child.pipe.close()
        self.children.remove(child)
        printed = child.prints.read_text(errors="replace").strip()
        child.prints.unlink()
        if printed:
            log.info("%s printed:\n%s", child.job.method, printed)
        ended = ended or Ended(died=_how(child.process.exitcode))
        if not ended.died:
            return ended
        last_words = f"; its last words: {printed.splitlines()[-1][:WORDS]}" if printed else ""
        for marker in child.markers:
            self.claims.blame(marker, ended.died + last_words)
        return ended._replace(died=ended.died + last_words, early=not child.markers)


def _read(child: _Child) -> tuple[list[Message], bool]:
    """What lies in the pipe, markers noted; and whether more may come."""
    said: list[Message] = []
    try:
        while child.pipe.poll():
            message = child.pipe.recv()
            child.heard = monotonic()
            if isinstance(message, Holding):
                child.markers = message.markers
            else:
                said.append(message)
    except (EOFError, OSError):
        return said, False
    return said, True


def _context(threads: int) -> ForkServerContext | SpawnContext:
    """Fork from a fresh server process that has imported what most jobs need; never from this one, whose threads would not follow."""
    if "forkserver" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":  # Apple's libraries do not survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    with thread_variables(threads), _main_left_at_home():
        forkserver.ensure_running()
    return context


@contextmanager
def _main_left_at_home() -> Iterator[None]:
    """Hide the user's script from multiprocessing, which would import it in the child and so run an unguarded one again.

    Classes that were made there travel by value.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _child(pipe: Any, prints: str) -> None:
    """Life of a child process. Ctrl-C is the parent's to handle; when the parent is gone, so is the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)  # so that what a method started, and its temporary files, go with it
    _print_into(prints)
    folder, work, job, data, setting = cloudpickle.loads(pipe.recv_bytes())
    os.chdir(folder)  # the server that it was forked from may have started elsewhere
    held: list[Path] = []
    orphaned = threading.Event()
    threading.Thread(target=_follow_parent, args=(orphaned,), daemon=True).start()

    def tell(message: Message) -> None:
        if isinstance(message, Holding) and not orphaned.is_set():  # what is let go of while leaving is still to be withdrawn
            held[:] = message.markers
        try:
            pipe.send(message)
        except OSError:  # the parent has gone: no fault of the work, so nothing that may be recorded as its failure
            orphaned.set()
            raise SystemExit(1) from None

    register_all(setting.registered)
    try:
        with pin_threads(setting.threads):
            ended = work(job, data, setting, tell, alone=True)
    except SystemExit:
        if orphaned.is_set():  # nobody will tell an interruption from a death later, so it must not look like one
            claims = Claims(setting.store / "started")
            for marker in held:
                claims.withdraw(marker)
        raise
    pipe.send(ended)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _print_into(path: str) -> None:
    """Let all that libraries print go into a file: the terminal belongs to the progress bar."""
    handle = os.open(path, os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _follow_parent(orphaned: threading.Event) -> None:
    """Leave when the parent has gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(PATIENCE)
        os._exit(1)


def _end(process: Any) -> None:
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()


def _how(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            name = signal.Signals(-exitcode).name
            return f"signal {-exitcode} ({name})" + (", often because memory ran out" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"
