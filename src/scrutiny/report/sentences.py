"""The verdict in plain English: one sentence or two for a comparison, one for a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .words import aim, listing, metric_words, number, plain, purpose, with_interval

if TYPE_CHECKING:
    from .verdict import ModelVerdict, Verdict

MOST_CLAUSES = 3
"""Up to so many comparisons are told one by one in the sentence on a study."""

OVER_CELLS = "Intervals hold for these cells: other donors, tissues or labs were not sampled."
OVER_DONORS = "Intervals are over whole donors: other tissues or labs were not sampled."
OWN_SCALE = {"reconstruction_skill": "Each method is held against the gene mean in its own quantity and on the genes that it answers for."}
"""Primary metric to what it compares across methods."""
IN_INPUT = {"reconstruction": "All values were in the input, so a high skill may be copying; the tasks that hide genes tell."}
"""Task to what its scores may come from."""


def sentence(verdict: Verdict) -> str:
    """What a verdict says: about the models if there are any, then about the best method."""
    return " ".join(part for part in (_about_models(verdict), _about_winner(verdict)) if part)


def _about_winner(verdict: Verdict) -> str:
    lead = f"For {aim(verdict.key)}"
    if verdict.winner is None:
        return f"{lead}, no method gave a score that can be compared."
    score = f"{plain(verdict.winner, verdict.key.task)} scores highest ({metric_words(verdict.metric)} {number(verdict.value)})"
    if verdict.mixing_only:
        mixer = plain(verdict.winner, verdict.key.task)
        return f"{lead}, {mixer} mixes most ({_beside_noise(verdict)}), which alone makes no method better."
    if not verdict.tested:
        return f"{lead}, {score}; there are no replicates, so it cannot be said how sure that is."
    if verdict.alone:
        only = f"{metric_words(verdict.metric)} {number(verdict.value)}"
        return f"{lead}, {plain(verdict.winner, verdict.key.task)} is the only method that was scored ({only})."
    ties = f"{listing(verdict.ties)} cannot be told from it" if verdict.ties else "all other methods are clearly behind"
    if verdict.over_reference is None or verdict.reference is None:
        return f"{lead}, {score}; {ties}."
    gain = with_interval(verdict.over_reference, signed=True)
    if verdict.better_than_reference:
        return f"{lead}, {score}, {gain} over {plain(verdict.reference, verdict.key.task)}; {ties}."
    others = [method for method in verdict.ties if method != verdict.reference]
    more = f" {listing(others)} cannot be told from it either." if others else ""
    return f"{lead}, no method is clearly better than {plain(verdict.reference, verdict.key.task)}: {score}, {gain}.{more}"


def _about_models(verdict: Verdict) -> str:
    if not verdict.models:
        return ""
    tested = [(m, m.difference) for m in verdict.models if m.difference is not None]
    if not tested:
        return "Whether a model beats the cheap methods could not be tested: there are no replicates."
    winners = [f"{m.model} beats the best cheap method, {m.baseline}, by {with_interval(d)}" for m, d in tested if m.beats]
    if winners:
        return f"{listing(winners)}."
    nearest, difference = max(tested, key=lambda pair: pair[1].estimate)
    gap = f"{nearest.baseline} ({with_interval(difference, signed=True)})"
    if len(verdict.models) == 1:
        return f"No evidence that {nearest.model} beats the best cheap method, {gap}."
    family = f"any of {len(verdict.models)} models"
    return f"No evidence that {family} beats the best cheap method; the nearest is {nearest.model} against {gap}."


def caveat(verdict: Verdict, planted: str) -> str:
    """What the sentence does not say.

    Parameters
    ----------
    planted
        What was planted in the data; '' for data as they were measured.
    """
    said = [f"The batches are planted, not measured ({planted})."] if planted else []
    said += [told for told in (OWN_SCALE.get(verdict.metric), IN_INPUT.get(verdict.key.task)) if told]
    if not verdict.mixing_only:
        return " ".join([*said, OVER_DONORS if verdict.by_donor else OVER_CELLS])
    without = (
        "Only the mixing of batches is measured here, and noise mixes best: a high score does not say that the cell types are still "
        "told apart. That takes a label column."
    )
    return " ".join([*said, without])


def _beside_noise(verdict: Verdict) -> str:
    noise = f"; shuffled cells {number(verdict.noise)}" if verdict.noise is not None else ""
    return f"{metric_words(verdict.metric)} {number(verdict.value)}{noise}"


def overall(verdicts: Sequence[Verdict]) -> str:
    """One sentence for a whole study."""
    if not verdicts:
        return "Nothing was scored, so there is no verdict."
    if len(verdicts) == 1:
        return verdicts[0].sentence
    models = [m for v in verdicts for m in v.models]
    about_models = [_models_in_all(models, verdicts)] if models else []
    return " ".join([*about_models, _methods_in_all(verdicts)])


def _models_in_all(models: Sequence[ModelVerdict], verdicts: Sequence[Verdict]) -> str:
    names = sorted({m.model for m in models})
    winners = sorted({m.model for m in models if m.beats})
    if not winners:
        which = names[0] if len(names) == 1 else f"any of {len(names)} models"
        return f"No evidence that {which} beats the cheap methods in any of {len(verdicts)} comparisons."
    won = sum(any(m.beats for m in v.models) for v in verdicts)
    return f"{listing(winners)} beat{'s' if len(winners) == 1 else ''} the best cheap method in {won} of {len(verdicts)} comparisons."


def _methods_in_all(verdicts: Sequence[Verdict]) -> str:
    if len(verdicts) <= MOST_CLAUSES:
        return _in_clauses(verdicts)
    judged = [v for v in verdicts if not v.mixing_only]
    gains = [v for v in judged if v.better_than_reference]
    if not gains:
        return f"In none of {len(judged)} comparisons is any method clearly better than the plain one."
    several = len({v.key.label_column for v in verdicts if v.key.label_column}) > 1
    column = {v.key: f" ({v.key.label_column})" if several else "" for v in gains}
    parts = [f"{plain(v.winner, v.key.task)} for {aim(v.key)}{column[v.key]}" for v in gains if v.winner]
    return f"In {len(gains)} of {len(judged)} comparisons a method is clearly better than the plain one: {listing(parts)}."


def _in_clauses(verdicts: Sequence[Verdict]) -> str:
    """Every verdict as a clause; a single data set is named once, and label columns where there are several."""
    one_dataset = len({v.key.dataset for v in verdicts}) == 1
    several_labels = len({v.key.label_column for v in verdicts}) > 1
    clauses = []
    for v in verdicts:
        what = purpose(v.key.task) if one_dataset else aim(v.key)
        column = f" ({v.key.label_column})" if several_labels and v.key.label_column else ""
        clauses.append(_clause(v, f"for {what}{column}"))
    text = "; ".join(clauses)
    return f"On {verdicts[0].key.dataset}: {text}." if one_dataset else f"{text[0].upper()}{text[1:]}."


def _clause(verdict: Verdict, lead: str) -> str:
    """A verdict as one clause among several."""
    if verdict.winner is None:
        return f"{lead}, nothing could be scored"
    winner = plain(verdict.winner, verdict.key.task)
    if verdict.mixing_only:
        return f"{lead}, {winner} mixes most, which alone makes no method better"
    if verdict.reference is None or not verdict.tested:
        return f"{lead}, {winner} scores highest"
    reference = plain(verdict.reference, verdict.key.task)
    if verdict.better_than_reference and verdict.over_reference is not None:
        return f"{lead}, {winner} is clearly better than {reference} ({number(verdict.over_reference.estimate, signed=True)})"
    return f"{lead}, nothing is clearly better than {reference}"
