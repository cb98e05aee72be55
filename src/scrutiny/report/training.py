"""The curves of a training: a picture for a page, and a line for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Characters of a line at most."""


def write_curves(log: pd.DataFrame, path: str | Path, *, title: str = "") -> Path:
    """Draw loss and its parts over the cells that were shown, loss over time, and the learning rate, into an SVG or PNG file.

    Parameters
    ----------
    log
        As `scrutiny.tuning.curves.read_log` gives it: a row a validation.
    """
    from matplotlib.figure import Figure

    parts = [name.removeprefix("validation_") for name in log if name.startswith("validation_")]
    panels = [("loss", "train", "validation"), *((part, f"train_{part}", f"validation_{part}") for part in parts)]
    figure = Figure(figsize=(3.2 * (len(panels) + 2), 2.8), layout="constrained")
    *axes, over_time, rate = figure.subplots(1, len(panels) + 2)
    for axis, (name, train, validation) in zip(axes, panels, strict=True):
        axis.plot(log["cells"], log[train], color="0.6", label="training cells")
        axis.plot(log["cells"], log[validation], color="C0", label="held-out cells")
        axis.set(title=name, xlabel="cells shown")
    axes[0].legend(frameon=False, fontsize="small")
    over_time.plot(log["seconds"] / 60, log["validation"], color="C0")
    over_time.set(title="held-out loss over time", xlabel="minutes")
    rate.plot(log["cells"], log["learning_rate"], color="0.6")
    rate.set(title="learning rate", xlabel="cells shown")
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    path = Path(path)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def sparkline(values: Sequence[float]) -> str:
    """Values (n,) as bars of eight heights, the last `WIDTH` of them; the highest is full, and what is not finite a cross."""
    shown = np.asarray(values, dtype=np.float64)[-WIDTH:]
    finite = shown[np.isfinite(shown)]
    low, span = (finite.min(), np.ptp(finite) or 1.0) if len(finite) else (0.0, 1.0)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] if np.isfinite(value) else "×" for value in shown)
