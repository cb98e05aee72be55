"""The peak memory of this process, as the kernel counts it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> bool:
    """Let the peak begin anew from what is in use now. Only Linux can; returns whether it did."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float | None:
    """Largest resident memory in MiB since the process started or `reset_peak` worked; None where the system does not tell."""
    if STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        return int(found[1]) / 1024 if found else None
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
