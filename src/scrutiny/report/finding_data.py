"""Findings about the data and about who saw them: leakage, confounding, where labels come from, sampling, small labels, planted truth."""

from __future__ import annotations

from collections.abc import Iterator

from scrutiny.data.catalog import Exposure

from .comparisons import Comparison
from .facts import UNKNOWN, Confounding
from .finding import DataCase, Finding, Severity
from .words import listing, number

STRONG_ASSOCIATION = 0.5
"""Cramér's V of batch and label from which they count as confounded."""
TINY_LABEL = 10
"""A label with fewer cells than this moves macro scores by chance."""

LEAKAGE: tuple[tuple[str, Severity, str, str], ...] = (
    (
        "seen",
        "problem",
        "Seen in pretraining by {}",
        "Do not read the score as performance on new cells; judge on data that came later.",
    ),
    (
        "unknown",
        "caution",
        "Whether {} saw these cells in pretraining is unknown",
        "If the cells are public, assume that a model trained on public atlases may have seen them.",
    ),
    (
        "not listed",
        "note",
        "Not listed in the pretraining data of {}",
        "Not listed is not the same as not seen: the same donors may occur under another name.",
    ),
)
"""Answer to severity, title and advice."""


def leakage(case: DataCase) -> Iterator[Finding]:
    """SCR003: whether the data were in a model's pretraining. Three answers: seen, not listed, unknown."""
    for answer, severity, told, advice in LEAKAGE:
        models = [model for model, exposure in case.exposures.items() if exposure.answer == answer]
        if models:
            sources = dict.fromkeys(_told_by(model, case.exposures[model]) for model in models)
            yield Finding("SCR003", severity, told.format(listing(models)), " ".join(sources), advice)


def _told_by(model: str, exposure: Exposure) -> str:
    """Who says so; of cells that were compared, whose they were."""
    return exposure.source if exposure.n_cells is None else f"{model}: {exposure.source}"


def confounded(case: DataCase) -> Iterator[Finding]:
    """SCR005: batch and label, or channel and label, go together."""
    for column, found in case.facts.confounding.items():
        if found.technical_twins:
            yield _channel(f"Each value of '{column}' goes with one value of {listing(found.technical_twins)}, and the other way round.")
        elif _is_confounded(found):
            parts = [f"Cramér's V of '{column}' and batch is {number(found.cramers_v)}"] if found.cramers_v is not None else []
            if found.labels_in_one_batch:
                of = f" of {found.n_labels}" if found.n_labels else ""
                parts.append(f"{len(found.labels_in_one_batch)}{of} labels occur in one batch only: {listing(found.labels_in_one_batch)}")
            yield Finding(
                "SCR005",
                "caution",
                "Batch and label are confounded",
                f"{'; '.join(parts)}.",
                "A method that keeps the batch effect is rewarded for separating these labels, and one that removes it may merge them. "
                "Judge integration by the labels that occur in several batches.",
            )
    twins = any(found.technical_twins for found in case.facts.confounding.values())
    if case.facts.label_origin == "sorted" and len(case.facts.batch_counts) <= 1 and not twins:
        yield _channel("The labels come from sorting and there is one batch, so nothing tells a cell type from the channel it was run in.")


def _channel(evidence: str) -> Finding:
    return Finding(
        "SCR005",
        "problem",
        "Each cell type is one channel: what separates them may be technical",
        evidence,
        "Do not conclude that cell types are separated by biology. Repeat the comparison on data where one channel holds several types.",
    )


def _is_confounded(found: Confounding) -> bool:
    return (found.cramers_v or 0.0) >= STRONG_ASSOCIATION or bool(found.labels_in_one_batch)


def label_origin(case: DataCase) -> Iterator[Finding]:
    """SCR006: how the labels were made, and which methods that favours."""
    if not _scores_labels(case):
        return
    origin = case.facts.label_origin
    recorded = f"Their origin is recorded as '{origin}'. {case.facts.labels}".strip()
    if origin == "clustered":
        yield Finding(
            "SCR006",
            "caution",
            "The labels were made by clustering expression",
            recorded,
            "This favours methods that resemble the pipeline that made the labels: PCA on variable genes and graph clustering. "
            "Confirm on labels from sorting or genotype.",
        )
    elif origin == "transferred":
        yield Finding(
            "SCR006",
            "caution",
            "The labels were transferred from a reference",
            recorded,
            "This favours methods that resemble the one that transferred them, mistakes included. "
            "Confirm on labels from sorting or genotype.",
        )
    elif origin == "expert":
        yield Finding(
            "SCR006",
            "note",
            "The labels were given by experts",
            recorded,
            "Experts mostly name clusters, so a mild preference for PCA and graph clustering remains.",
        )
    elif origin == UNKNOWN:
        yield Finding(
            "SCR006",
            "note",
            "How the labels were made is unknown",
            "No origin is recorded.",
            "If they come from clustering or label transfer, methods that resemble that pipeline are favoured. Ask who made them.",
        )


def _scores_labels(case: DataCase) -> bool:
    """Whether anything is scored against labels. Where expression is predicted they only serve to draw cells evenly."""
    return any(c.key.label_column and _family(c) != "reconstruction" for c in case.comparisons)


def _family(comparison: Comparison) -> str:
    return str(comparison.metrics.at[comparison.primary, "family"])


def sampled(case: DataCase) -> Iterator[Finding]:
    """SCR008: not all cells were scored."""
    facts = case.facts
    if facts.n_cells is not None and facts.cells_before_sampling is not None and facts.n_cells < facts.cells_before_sampling:
        yield Finding(
            "SCR008",
            "note",
            "A sample of the cells was scored",
            f"{facts.n_cells:,} of {facts.cells_before_sampling:,} cells.",
            "Rare types are the first to suffer. Run with --cells all for the final word.",
        )


def label_tuned(case: DataCase) -> Iterator[Finding]:
    """SCR009: a parameter of a metric was picked by looking at the labels."""
    tuned = sorted({m for c in case.comparisons for m in c.values if bool(c.metrics.at[m, "label_tuned"])})
    if tuned:
        yield Finding(
            "SCR009",
            "note",
            "Some scores are tuned on the labels",
            f"{listing(tuned, most=12)}: the clustering resolution is the one that agrees best with the labels.",
            "Read them as optimistic, for all methods alike; the k-means scores beside them are not tuned.",
        )


def tiny_labels(case: DataCase) -> Iterator[Finding]:
    """SCR011: labels with so few cells that chance moves the scores."""
    for column, counts in case.facts.label_counts.items() if _scores_labels(case) else ():
        tiny = [f"{label} ({n})" for label, n in counts.items() if n < TINY_LABEL]
        if tiny:
            yield Finding(
                "SCR011",
                "note",
                f"Labels with fewer than {TINY_LABEL} cells",
                f"'{column}': {listing(tiny)}.",
                "Macro scores weigh them like large types, so one cell counts for much. Merge them or leave them out.",
            )


def planted(case: DataCase) -> Iterator[Finding]:
    """SCR012: part of the truth was planted."""
    if case.facts.planted:
        yield Finding(
            "SCR012",
            "note",
            "Part of the truth is planted",
            f"Planted: {case.facts.planted.rstrip('.')}.",
            "Use this to see whether methods and metrics behave, not to conclude anything on real batches.",
        )


def no_labels(case: DataCase) -> Iterator[Finding]:
    """SCR013: batches were mixed, and nothing says whether cell types survive."""
    mixed = any(_family(c) == "batches" for c in case.comparisons)
    if mixed and not _scores_labels(case):
        yield Finding(
            "SCR013",
            "caution",
            "There are no labels",
            "Only the mixing of batches was measured, and an embedding without any information mixes best.",
            "Name a label column with --label, even a coarse one, to learn whether the cell types are still told apart.",
        )


def one_batch(case: DataCase) -> Iterator[Finding]:
    """SCR014: integration cannot be judged."""
    if len(case.facts.batch_counts) <= 1:
        yield Finding(
            "SCR014",
            "note",
            "There is one batch",
            "No column with at least two batches is named, so integration was not scored.",
            "Scores say nothing on how the methods cope with other batches, donors or studies. "
            "Name a batch column with --batch if there is one.",
        )


def random_split(case: DataCase) -> Iterator[Finding]:
    """SCR016: no batch could be held out, so the test cells come from the runs that were learnt from."""
    if len(case.facts.batch_counts) <= 1 and any(c.key.task == "label_transfer" for c in case.comparisons):
        yield Finding(
            "SCR016",
            "caution",
            "Labels were transferred within one batch",
            "There is no second batch to hold out, so 30% of the cells of each label were drawn at random.",
            "Cells of one run are on both sides, so these scores promise more than a new donor or batch will keep. "
            "Use them to compare methods, not to foresee accuracy.",
        )


DATA_CHECKS = (leakage, confounded, label_origin, sampled, label_tuned, tiny_labels, planted, no_labels, one_batch, random_split)
