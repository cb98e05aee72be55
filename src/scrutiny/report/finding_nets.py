"""Findings about nets that were trained for the study: what they are, whether at equal compute, and what their seeds change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from scrutiny.engine.nets import NET

from .finding import DataCase, Finding, ScoredCase
from .words import listing, number

MOST = 12
"""Nets and pairs that a finding lists."""


def trained_here(case: DataCase) -> Iterator[Finding]:
    """SCR024: what the nets are, and whether they were trained with as many operations."""
    nets = {model: told["training"] for model, told in case.told.items() if told.get("training")}
    if not nets:
        return
    ends = {model: dict(net["until"]) for model, net in nets.items()}
    compute = {end.get("teraflops") for end in ends.values()}
    evidence = "; ".join(f"{model}: {_made(net)}" for model, net in nets.items()) + "."
    advice = (
        "Compare each net with its untrained twin, and the nets with each other on these data. Nets and corpora of such sizes show what a "
        "choice changes here; they do not show what it changes in models trained on millions of cells."
    )
    if len(nets) == 1 or (len(compute) == 1 and None not in compute):
        how = "" if len(nets) == 1 else ", with equal numbers of operations"
        yield Finding("SCR024", "note", f"Trained for this study{how}: {listing(list(nets), most=MOST)}", evidence, advice)
    else:
        told = f"Trained for this study, not with equal numbers of operations: {listing(list(nets), most=MOST)}"
        more = "A difference between them may be one of compute; end all of them at the same 'teraflops' to tell."
        yield Finding("SCR024", "caution", told, evidence, f"{more} {advice}")


def nets_within_seeds(case: ScoredCase) -> Iterator[Finding]:
    """SCR025: pairs of trained nets whose difference is no larger than what another seed of their training changes."""
    comparison = case.comparison
    registered = comparison.rows.drop_duplicates("method").set_index("method")["registered"]
    spreads = {m: s for m in comparison.contenders if registered[m] == NET and (s := comparison.seed_spread(m)) is not None}
    values, close = comparison.primary_values, []
    for better, worse in combinations(spreads, 2):
        difference, spread = values[better] - values[worse], max(spreads[better], spreads[worse])
        if difference <= spread:
            close.append(f"{better} and {worse} ({number(difference, digits=3)}; seeds {number(spread, digits=3)})")
    if close:
        n_seeds = comparison.scored.loc[comparison.scored["method"].isin(list(spreads)), "seed"].nunique()
        yield Finding(
            "SCR025",
            "caution",
            f"{len(close)} of {len(spreads) * (len(spreads) - 1) // 2} differences between trained nets are within the spread over seeds",
            f"{comparison.primary}: {listing(close, most=MOST)}.",
            f"Each seed is a training of its own, and there are {n_seeds} of each net: too few for an interval. The intervals shown "
            "are over cells, with trainings averaged, and do not hold this spread. Call such nets equal here.",
        )


def _made(net: Mapping[str, Any]) -> str:
    """What a net is, in words."""
    sizes = ", ".join(f"{name} {value}" for name, value in net["sizes"].items())
    end = ", ".join(f"{value:g} {name}" for name, value in net["until"].items())
    cells = f"{net['corpus']['cells']:,} cells of {listing(net['corpus']['files'])}" if net.get("corpus") else "its corpus"
    return f"{net['family']} ({sizes}) for {net['objective']}, {end} on {cells}"
