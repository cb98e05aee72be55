"""Is expression predicted better than by the mean of each gene? Made of the sums in `predictions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrutiny.core.cards import Better, MetricCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import FROM_CELL
from scrutiny.core.registry import metric
from scrutiny.core.scores import Measured

from .predictions import LOG_ODDS, CellSums, Profile

FLOOR = "control/another_cell"
COUNTED = (
    "Over the hidden entries, or over all where nothing is hidden; zeros that are a sample count with their weight. The gene mean is that "
    "of the same quantity over the other predicted cells, this one left out, and the same in every replicate."
)
PAPER = "Kedzierska et al. 2025 (reconstruction against the mean, all genes given)"
SQUARED = ("bin", "log count")
"""Quantities whose error is the squared one."""
LOWEST = -float("inf")


def _card(name: str, recipe: str, *, better: Better = "higher", low: float = LOWEST, high: float = 1.0, **more: Any) -> MetricCard:
    usual = {"source": PAPER, "floor": None, "roof": None}
    return MetricCard(name, "reconstruction", better, low, high, recipe, **{**usual, **more})


@metric(
    _card(
        "reconstruction_skill",
        "1 - error / error of the gene mean. The error is the sum of squares for bins and log counts, 1 - r for ranks (r the mean over "
        "cells of Pearson's correlation of predicted and true places), and 1 - AUROC, mean over cells, for the log-odds of being "
        "expressed. 0 is no better than the gene mean, 1 is perfect, below 0 is worse than the mean. A number of its own scale, so it is "
        f"not scaled between controls. {COUNTED}",
        floor=FLOOR,
        repeats=20,
    )
)
def reconstruction_skill(cell_sums: CellSums, prediction_profiles: Mapping[str, Profile]) -> Measured:
    """How much of the error that the mean of each gene makes is removed, whatever the quantity that a method predicts.

    Raises
    ------
    NotApplicable
        If the gene mean makes no error.
    """
    value = skill(cell_sums)
    told = {name: _picture(cell_sums, name, profile) for name, profile in prediction_profiles.items()}
    return Measured(value, details={"quantity": cell_sums.quantity, **told.pop(""), "also": told})


def _picture(sums: CellSums, name: str, profile: Profile) -> dict[str, Any]:
    """What a picture of a prediction shows and says."""
    explained = _variance_explained(sums, name)
    told = {"bins": profile.bins, "slope": profile.slope, "variance_explained": explained}
    return {**told, "skill": explained} if name and sums.quantity in SQUARED else told


@metric(
    _card(
        "reconstruction_skill_cell",
        f"As reconstruction_skill, of what a model predicts from the vector of the cell alone (scGPT: MVC head). {COUNTED}",
        floor=FLOOR,
    )
)
def reconstruction_skill_cell(cell_sums: CellSums) -> float:
    """Whether the embedding of a cell alone predicts expression better than the mean of each gene.

    Raises
    ------
    NotApplicable
        If the method has no such prediction, or the gene mean makes no error.
    """
    _check_from_cell(cell_sums)
    return _variance_explained(cell_sums, FROM_CELL)


@metric(
    _card(
        "reconstruction_slope",
        "Slope of predicted on true values within genes: both less their mean over the entries of the gene that count, sum of products "
        "over sum of squares of the true ones; log-odds as probabilities. 0: what is predicted does not follow the cell; 1: as far from "
        "the mean as the truth. Over the hidden entries, or over all where nothing is hidden; zeros that are a sample count with their "
        "weight.",
        high=-LOWEST,
    )
)
def reconstruction_slope(prediction_profiles: Mapping[str, Profile]) -> float:
    """Whether predictions follow the cell at all: 0 for a model that predicts the mean whatever the input.

    Raises
    ------
    NotApplicable
        If no gene varies.
    """
    found = prediction_profiles[""].slope
    if found != found:
        raise NotApplicable("no gene varies among the entries, so there is nothing that predictions could follow")
    return found


@metric(
    _card(
        "reconstruction_variance_explained",
        "1 - sum of squared errors / sum of squares around the gene mean, not clipped; for bins and log counts that is "
        f"reconstruction_skill. Log-odds as probabilities. {COUNTED}",
    )
)
def reconstruction_variance_explained(cell_sums: CellSums) -> float:
    """Share of the variance around the gene mean that is explained; below 0 where the errors are larger than that.

    Raises
    ------
    NotApplicable
        If no gene varies around its mean.
    """
    return _variance_explained(cell_sums)


@metric(
    _card("reconstruction_mse", f"Mean squared error, in squared units of the quantity. {COUNTED}", better="lower", low=0.0, high=-LOWEST)
)
def reconstruction_mse(cell_sums: CellSums) -> Measured:
    """Mean squared error of bins or log counts. Quantities of different methods are not one scale.

    Raises
    ------
    NotApplicable
        If the quantity is another.
    """
    return Measured(_mse(cell_sums, "error"), details={"quantity": cell_sums.quantity, "gene_mean": _mse(cell_sums, "error_gene_mean")})


@metric(
    _card("reconstruction_mse_gene_mean", f"Mean squared error of the gene mean. {COUNTED}", better="lower", low=0.0, high=-LOWEST)
)
def reconstruction_mse_gene_mean(cell_sums: CellSums) -> float:
    """Mean squared error that the mean of each gene makes on the same entries.

    Raises
    ------
    NotApplicable
        If the quantity is not a bin or a log count.
    """
    return _mse(cell_sums, "error_gene_mean")


@metric(
    _card(
        "reconstruction_mse_mean",
        f"Mean squared error of the mean of all entries of the other predicted cells. {COUNTED}",
        better="lower",
        low=0.0,
        high=-LOWEST,
    )
)
def reconstruction_mse_mean(cell_sums: CellSums) -> float:
    """Mean squared error that one number for all genes and cells makes on the same entries.

    Raises
    ------
    NotApplicable
        If the quantity is not a bin or a log count.
    """
    return _mse(cell_sums, "error_mean")


@metric(
    _card(
        "reconstruction_mse_cell",
        f"Mean squared error of what a model predicts from the vector of the cell alone (scGPT: MVC head). {COUNTED}",
        better="lower",
        low=0.0,
        high=-LOWEST,
    )
)
def reconstruction_mse_cell(cell_sums: CellSums) -> float:
    """Mean squared error of the prediction from the embedding of the cell alone.

    Raises
    ------
    NotApplicable
        If the method has no such prediction, or the quantity is not a bin or a log count.
    """
    _check_from_cell(cell_sums)
    return _mse(cell_sums, f"error {FROM_CELL}")


PER_CELL = "Mean over cells of at least 3 entries with true values that differ; a cell in which all predictions are the same counts as 0."


@metric(
    _card("reconstruction_pearson", f"Pearson's correlation of predicted and true values within each cell. {PER_CELL} {COUNTED}", low=-1.0)
)
def reconstruction_pearson(cell_sums: CellSums) -> Measured:
    """Whether the genes of a cell are predicted in proportion. The mean of each gene alone reaches high values here.

    Raises
    ------
    NotApplicable
        For the log-odds of being expressed, or if no cell has a correlation.
    """
    return Measured(_correlation(cell_sums, "pearson"), details={"gene_mean": cell_sums.mean("pearson_gene_mean")})


@metric(_card("reconstruction_pearson_mean", f"As reconstruction_pearson, of the gene mean. {PER_CELL} {COUNTED}", low=-1.0))
def reconstruction_pearson_mean(cell_sums: CellSums) -> float:
    """What the mean of each gene reaches as correlation within cells; for ranks, the average ranking.

    Raises
    ------
    NotApplicable
        For the log-odds of being expressed, or if no cell has a correlation.
    """
    return _correlation(cell_sums, "pearson_gene_mean")


@metric(
    _card(
        "reconstruction_spearman",
        f"Spearman's correlation of predicted and true values within each cell; entries without weights. {PER_CELL} {COUNTED}",
        low=-1.0,
    )
)
def reconstruction_spearman(cell_sums: CellSums) -> Measured:
    """Whether the genes of a cell are predicted in the right order. The mean of each gene alone reaches high values here.

    Raises
    ------
    NotApplicable
        For the log-odds of being expressed, or if no cell has a correlation.
    """
    return Measured(_correlation(cell_sums, "spearman"), details={"gene_mean": cell_sums.mean("spearman_gene_mean")})


AREA = "Chance that an expressed gene of a cell has a higher {} than another, ties counted half; mean over cells that have both kinds."


@metric(_card("expressed_auroc", f"{AREA.format('prediction')} {COUNTED}", low=0.0, source=""))
def expressed_auroc(cell_sums: CellSums) -> Measured:
    """Whether the genes that a cell expresses are told from those that it does not.

    Raises
    ------
    NotApplicable
        If the quantity is another, or no cell has both kinds.
    """
    return Measured(_area(cell_sums, "auroc"), details={"gene_mean": cell_sums.mean("auroc_gene_mean")})


@metric(_card("expressed_auroc_gene", f"{AREA.format('share of other cells that express it')} {COUNTED}", low=0.0, source=""))
def expressed_auroc_gene(cell_sums: CellSums) -> float:
    """What knowing in how many other cells a gene is expressed reaches.

    Raises
    ------
    NotApplicable
        If the quantity is not the log-odds of being expressed, or no cell has both kinds.
    """
    return _area(cell_sums, "auroc_gene_mean")


def skill(sums: CellSums) -> float:
    """1 - error / error of the gene mean, the error as it belongs to the quantity. Raises NotApplicable if the gene mean makes none."""
    if sums.quantity in SQUARED:
        return _variance_explained(sums)
    kind = "auroc" if sums.quantity == LOG_ODDS else "pearson"
    own, gene_mean = sums.mean(kind), sums.mean(f"{kind}_gene_mean")
    if gene_mean >= 1:
        raise NotApplicable("the gene mean predicts all entries, so nothing can be better")
    return (own - gene_mean) / (1 - gene_mean)


def _variance_explained(sums: CellSums, name: str = "") -> float:
    return 1 - sums.total(f"error {name}".strip()) / _variance(sums)


def _variance(sums: CellSums) -> float:
    found = sums.total("error_gene_mean")
    if not found > 0:
        raise NotApplicable("no entry differs from the mean of its gene over the other cells, so there is nothing to predict")
    return found


def _mse(sums: CellSums, name: str) -> float:
    if sums.quantity not in SQUARED:
        raise NotApplicable(f"the method predicts a {sums.quantity}; squared errors are measured of {' and '.join(SQUARED)}")
    return sums.total(name) / sums.total("weight")


def _correlation(sums: CellSums, name: str) -> float:
    if sums.quantity == LOG_ODDS:
        raise NotApplicable(f"the method predicts {LOG_ODDS}, which are measured by expressed_auroc")
    return sums.mean(name)


def _area(sums: CellSums, name: str) -> float:
    if sums.quantity != LOG_ODDS:
        raise NotApplicable(f"the method predicts a {sums.quantity}, not {LOG_ODDS}")
    return sums.mean(name)


def _check_from_cell(sums: CellSums) -> None:
    if FROM_CELL not in sums.others:
        raise NotApplicable("the method predicts nothing from the vector of the cell alone")
    if sums.quantity not in SQUARED:
        raise NotApplicable(f"the method predicts a {sums.quantity}; from the cell it is measured of {' and '.join(SQUARED)}")
