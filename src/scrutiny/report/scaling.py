"""Scaled values: 0 is what the floor control scores, 1 is what the roof control scores; never clipped, never without the raw value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .comparisons import Comparison

SMALLEST_SPAN = 0.05
"""Least distance of roof and floor, in the direction of the metric, that allows scaling."""


def scaled(comparison: Comparison) -> pd.DataFrame:
    """Value, controls and scaled value of every method and metric.

    Parameters
    ----------
    comparison
        Its rows name a floor and a roof control for each metric.

    Returns
    -------
    DataFrame with the columns ``method, metric, value, floor_value, roof_value, scaled, unscaled_because``. ``scaled`` is
    (value - floor) / (roof - floor), whatever the direction of the metric; NaN where it is not defined, and then
    ``unscaled_because`` says why. Values below 0 and above 1 stay as they are: controls do not bound metrics.
    """
    ends = {metric: _ends(comparison, metric) for metric in comparison.values.columns}
    rows = []
    for method, values in comparison.values.iterrows():
        for metric, value in values.dropna().items():
            floor, roof, because = ends[metric]
            fraction = np.nan if because else (value - floor) / (roof - floor)
            rows.append((method, metric, value, floor, roof, fraction, because))
    columns = ["method", "metric", "value", "floor_value", "roof_value", "scaled", "unscaled_because"]
    return pd.DataFrame(rows, columns=columns)


def _ends(comparison: Comparison, metric: str) -> tuple[float, float, str]:
    """Values of the floor and roof control (NaN where there are none) and the reason why they give no scale ('' if they do)."""
    card = comparison.metrics.loc[metric]
    names = [name if isinstance(name, str) and name else None for name in (card["floor"], card["roof"])]
    found = [comparison.value(name, metric) if name else None for name in names]
    floor, roof = (np.nan if value is None else value for value in found)
    if None in names:
        return floor, roof, "the metric does not name both a floor and a roof"
    lacking = [str(name) for name, value in zip(names, found) if value is None]
    if lacking:
        return floor, roof, f"no value of {' and '.join(lacking)}"
    if comparison.direction(metric) * (roof - floor) < SMALLEST_SPAN:
        return floor, roof, f"{names[1]} is not at least {SMALLEST_SPAN} better than {names[0]}"
    return floor, roof, ""
