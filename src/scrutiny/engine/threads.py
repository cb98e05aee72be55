"""A fixed number of threads for the numerical libraries, so that the same job gives the same values however many run beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NUMBA = "NUMBA_NUM_THREADS"
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", NUMBA, "VECLIB_MAXIMUM_THREADS")


@contextmanager
def thread_variables(n_threads: int) -> Iterator[None]:
    """Set the environment variables that libraries read when they are loaded, for this process and those it starts."""
    names = [name for name in VARIABLES if name != NUMBA or "numba" not in sys.modules]  # numba refuses a change once it runs
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(n_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def pin_threads(n_threads: int) -> Iterator[None]:
    """Limit libraries that are loaded already, and those that will be."""
    from threadpoolctl import threadpool_limits

    with thread_variables(n_threads), threadpool_limits(n_threads):
        yield
