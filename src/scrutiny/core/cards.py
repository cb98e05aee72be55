"""Cards: what a reader must know of a method, a task or a metric before trusting its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .dataset import Scale

TWIN = "control/untrained_"
"""How the name of a model's untrained twin begins; that of its model follows."""
Kind = Literal["model", "baseline", "control"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class ModelCard:
    """A published model: what its authors made of what, and what its use is bound to."""

    title: str
    """As its authors write it, e.g. "scGPT"."""
    architecture: str
    parameters: str
    """Numbers of parameters of the published sizes."""
    tokens: str
    """How a cell becomes tokens."""
    vocabulary: str
    context: int
    """Most tokens of one cell, special ones included."""
    corpus: str
    """What it was pretrained on."""
    code_licence: str
    weights_licence: str
    commercial: bool | None
    """Whether the weights may be used commercially; None: nobody says."""
    source: str
    """Where the weights come from."""
    embedding: str
    """What the vector of a cell is by default, and which layers and poolings are options."""
    unconfirmed: str = ""
    """What could not be confirmed without the published weights, and what would confirm it."""


@dataclass(frozen=True)
class MethodCard:
    """A method. ``version`` rises when its numbers change."""

    name: str
    summary: str
    kind: Kind = "model"
    version: str = "1"
    scale: Scale | None = Scale.COUNTS
    """What the values must be; None: it takes any scale."""
    organisms: frozenset[str] | None = None
    """Organisms it can embed; None: any."""
    reads: frozenset[str] = frozenset()
    """Roles it reads beside the matrix, e.g. ``{"batch"}``; part of its cache key, and all that it is shown."""
    optional: frozenset[str] = frozenset()
    """Roles of ``reads`` it can do without; lacking one of the others is not applicable."""
    transductive: bool = False
    """Embeds all cells at once with `fit_embed`; cannot embed unseen cells."""
    supervised: bool = False
    """Reads the label of the training cells; only in tasks with a split."""
    seeded: bool = False
    """The seed changes the output. Without it one seed is run and serves for all."""
    requires: tuple[str, ...] = ()
    """Modules that must be importable beside the core, e.g. ``("harmonypy",)``."""
    extra: str = ""
    """The extra of this package that installs them."""
    trained_on: frozenset[str] | None = frozenset()
    """Catalogue names seen in pretraining; empty: trained on nothing; None: not known."""
    seconds_per_1000_cells: float = 0.5
    seconds_to_start: float = 0.5
    """Rough cost on 2 cores, for plans and budgets only."""
    gpu: bool = False
    """Wants a GPU: on a cluster it goes to workers that offer the resource ``GPU``."""
    max_cells: int | None = None
    """Above this the method is not applicable (memory)."""
    licence: str = ""
    citation: str = ""
    least_seeds: int = 1
    """How many seeds a study runs at least, for methods whose draws are part of how they work; see ``seeded``."""
    twin_of: str = ""
    """Of a control that belongs to a model: it runs where the model runs, and is left out with it."""
    independent: bool = False
    """The vector of a cell depends on that cell alone, so cells may be embedded in shards, on several machines."""
    together: bool = False
    """The label of a cell depends on the other cells that are asked."""
    model: ModelCard | None = None
    """Of a published model."""


@dataclass(frozen=True)
class TaskCard:
    """A task. ``metrics`` in the order of display; ``primary`` is declared before anything runs."""

    name: str
    summary: str
    asks: str
    """The verb a method must have: ``embed``, ``reconstruct`` (see `outputs.OUTPUTS`)."""
    metrics: tuple[str, ...]
    primary: str
    roles: frozenset[str] = frozenset()
    """Roles the data must have."""
    optional: frozenset[str] = frozenset()
    """Roles it uses where they are there."""
    query_visible: bool = False
    """Train and query are the same unlabelled cells, so transductive methods may run and supervised ones may not."""
    version: str = "1"
    reads_terms: bool = False
    """Scores by the terms of the labels in the Cell Ontology, where the data have them."""
    verb_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the verb, e.g. ``{"hide": 0.15}``; part of the key of the output."""
    drawn: bool = False
    """What is posed rests on a small draw: each seed of a study draws anew, alike for all methods, seeded or not."""


@dataclass(frozen=True)
class MetricCard:
    """A metric: one number from named evidence, with all that is needed to read it."""

    name: str
    family: Literal["cell types", "batches", "overall", "conservation", "annotation", "calibration", "ontology", "reconstruction"]
    better: Better
    low: float
    high: float
    recipe: str
    """The exact definition in a sentence or two: graph, k, seed, distance, scaling."""
    source: str = ""
    """Paper or package that the definition follows."""
    floor: str | None = "control/shuffle"
    """Control that shows what no information scores; None: not scaled."""
    roof: str | None = "control/label_oracle"
    """Control that shows the best that is reachable; None: not scaled."""
    label_tuned: bool = False
    """A parameter was picked by looking at the labels, so the number is optimistic."""
    repeats: int = 1
    """How many times the cells are dealt into folds for an interval; cheap metrics afford more. See `Replicates`."""
    per_cell: bool = False
    """The value is the mean of per-cell contributions (returned in `Measured`)."""
    version: str = "1"
    options: dict[str, object] = field(default_factory=dict, compare=False)
    """Defaults of the keyword-only options, read off the signature."""
