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
    """Draw loss and its parts, over the cells that were shown and over the time, into an SVG or PNG file.

    Parameters
    ----------
    log
        As `scrutiny.tuning.curves.read_log` gives it: a row a validation.
    """
    from matplotlib.figure import Figure

    parts = [name.removeprefix("validation_") for name in log if name.startswith("validation_")]
    panels = [("loss", "train", "validation"), *((part, f"train_{part}", f"validation_{part}") for part in parts)]
    figure = Figure(figsize=(3.2 * (len(panels) + 1), 2.8), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1, squeeze=False)[0]
    for axis, (name, train, validation) in zip(axes, panels, strict=False):
        axis.plot(log["cells"], log[train], color="0.6", label="training cells")
        axis.plot(log["cells"], log[validation], color="C0", label="held-out cells")
        axis.set(title=name, xlabel="cells shown")
    axes[0].legend(frameon=False, fontsize="small")
    axes[-1].plot(log["seconds"] / 60, log["validation"], color="C0")
    axes[-1].set(title="held-out loss over time", xlabel="minutes")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    path = Path(path)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def sparkline(values: Sequence[float]) -> str:
    """Values (n,) as bars of eight heights, the last `WIDTH` of them; the highest is full."""
    shown = np.asarray(values, dtype=np.float64)[-WIDTH:]
    low, span = shown.min(), np.ptp(shown)
    heights = np.zeros(len(shown), int) if span == 0 else np.round((shown - low) / span * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)
