"""Is what deeper sequencing shows told better than by the thinned counts themselves? Made of the sums in `predictions`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import Better, MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import Reconstruction
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

from .predictions import CellSums, Counted, Profile, cell_sums, prediction_profiles, weights

AS_GIVEN = "as given"
"""Name of the prediction that takes the thinned counts as they are."""
FLOOR = "control/thinned"
COUNTED = (
    "Over the genes that the method knows; of those that a cell does not express at full depth as many are drawn as it does, and stand for "
    "all. Log counts are ln(1 + 1e4 count / total)."
)


def _card(name: str, recipe: str, *, better: Better = "lower", low: float = 0.0, high: float = float("inf"), **more: Any) -> MetricCard:
    return MetricCard(name, "reconstruction", better, low, high, f"{recipe} {COUNTED}", floor=FLOOR, roof=None, **more)


def _counted(deepened: Reconstruction) -> Counted:
    """The entries, with the thinned counts in the place of the gene mean: they are what is to be beaten."""
    if not len(deepened.rows):
        raise NotApplicable("the method answers for none of the entries that were asked for")
    true, given, weight = deepened.true, deepened.also[AS_GIVEN], weights(deepened)
    mean = np.full_like(true, np.average(true, weights=weight))
    where = deepened.rows, deepened.columns
    return Counted(deepened.n_cells, deepened.quantity, *where, true, weight, given, mean, {"": deepened.predicted})


@derived("depth_sums", rowwise=True)
def depth_sums(deepened: Reconstruction) -> CellSums:
    """Sums over the entries of each cell."""
    return cell_sums(_counted(deepened))


@derived("depth_profile", rowwise=True)
def depth_profile(deepened: Reconstruction) -> Profile:
    """How predictions follow the log counts at full depth; parts of the cells keep that of all."""
    return prediction_profiles(_counted(deepened))[""]


@metric(
    _card(
        "depth_skill",
        "1 - sum of squared errors / that of the thinned counts as they are. 0 is doing nothing, 1 is perfect, below 0 is harm.",
        better="higher",
        low=-float("inf"),
        high=1.0,
        repeats=20,
    )
)
def depth_skill(depth_sums: CellSums, depth_profile: Profile, asked: NDArray[np.floating]) -> Measured:
    """How much of the error is removed that lies in taking thinned counts for full ones.

    Parameters
    ----------
    asked
        (n_cells,) genes of each cell that were asked for, those included that drawn ones stand for.

    Raises
    ------
    NotApplicable
        If the thinned counts make no error, or the method answers for no entry.
    """
    before = depth_sums.total("error_gene_mean")
    if not before > 0:
        raise NotApplicable("the thinned counts, rescaled, are those at full depth, so there is nothing to tell")
    skill = 1 - depth_sums.total("error") / before
    share = depth_sums.total("weight") / asked.sum()
    told = {"quantity": depth_sums.quantity, **depth_profile._asdict(), "variance_explained": skill, "share_answered": share}
    return Measured(skill, details=told)


@metric(_card("depth_mse", "Mean squared error of log counts."))
def depth_mse(depth_sums: CellSums) -> Measured:
    """Mean squared error.

    Raises
    ------
    NotApplicable
        If the method answers for no entry.
    """
    own, given = (depth_sums.total(name) / depth_sums.total("weight") for name in ("error", "error_gene_mean"))
    return Measured(own, details={"gene_mean": given})


@metric(_card("depth_mse_expressed", "Mean squared error of log counts that are above 0 at full depth."))
def depth_mse_expressed(deepened: Reconstruction) -> Measured:
    """Mean squared error of what is expressed: most of it was lost or is overestimated in the thinned counts.

    Raises
    ------
    NotApplicable
        If the method answers for no such entry.
    """
    return _error(deepened, deepened.true > 0, "expressed genes")


@metric(_card("depth_mse_zeros", "Mean squared error of log counts that are 0 at full depth."))
def depth_mse_zeros(deepened: Reconstruction) -> Measured:
    """Mean squared error of what is not expressed, of which the thinned counts know: smoothing pays here for what it gains elsewhere.

    Raises
    ------
    NotApplicable
        If the method answers for no such entry.
    """
    return _error(deepened, deepened.true == 0, "genes that are not expressed")


@metric(
    _card(
        "depth_pearson",
        "Pearson's correlation of predicted and true log counts within each cell, mean over cells; a cell in which all predictions are "
        "the same counts as 0.",
        better="higher",
        low=-1.0,
        high=1.0,
    )
)
def depth_pearson(depth_sums: CellSums) -> Measured:
    """Whether the genes of a cell are predicted in proportion.

    Raises
    ------
    NotApplicable
        If no cell has a correlation, or the method answers for no entry.
    """
    return Measured(depth_sums.mean("pearson"), details={"gene_mean": depth_sums.mean("pearson_gene_mean")})


def _error(deepened: Reconstruction, kept: NDArray[np.bool_], what: str) -> Measured:
    """Mean squared error over some of the entries, and that of the thinned counts, which stand in the place of the gene mean."""
    if not kept.any():
        raise NotApplicable(f"the method answers for none of the {what}")
    true, weight = deepened.true[kept], weights(deepened)[kept]
    own, given = (float(np.average((x[kept] - true) ** 2, weights=weight)) for x in (deepened.predicted, deepened.also[AS_GIVEN]))
    return Measured(own, details={"gene_mean": given})
