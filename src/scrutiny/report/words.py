"""Plain words for names, numbers and times, so that sentences read the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from .comparisons import Key
from .intervals import LEVEL, Interval

TELLS = {
    "annotation": "annotating held-out cells",
    "annotation_random": "annotating cells of the same batches",
    "annotation_across_donors": "annotating cells of other donors",
    "annotation_across_studies": "annotating cells of another study",
    "annotation_across_species": "annotating cells of another species",
    "annotation_across_tissues": "annotating cells of another tissue",
    "annotation_few_1": "annotating from 1 labelled cell of each type",
    "annotation_few_5": "annotating from 5 labelled cells of each type",
    "annotation_few_10": "annotating from 10 labelled cells of each type",
    "annotation_few_50": "annotating from 50 labelled cells of each type",
    "annotation_unseen_types": "annotating where some types were never seen",
    "reference_mapping": "mapping cells onto a reference",
}
"""Task of annotation to what it is for."""
AIMS = {
    "cell_types": "telling apart the cell types",
    "integration": "integrating the batches",
    "label_transfer": "transferring labels to unseen cells",
    "type_relations": "showing the kinship of the cell types",
    **TELLS,
    "batch_mixing": "mixing the batches",
    "reconstruction": "predicting the expression",
    "reconstruction_masked_15": "predicting hidden expression (15%)",
    "reconstruction_masked_50": "predicting hidden expression (50%)",
    "read_depth": "predicting the full depth",
}
"""Task to what it is for, in the order of the report."""
SPLITS = {
    "annotation": "held-out cells",
    "annotation_random": "cells drawn at random",
    "annotation_unseen_types": "with unseen types",
}
"""Task of annotation to what was held out, where its name does not say it."""
METRICS = {
    "macro_f1": "macro-F1",
    "seen_unseen_harmonic": "harmonic mean of seen and unseen",
    "probe_logreg_macro_f1": "macro-F1 of predicted cell types",
    "scib_total": "scIB total score",
    "ilisi": "iLISI",
    "scgraph_ontorwr": "scGraph-OntoRWR",
    "lcad": "LCAD",
    "reconstruction_skill": "skill over the gene mean",
    "depth_skill": "skill over the thinned counts",
}
PLAIN = {
    "hvg_pca": "plain PCA",
    "pca": "plain PCA",
    "hvg_pca+logreg": "logistic regression on plain PCA",
    "hvg_pca+knn": "nearest neighbours on plain PCA",
    "majority": "always telling the commonest type",
}
INTEGRATES = ("integration", "batch_mixing")


def aim(key: Key) -> str:
    """What a comparison is for, e.g. "mixing the batches of pbmc"; a plugin's task is named as it is."""
    return f"{purpose(key.task)} {'of' if key.task in AIMS and key.task not in TELLS else 'on'} {key.dataset}"


def purpose(task: str) -> str:
    """What a task is for, whatever the data."""
    return AIMS.get(task, f"the task {task}")


def split_words(task: str) -> str:
    """What a task of annotation holds out, e.g. "across donors"."""
    return SPLITS.get(task, task.removeprefix("annotation_").replace("_", " "))


def metric_words(metric: str) -> str:
    return METRICS.get(metric, metric)


def plain(method: str, task: str) -> str:
    """A method for people who do not know its name, e.g. "plain PCA (hvg_pca)"; others as they are."""
    if method not in PLAIN:
        return method
    return f"{PLAIN[method]}{' without integration' if task in INTEGRATES else ''} ({method})"


def title(key: Key) -> str:
    """Heading of a comparison, e.g. "pbmc · integration · labels cell_type"."""
    return " · ".join([key.dataset, key.task.replace("_", " "), *([f"labels {key.label_column}"] if key.label_column else [])])


def number(value: float | None, *, signed: bool = False, digits: int = 2) -> str:
    """A number with a true minus sign, never "-0.00"; a dash where there is none."""
    if value is None or value != value:
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+" if signed else "") + text


def rounded(value: float) -> str:
    """A large number to two digits, e.g. "1,200"; a small one as it is."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else number(value, digits=1)


def p_value(p: float) -> str:
    """E.g. "0.02", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.01 else f"{p:.2f}"


def with_interval(found: Interval, *, signed: bool = False) -> str:
    """E.g. "+0.03 (95% interval 0.01 to 0.05)"."""
    return f"{number(found.estimate, signed=signed)} ({LEVEL:.0%} interval {number(found.low)} to {number(found.high)})"


def listing(names: Sequence[str], *, most: int = 6) -> str:
    """E.g. "a, b and c"; a long list is cut and says by how much."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def duration(seconds: float | None) -> str:
    """E.g. "0.04 s", "3.5 s", "35 s", "12 min", "3.5 h"."""
    if seconds is None or seconds != seconds:
        return "–"
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 0.1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
