"""Findings that the scores give away: misalignment, trivial baselines, seeds, coverage, label-tuned and noise-friendly metrics."""

from __future__ import annotations

from collections.abc import Iterator

from scrutiny.core.registry import TASKS
from scrutiny.core.scores import Status

from .finding import Finding, ScoredCase, Severity
from .finding_twins import against_twin, twins
from .table import coverage
from .verdict import MARGIN, NOISE, paired
from .words import listing, number

OF_LABELS = ("cell types", "annotation")
AT_CHANCE = 0.05
"""Scaled value up to which a label metric counts as no better than shuffled cells."""
COVERAGE: dict[str, tuple[str, Severity, str]] = {
    Status.FAILED: ("Failed", "caution", "Run the same command again with --retry; the reason is the error as it was raised."),
    Status.NOT_APPLICABLE: ("Not applicable", "note", "It is left out, not counted as zero. Compare only what both methods have."),
}
"""Status to word, severity and advice."""
TRIVIAL = ("depth", "control/random_projection")


def misaligned(case: ScoredCase) -> Iterator[Finding]:
    """SCR001: at least half of a method's label metrics are at or below the shuffled control."""
    found = dict(_at_chance(case))
    ours = [method for method in found if method in twins(case.comparison)]
    for method in (method for method in found if method not in ours):
        yield Finding(
            "SCR001",
            "problem",
            f"{method} is no better than shuffled cells: its rows are probably misaligned",
            found[method],
            "Check that each row of the embedding belongs to the cell of the same id (sorted output, an index column read as a feature). "
            "If it does, the method carries no information on these labels.",
        )
    if ours:
        yield Finding(
            "SCR001",
            "problem",
            f"No better than shuffled cells: {listing(ours)}",
            " ".join(f"{method}: {found[method]}" for method in ours),
            "Their rows were matched to the cells by id, so it is the weights that carry no information on these labels: random or damaged "
            "ones, or those of another kind of cells.",
        )


def _at_chance(case: ScoredCase) -> Iterator[tuple[str, str]]:
    """Methods with at least half of their label metrics at or below the shuffled control, and which these are."""
    cards = case.comparison.metrics
    of_labels = cards.index[cards["family"].isin(OF_LABELS) & (cards["floor"] == NOISE)]
    rows = case.scaled[case.scaled["metric"].isin(of_labels) & case.scaled["scaled"].notna()]
    for method in case.comparison.contenders:
        own = rows[rows["method"] == method]
        low = own[own["scaled"] <= AT_CHANCE]
        if method in TRIVIAL or not len(own) or 2 * len(low) < len(own):
            continue
        shown = [f"{r.metric} {number(r.value, digits=3)} (shuffled {number(r.floor_value, digits=3)})" for r in low.itertuples()]
        yield method, f"{len(low)} of {len(own)} label metrics are at or below the shuffled control: {listing(shown)}."


def below_trivial(case: ScoredCase) -> Iterator[Finding]:
    """SCR002: methods lose against depth or a random projection on a primary metric of labels."""
    comparison, values = case.comparison, case.comparison.primary_values
    if comparison.metrics.at[comparison.primary, "family"] not in OF_LABELS:
        return
    for trivial in (t for t in TRIVIAL if t in values):
        losers = [m for m in comparison.contenders if m not in TRIVIAL and _loses(case, m, trivial)]
        if losers:
            shown = [f"{method} {number(comparison.value(method, comparison.primary), digits=3)}" for method in losers]
            yield Finding(
                "SCR002",
                "problem",
                f"Below {trivial}: {listing(losers)}",
                f"{comparison.primary}: {trivial} {number(comparison.value(trivial, comparison.primary), digits=3)}, {listing(shown)}.",
                "Something that knows no biology does better. Check the input scale and the gene names; do not use these here.",
            )


def _loses(case: ScoredCase, method: str, trivial: str) -> bool:
    """Surely where there is a paired interval, by more than the margin where there is none (controls have no replicates)."""
    difference = paired(case.comparison, method, trivial)
    gap = case.comparison.primary_values[method] - case.comparison.primary_values[trivial]
    return difference.high < 0 if difference else bool(gap < -MARGIN)


def within_seeds(case: ScoredCase) -> Iterator[Finding]:
    """SCR004: the lead of the best method is no larger than what another seed changes; where a seed is a draw, another one reverses it."""
    comparison, contenders = case.comparison, case.comparison.contenders
    if comparison.key.task in TASKS and TASKS.get(comparison.key.task).card.drawn:
        yield from _reversed_by_a_draw(case)
        return
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


def _reversed_by_a_draw(case: ScoredCase) -> Iterator[Finding]:
    """All methods have the same draws, so leads are compared draw by draw."""
    comparison, contenders = case.comparison, case.comparison.contenders
    scored = comparison.scored[comparison.scored["metric"] == comparison.primary]
    by_draw = comparison.sign * scored.pivot_table(index="seed", columns="method", values="value")
    for method in contenders[1:] if len(by_draw) > 1 else ():
        leads = (by_draw[contenders[0]] - by_draw[method]).dropna()
        if len(leads) > 1 and leads.min() <= 0:
            least, most = (number(lead, digits=3) for lead in (leads.min(), leads.max()))
            yield Finding(
                "SCR004",
                "caution",
                f"Another draw of labelled cells reverses the lead of {contenders[0]} over {method}",
                f"{comparison.primary}: in {len(leads)} draws it leads by {least} to {most}.",
                "Do not choose between the two by this score. More draws (--seeds) tell who is better on average, not on your few cells.",
            )


def incomplete(case: ScoredCase) -> Iterator[Finding]:
    """SCR007: methods or metrics that failed or do not apply, with the reasons."""
    table = coverage(case.comparison)
    for (status, reason, is_whole), rows in table.groupby(["status", "reason", table["metric"] == ""], sort=False):
        methods = list(dict.fromkeys(rows["method"]))
        of_all = len(methods) == (case.comparison.rows["method"].nunique() if is_whole else len(case.comparison.values))
        subject = ("every method" if of_all else listing(methods)) if is_whole else listing(sorted({*rows["metric"]}))
        where = f" ({listing(methods)})" if not is_whole and not of_all else ""
        word, severity, advice = COVERAGE[str(status)]
        yield Finding("SCR007", severity, f"{word}: {subject}", f"{reason}{where}", advice)


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


def knows_the_labels(case: ScoredCase) -> Iterator[Finding]:
    """SCR017: a control that is shown the labels scores above the winner, which is no defeat."""
    comparison, winner = case.comparison, case.verdict.winner
    control = comparison.value("control/shuffle_within_label", comparison.primary)
    best = comparison.value(winner, comparison.primary) if winner else None
    if control is None or best is None or comparison.sign * (control - best) <= 0:
        return
    yield Finding(
        "SCR017",
        "note",
        "Cells exchanged within their label score above the best method",
        f"control/shuffle_within_label {number(control)}, {winner} {number(best)} on {comparison.primary}.",
        "This control knows the labels and mixes everything else, so it marks what perfect mixing without loss of types would score. "
        "It is a mark to aim at, not a method.",
    )


SCORE_CHECKS = (misaligned, below_trivial, against_twin, within_seeds, incomplete, noise_wins, untested, knows_the_labels)
