"""What is known of the data sets of a study, read from its records; what is not recorded is unknown, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Confounding:
    """How far batch and label go together.

    Attributes
    ----------
    cramers_v
        Bias-free association of the two columns, 0 to 1; None: not recorded.
    labels_in_one_batch
        Labels that occur in a single batch, of ``n_labels``.
    label_is_channel
        Each label was measured in a channel of its own, so that the two cannot be told apart.
    """

    cramers_v: float | None = None
    labels_in_one_batch: tuple[str, ...] = ()
    n_labels: int | None = None
    label_is_channel: bool = False


@dataclass(frozen=True)
class DatasetFacts:
    """Facts of one data set; None, '' and empty mean that nobody recorded them."""

    name: str
    n_cells: int | None = None
    n_genes: int | None = None
    organism: str = UNKNOWN
    roles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    label_origin: str = UNKNOWN
    planted: str = ""
    catalog: str = ""
    source: str = ""
    citation: str = ""
    cells_before_sampling: int | None = None
    label_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Label column to label to number of cells."""
    batch_counts: Mapping[str, int] = field(default_factory=dict)
    confounding: Mapping[str, Confounding] = field(default_factory=dict)
    """Label column to how it goes together with the batch."""
