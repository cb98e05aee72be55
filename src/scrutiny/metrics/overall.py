"""Summary scores: means of other metrics, with the parts that went in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scrutiny.core.cards import MetricCard
from scrutiny.core.registry import derived, metric
from scrutiny.core.scores import Measured

BIO_WEIGHT, BATCH_WEIGHT = 0.6, 0.4

BIO_PARTS = "nmi_leiden, ari_leiden, asw_label, clisi, and isolated_asw where a label is not in every batch"
BATCH_PARTS = (
    "bras, ilisi, graph_connectivity, and kbet_label and pcr_comparison where they apply (a label of enough cells in two batches; a batch "
    "that explains something of the unintegrated data)"
)
SAME_FOR_ALL = "A part that fails makes this fail; the parts used are in the details, and only equal ones compare."


@metric(
    MetricCard(
        name="avg_bio",
        family="overall",
        better="higher",
        low=-0.5 / 3,
        high=1.0,
        recipe="Mean of nmi_louvain, ari_louvain and asw_label.",
        source="Kedzierska et al. 2025; Cui et al. 2024 (scGPT AvgBIO)",
        label_tuned=True,
    )
)
def avg_bio(nmi_louvain: float, ari_louvain: float, asw_label: float) -> float:
    """Mean of two clustering scores and the silhouette, as the zero-shot paper has it."""
    return (nmi_louvain + ari_louvain + asw_label) / 3


@derived("bio_parts")
def bio_parts(nmi_leiden: float, ari_leiden: float, asw_label: float, clisi: float, isolated_asw: float | None = None) -> dict[str, float]:
    """What goes into `scib_bio`: metric -> value. Isolated labels are not there where every label is in every batch."""
    return _there(nmi_leiden=nmi_leiden, ari_leiden=ari_leiden, asw_label=asw_label, clisi=clisi, isolated_asw=isolated_asw)


@derived("batch_parts")
def batch_parts(
    bras: float, ilisi: float, graph_connectivity: float, kbet_label: float | None = None, pcr_comparison: float | None = None
) -> dict[str, float]:
    """What goes into `scib_batch`: metric -> value. The last two may not be applicable to the data."""
    return _there(bras=bras, ilisi=ilisi, graph_connectivity=graph_connectivity, kbet_label=kbet_label, pcr_comparison=pcr_comparison)


def _there(**parts: float | None) -> dict[str, float]:
    return {name: value for name, value in parts.items() if value is not None}


@metric(
    MetricCard(
        name="scib_bio",
        family="overall",
        better="higher",
        low=-0.5 / 4,
        high=1.0,
        recipe=f"Unscaled mean of {BIO_PARTS}. {SAME_FOR_ALL}",
        source="Luecken et al. 2022; the parts are those of the scib-metrics Benchmarker, NMI and ARI from Leiden as in scib",
        label_tuned=True,
    )
)
def scib_bio(bio_parts: Mapping[str, float]) -> Measured:
    """How much of the biology is kept: mean of the cell-type metrics of scIB."""
    return Measured(_mean(bio_parts), details={"parts": dict(bio_parts)})


@metric(
    MetricCard(
        name="scib_batch",
        family="overall",
        better="higher",
        low=0.0,
        high=1.0,
        recipe=f"Unscaled mean of {BATCH_PARTS}. {SAME_FOR_ALL}",
        source="Luecken et al. 2022; the parts are those of the scib-metrics Benchmarker, graph connectivity as in scib",
        floor="control/batch_only",
        roof="control/shuffle_within_label",
    )
)
def scib_batch(batch_parts: Mapping[str, float]) -> Measured:
    """How well batches are mixed: mean of the batch metrics of scIB. Noise mixes best, so never read it without `scib_bio`."""
    return Measured(_mean(batch_parts), details={"parts": dict(batch_parts)})


@metric(
    MetricCard(
        name="scib_total",
        family="overall",
        better="higher",
        low=-0.6 * 0.5 / 4,
        high=1.0,
        recipe=f"0.6 scib_bio + 0.4 scib_batch: means of {BIO_PARTS}; and of {BATCH_PARTS}. {SAME_FOR_ALL}",
        source="Luecken et al. 2022 (weights 0.6 and 0.4); scib-metrics Benchmarker",
        floor="control/batch_only",
        roof="control/label_oracle",
        label_tuned=True,
        repeats=2,
    )
)
def scib_total(bio_parts: Mapping[str, float], batch_parts: Mapping[str, float]) -> Measured:
    """Biology kept and batches mixed, in one number. On raw values: scaling by the methods of a study would make it depend on them."""
    value = BIO_WEIGHT * _mean(bio_parts) + BATCH_WEIGHT * _mean(batch_parts)
    return Measured(value, details={"parts": {**bio_parts, **batch_parts}})


def _mean(parts: Mapping[str, float]) -> float:
    return float(np.mean(list(parts.values())))
