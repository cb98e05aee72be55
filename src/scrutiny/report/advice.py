"""Advice for a data set, task, number of labelled cells and machine: read off measured rows, and what to run where these are too few."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from shlex import quote
from typing import TYPE_CHECKING

from .annotation import RANDOM, UNSEEN, Annotated, is_annotation
from .comparisons import Comparison
from .details import labelled_cells
from .facts import DatasetFacts
from .recommendation import Recommendation, recommend
from .verdict import Verdict, verdict
from .words import duration, listing, number, title

if TYPE_CHECKING:
    from .gather import Gathered

NEAR = 2.0
"""Times more or fewer labelled cells that still count as the same number."""
FEWEST_CELLS = 200
"""Scored cells below which a difference is easily chance."""
FEW_SHOTS = "annotation_few"
"""Name of all few-shot tasks together, as `scrutiny run` takes it."""


@dataclass(frozen=True)
class Wishes:
    """What somebody asks for; None where they do not say.

    Attributes
    ----------
    labelled
        Labelled cells that there will be to learn from, of all types together.
    seconds
        Time that fitting and answering may take on cells like these.
    gpu
        Whether there is a GPU.
    """

    task: str | None = None
    labelled: int | None = None
    seconds: float | None = None
    gpu: bool | None = None


@dataclass(frozen=True)
class Advice:
    """What to use for one thing, what that rests on, why it may be too little, and what would tell.

    Attributes
    ----------
    about
        What it is for, e.g. "pbmc · annotation · labels cell_type".
    measured_with
        Labelled cells of the rows that it rests on, in words; '' where nothing is learnt from labels.
    left_out
        Methods that the wishes rule out, each with the reason.
    thin, next_steps
        Why the evidence is thin, and commands that would add to it.
    """

    about: str
    recommendation: Recommendation
    measured_with: str
    left_out: tuple[str, ...]
    thin: tuple[str, ...]
    next_steps: tuple[str, ...]


def advise(gathered: Gathered, wishes: Wishes = Wishes()) -> list[Advice]:
    """One piece of advice a data set, label column and kind of task; all tasks of annotation but that of unseen types are one kind."""
    adviser = _Adviser(gathered, wishes)
    told = {(found.dataset, found.label_column): found for found in gathered.annotated}
    advice = []
    for comparison in gathered.comparisons:
        dataset, task, column = comparison.key
        if not is_annotation(task, gathered.cards.tasks) or task == UNSEEN:
            if wishes.task in (None, task):
                advice.append(adviser.on(comparison))
        elif found := told.pop((dataset, column), None):
            if wishes.task != UNSEEN and wishes.task in (None, "annotation", *found.splits):
                advice.append(adviser.on_labels(found))
    return advice


@dataclass(frozen=True, eq=False)
class _Adviser:
    gathered: Gathered
    wishes: Wishes

    def on(self, comparison: Comparison) -> Advice:
        """Advice on one comparison."""
        return self._advice(comparison, "", (), ())

    def on_labels(self, found: Annotated) -> Advice:
        """Advice on telling labels: from the split whose number of labelled cells is nearest to the wish, else the chief one."""
        chief = found.splits.get(self.wishes.task or "", found.chief)
        if self.wishes.labelled is None:
            return self._advice(chief, self._measured_with(chief), _about_split(chief), tuple(self._untried(found)))
        sizes = {split: n for split in (*found.shots.values(), chief) if (n := labelled_cells(split, self.gathered.runs)) is not None}
        if not sizes:
            why = "how many labelled cells the methods learnt from is not recorded, so the number asked for could not be looked up"
            return self._advice(chief, "", (why,), (self._command(chief, FEW_SHOTS),))
        nearest = self._nearest(sizes, self.wishes.labelled)
        thin = (*self._about_number(sizes, nearest, self.wishes.labelled), *_about_split(nearest))
        return self._advice(nearest, self._measured_with(nearest), thin, tuple(self._untried(found)))

    def _nearest(self, sizes: Mapping[Comparison, int], wanted: int) -> Comparison:
        """By how many times as many labelled cells were learnt from."""
        return min(sizes, key=lambda split: abs(log(max(sizes[split], 1) / max(wanted, 1))))

    def _about_number(self, sizes: Mapping[Comparison, int], nearest: Comparison, wanted: int) -> Iterator[str]:
        """What must be said where the number asked for was not measured itself."""
        measured = sizes[nearest]
        if measured / NEAR <= wanted <= measured * NEAR:
            return
        counts = listing([f"{n:,}" for n in sorted(sizes.values())])
        if not min(sizes.values()) < wanted < max(sizes.values()):
            side = "fewer" if wanted < measured else "more"
            yield f"{wanted:,} labelled cells are {side} than were measured ({counts}): this holds at {measured:,} and is no forecast"
            return
        beyond = {split: n for split, n in sizes.items() if (n - wanted) * (measured - wanted) < 0}
        other = self._nearest(beyond, wanted)
        advised = self._recommended(other)[0].method or "nothing"
        yield (
            f"{wanted:,} labelled cells lie between those that were measured ({counts}): this holds at the nearest number, {measured:,}; "
            f"at {beyond[other]:,} the advice is {advised}"
        )

    def _advice(self, comparison: Comparison, measured_with: str, thin: Sequence[str], steps: Sequence[str]) -> Advice:
        found, judged, left_out = self._recommended(comparison)
        facts = self.gathered.facts[comparison.key.dataset]
        why, more = self._thin(comparison, judged, facts)
        said = dict.fromkeys([*thin, *why, *self._warnings(comparison, found.method)])
        return Advice(title(comparison.key), found, measured_with, left_out, tuple(said), tuple(dict.fromkeys([*steps, *more])))

    def _warnings(self, comparison: Comparison, method: str | None) -> Iterator[str]:
        """Findings on what is advised, and problems that are no single method's."""
        about = {comparison.key.dataset, title(comparison.key)}
        for finding in self.gathered.findings:
            text = f"{finding.title} {finding.evidence}"
            named = {m for m in comparison.contenders if re.search(rf"(?<![\w+/]){re.escape(m)}(?![\w+])", text)}
            is_meant = method in named if named else finding.severity == "problem"
            if is_meant and finding.severity != "note" and about & set(finding.where):
                yield f"{finding.code}: {finding.title[0].lower()}{finding.title[1:]}"

    def _recommended(self, comparison: Comparison) -> tuple[Recommendation, Verdict, tuple[str, ...]]:
        """The recommendation among what the wishes allow, its verdict, and what they rule out."""
        ruled_out = dict(self._ruled_out(comparison))
        rows = comparison.rows[~comparison.rows["method"].isin(ruled_out)]
        allowed = comparison if not ruled_out else replace(comparison, rows=rows)
        judged = verdict(allowed, self.gathered.facts[comparison.key.dataset])
        return recommend(allowed, judged), judged, tuple(f"{method}: {why}" for method, why in ruled_out.items())

    def _ruled_out(self, comparison: Comparison) -> Iterator[tuple[str, str]]:
        on_gpu = self._on_gpu(comparison)
        for method in comparison.contenders:
            seconds = comparison.cost["seconds"].get(method)
            if self.wishes.gpu is False and method in on_gpu:
                yield method, f"it ran on a GPU ({on_gpu[method]})"
            elif self.wishes.seconds is not None and seconds is not None and seconds > self.wishes.seconds:
                yield method, f"it took {duration(seconds)}, and {duration(self.wishes.seconds)} are allowed"

    def _on_gpu(self, comparison: Comparison) -> dict[str, str]:
        """Method to the GPU that it ran on."""
        gpus = {run.spec.key: run.cost.gpu for run in self.gathered.runs if run.cost.gpu}
        return {row.method: gpus[row.run_key] for row in comparison.rows.itertuples() if row.run_key in gpus}

    def _thin(self, comparison: Comparison, judged: Verdict, facts: DatasetFacts) -> tuple[list[str], list[str]]:
        """Why the evidence is thin, whatever the task, and what would add to it."""
        said, steps = [], []
        scored = comparison.scored["n_scored"].dropna() if "n_scored" in comparison.scored else ()
        n_cells = int(max(scored)) if len(scored) else facts.n_cells or 0
        if n_cells < FEWEST_CELLS:
            said.append(f"only {n_cells:,} cells were scored")
            steps.append(self._command(comparison, comparison.key.task, more="--cells all"))
        elif judged.ties and facts.cells_before_sampling:
            steps.append(self._command(comparison, comparison.key.task, more="--cells all"))
        if judged.ties:
            said.append(f"{listing(judged.ties)} cannot be told from {judged.winner}: the intervals overlap")
        if not judged.tested and judged.winner is not None:
            said.append("there are no replicates to say how sure any of it is")
        if len(facts.batch_counts) <= 1:
            said.append("there is one batch only, so nothing says what holds on another")
            steps.append(self._command(comparison, comparison.key.task, more="--batch COLUMN"))
        if self.wishes.gpu and not self._on_gpu(comparison):
            said.append("all times were taken without a GPU, so what one would save is not known")
            steps.append(self._command(comparison, comparison.key.task, more="--device cuda"))
        return said, steps

    def _measured_with(self, split: Comparison) -> str:
        n_cells = labelled_cells(split, self.gathered.runs)
        return f"{n_cells:,} labelled cells" if n_cells is not None else ""

    def _untried(self, found: Annotated) -> Iterator[str]:
        """Commands for what was not tried: few labels, and adaptations of a net that was only read."""
        if not found.shots:
            yield self._command(found.chief, FEW_SHOTS)
        known = found.approaches.values()
        for net in dict.fromkeys(a.net for a in known if a.net and not a.twin):
            if not any(a.net == net and a.way == "adapted" for a in known):
                yield self._command(found.chief, found.chief.key.task, more=f"--model {net} --adapt lora,full")

    def _command(self, comparison: Comparison, task: str, *, more: str = "") -> str:
        """What to run to find out, on the same split; FILE stands for the file of the data set, RESULTS for the folder of these results."""
        facts = self.gathered.facts[comparison.key.dataset]
        said = {"--label": comparison.key.label_column or "", "--batch": "" if "--batch" in more else facts.roles.get("batch", "")}
        options = [f"{option} {quote(column)}" for option, column in said.items() if column]
        held = facts.chosen_cells.get("hold_out", {})
        options += [f"--hold-out {quote(f'{column}={value}')}" for column, values in held.items() for value in values]
        return " ".join(["scrutiny run FILE", *options, f"--task {task}", *([more] if more else []), "-o RESULTS"])


def _about_split(split: Comparison) -> tuple[str, ...]:
    """Why the split itself is little to go by."""
    at_random = split.key.task == RANDOM
    return ("the scored cells were drawn at random, which promises more than another batch keeps",) if at_random else ()


def quoted(advice: Advice) -> list[str]:
    """The rows that advice rests on, a line each: value, interval and time."""
    return [
        f"{row.method} {number(row.value, digits=3)}"
        + (f" ({number(row.interval.low)} to {number(row.interval.high)})" if row.interval else "")
        + f", {duration(row.seconds)}"
        for row in advice.recommendation.rows
    ]
