"""The peak memory of pieces of work in one process, as the kernel counts it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Measures one piece of work after the other, without what other work in between has left behind.

    Parameters
    ----------
    alone
        Whether the process does nothing else, so that its first peak is that of the first piece also where the system cannot let the
        count begin anew. Only Linux can; elsewhere later pieces are not measured.
    """

    def __init__(self, *, alone: bool) -> None:
        self._at_start = _resident_mb()
        self._is_fresh = alone
        self._before: float | None = None
        self._highest = 0.0

    def begin(self) -> None:
        """A piece of work begins."""
        is_clear = _reset_peak() or self._is_fresh
        self._before = _resident_mb() if is_clear else None
        self._is_fresh = False

    def peak_mb(self) -> float | None:
        """Largest resident memory in MiB since `begin`; None where it is not known.

        What lay about between the pieces is taken off. The libraries that an earlier piece loaded lie there too, so the peak is never
        less than that of an earlier piece.
        """
        peak = _peak_mb()
        if peak is None or self._before is None:
            return None
        self._highest = max(self._highest, peak - self._before + self._at_start)
        return self._highest


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def _reset_peak() -> bool:
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_mb() -> float | None:
    if STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        return int(found[1]) / 1024 if found else None
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
