"""Findings that the scores give away: misalignment, trivial baselines, seeds, coverage, label-tuned and noise-friendly metrics."""

from __future__ import annotations

from collections.abc import Iterator

from scrutiny.core.scores import Status

from .finding import Finding, ScoredCase
from .table import coverage
from .verdict import MARGIN, NOISE, paired
from .words import listing, number

AT_CHANCE = 0.05
"""Scaled value up to which a label metric counts as no better than shuffled cells."""
TRIVIAL = ("depth", "control/random_projection")


def misaligned(case: ScoredCase) -> Iterator[Finding]:
    """SCR001: at least half of a method's label metrics are at or below the shuffled control."""
    cards = case.comparison.metrics
    of_labels = cards.index[cards["family"].isin(["cell types", "annotation"]) & (cards["floor"] == NOISE)]
    rows = case.scaled[case.scaled["metric"].isin(of_labels) & case.scaled["scaled"].notna()]
    for method in case.comparison.contenders:
        own = rows[rows["method"] == method]
        low = own[own["scaled"] <= AT_CHANCE]
        if method in TRIVIAL or not len(own) or 2 * len(low) < len(own):
            continue
        shown = [f"{r.metric} {number(r.value, digits=3)} (shuffled {number(r.floor_value, digits=3)})" for r in low.itertuples()]
        yield Finding(
            "SCR001",
            "problem",
            f"{method} is no better than shuffled cells: its rows are probably misaligned",
            f"{len(low)} of {len(own)} label metrics are at or below the shuffled control: {listing(shown)}.",
            "Check that each row of the embedding belongs to the cell of the same id (sorted output, an index column read as a feature). "
            "If it does, the method carries no information on these labels.",
        )


def below_trivial(case: ScoredCase) -> Iterator[Finding]:
    """SCR002: a method loses against depth or a random projection on the primary metric."""
    if not case.comparison.key.label_column:
        return
    values = case.comparison.primary_values
    for trivial in (t for t in TRIVIAL if t in values):
        for method in (m for m in case.comparison.contenders if m not in TRIVIAL):
            difference = paired(case.comparison, method, trivial)
            gap = values[method] - values[trivial]
            if (difference.high < 0) if difference else (gap < -MARGIN):
                tested = f", 95% interval of the difference {number(difference.low)} to {number(difference.high)}" if difference else ""
                yield Finding(
                    "SCR002",
                    "problem",
                    f"{method} scores below {trivial}",
                    f"{case.comparison.primary}: {method} {number(values[method], digits=3)}, "
                    f"{trivial} {number(values[trivial], digits=3)}{tested}.",
                    f"Do not use {method} here: something that knows no biology does better. Check its input scale and gene names first.",
                )


def within_seeds(case: ScoredCase) -> Iterator[Finding]:
    """SCR004: the lead of the best method is no larger than what another seed changes."""
    comparison, contenders = case.comparison, case.comparison.contenders
    for method in contenders[1:]:
        best = contenders[0]
        lead = comparison.primary_values[best] - comparison.primary_values[method]
        spreads = {m: s for m in (best, method) if (s := comparison.seed_spread(m)) is not None}
        widest = max(spreads, key=lambda m: spreads[m], default=None)
        if widest is not None and lead <= spreads[widest]:
            yield Finding(
                "SCR004",
                "caution",
                f"The lead of {best} over {method} is within the spread over seeds",
                f"{comparison.primary}: lead {number(lead, digits=3)}, seeds of {widest} differ by {number(spreads[widest], digits=3)}.",
                "Do not choose between the two by this score. Seeds are repeats of the method, not new data, so more of them do not help.",
            )


def incomplete(case: ScoredCase) -> Iterator[Finding]:
    """SCR007: methods or metrics that failed or do not apply, with the reasons."""
    table = coverage(case.comparison)
    for status, severity, what in ((Status.FAILED, "caution", "failed"), (Status.NOT_APPLICABLE, "note", "does not apply here")):
        for reason, rows in table[table["status"] == status].groupby("reason", sort=False):
            names = [f"{r.method}" if not r.metric else f"{r.metric} of {r.method}" for r in rows.itertuples()]
            whole = rows[rows["metric"] == ""]["method"]
            subject = listing(list(whole), most=4) if len(whole) else listing(sorted(set(rows["metric"])), most=4)
            yield Finding(
                "SCR007",
                severity,  # type: ignore[arg-type]
                f"{subject}: {what}",
                f"{reason} ({listing(names)})" if len(whole) < len(rows) else f"{reason}",
                "It is left out, not counted as zero. Compare only what both methods have."
                if status == Status.NOT_APPLICABLE
                else "Run the same command again to retry it; the reason above is the error as it was raised.",
            )


def label_tuned(case: ScoredCase) -> Iterator[Finding]:
    """SCR009: a parameter of the metric was picked by looking at the labels."""
    cards = case.comparison.metrics
    tuned = [m for m in cards.index if bool(cards.at[m, "label_tuned"]) and m in case.comparison.values]
    if tuned:
        yield Finding(
            "SCR009",
            "note",
            "Some scores are tuned on the labels",
            f"{listing(tuned)}: the clustering resolution is the one that agrees best with the labels.",
            "Read them as optimistic, for all methods alike; the k-means scores beside them are not tuned.",
        )


def noise_wins(case: ScoredCase) -> Iterator[Finding]:
    """SCR010: batch metrics on which shuffled cells beat every method."""
    comparison = case.comparison
    cards = comparison.metrics
    won = []
    for metric in cards.index[cards["family"] == "batches"]:
        noise, sign = comparison.value(NOISE, metric), comparison.direction(metric)
        values = [v for m in comparison.contenders if (v := comparison.value(m, metric)) is not None]
        if noise is not None and values and sign * noise > max(sign * v for v in values):
            won.append(f"{metric} (shuffled {number(noise)}, best method {number(sign * max(sign * v for v in values))})")
    if won:
        yield Finding(
            "SCR010",
            "note",
            "Noise beats every method on batch metrics",
            f"{listing(won, most=8)}.",
            "Never choose by these scores alone: an embedding without any information mixes batches perfectly. Read them beside the "
            "cell-type scores.",
        )


def untested(case: ScoredCase) -> Iterator[Finding]:
    """SCR015: no replicates, so no intervals and no verdict on differences."""
    if case.verdict.winner is not None and not case.verdict.tested:
        yield Finding(
            "SCR015",
            "caution",
            "No interval could be computed",
            f"{case.comparison.primary} has too few values on parts of the cells.",
            "Treat the order of methods as a guess. Score more cells, or labels with more cells each.",
        )


SCORE_CHECKS = (misaligned, below_trivial, within_seeds, incomplete, label_tuned, noise_wins, untested)
