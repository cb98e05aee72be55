"""Labels for cells of a new file, outside any study: learnt on a reference, calibrated on cells of it that were kept out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.protocols import EmbeddingReader, PredictionReader
from scrutiny.data.shared_genes import on_shared_genes
from scrutiny.data.splits import groups_of, hold_out
from scrutiny.metrics.calibration import Calibration, calibrate

from .applies import obstacle
from .embedding import Chosen, shown

ASKED = TaskCard("annotate", "labels of new cells", asks="predict_labels", metrics=(), primary="", roles=frozenset({"label"}))
KEPT_OUT = 0.1
"""Share of the reference that the method is not fitted on."""
USUAL = "hvg_pca+logreg"
"""A method that is quick, needs no weights, and is hard to beat."""
UNKNOWN = "unknown"
"""What a rejected cell is called."""
Teller = Callable[[Dataset], LabelPrediction]


@dataclass(frozen=True, eq=False)
class Annotated:
    """Labels of new cells.

    Attributes
    ----------
    prediction
        Of the query, probabilities calibrated.
    confidence
        (n_cells,) of the query.
    calibration
        How the probabilities were calibrated, and the threshold.
    n_kept_out, accuracy
        Cells of the reference that were kept out of fitting, and the share of them that is told right.
    notes
        What was done to the data on the way.
    learnt_elsewhere
        The method learnt before, and may know the cells of the reference: then they were not kept out, and all of this promises too much.
    n_unknown
        Cells of the reference that are called `UNKNOWN`; they were not learnt from.
    """

    prediction: LabelPrediction
    confidence: NDArray[np.float64]
    calibration: Calibration
    n_kept_out: int
    accuracy: float
    notes: tuple[str, ...]
    learnt_elsewhere: bool = False
    n_unknown: int = 0

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(n_cells,) whether the label of the cell is too unsure."""
        return self.confidence < self.calibration.threshold

    def table(self, *, reject: bool) -> pd.DataFrame:
        """A row a cell: ``label`` (with ``reject`` `UNKNOWN` where it is too unsure), ``confidence``, and ``likeliest``, a label anyway."""
        likeliest = self.prediction.labels
        label = np.where(self.rejected, UNKNOWN, likeliest) if reject else likeliest
        columns = {"label": label, "confidence": self.confidence, "likeliest": likeliest}
        return pd.DataFrame(columns, index=pd.Index(self.prediction.cell_ids, name="cell_id").astype(str))


def annotate(
    query: Dataset, reference: Dataset, method: str = USUAL, *, options: Mapping[str, Any] | None = None, seed: int = 0
) -> Annotated:
    """Tell the labels of cells after learning them on a reference.

    A tenth of the cells of each label of the reference is kept out to calibrate the probabilities and to set the threshold, as in the
    task reference_mapping.

    Parameters
    ----------
    reference
        With the role ``label``, e.g. ``scrutiny.read(path, roles={"label": "cell_type"})``.
    method, options
        Name of a method that tells labels, e.g. ``scgpt+lora``, and options of its constructor.

    Raises
    ------
    NotApplicable
        If the method does not fit the reference, or the reference is too small to calibrate on.
    InputError
        If the two share too few genes, or are of different scales.
    """
    chosen = Chosen(method, options or {})
    if query.scale != reference.scale:
        raise InputError(f"'{query.name}' holds {query.scale}, the reference '{reference.name}' {reference.scale}; give both alike")
    if found := obstacle(chosen.make(), ASKED, reference):
        raise NotApplicable(found)
    known = np.flatnonzero(np.char.lower(reference.role("label")) != UNKNOWN)  # nobody knows what the others are
    n_unknown, query = reference.n_cells - len(known), query.hide("label")
    reference = reference.take(known) if n_unknown else reference
    reference, query = on_shared_genes(reference, query)
    labels, by_id = reference.role("label"), np.argsort(reference.cell_ids, kind="stable")
    rng = np.random.default_rng(int(reference.fingerprint, 16))
    held = np.empty(reference.n_cells, dtype=bool)
    held[by_id] = hold_out(labels[by_id], KEPT_OUT, rng)
    tell = fitted(chosen, reference.take(np.flatnonzero(~held)), seed=seed)
    check = tell(reference.hide("label").take(np.flatnonzero(held)))
    calibration = calibrate(check, labels[held], np.unique(labels[~held]))
    prediction = calibration.applied_to(tell(query))
    accuracy = float((check.labels == labels[held]).mean())
    sure, elsewhere = calibration.confidence(prediction), learnt_elsewhere(chosen.make())
    return Annotated(prediction, sure, calibration, int(held.sum()), accuracy, query.notes, elsewhere, n_unknown)


def learnt_elsewhere(method: Any) -> bool:
    """Whether a method, or one of its members, learnt before it was fitted, from cells that nobody recorded."""
    members = [Chosen(*member).make() for member in method.members] if isinstance(method, PredictionReader) else []
    return bool(getattr(method, "learnt_elsewhere", False)) or any(learnt_elsewhere(member) for member in members)


def fitted(chosen: Chosen, train: Dataset, *, seed: int) -> Teller:
    """A method that has learnt the labels of these cells, as something that tells those of others; an embedding is fitted once."""
    method = chosen.make()
    if isinstance(method, PredictionReader):
        members = [fitted(Chosen(name, options), train, seed=seed) for name, options in method.members]
        return lambda cells: method.predict_labels([tell(cells) for tell in members]).aligned_to(cells.cell_ids)
    if not isinstance(method, EmbeddingReader):
        told = method.fit(shown(train, method.card), seed=seed)
        return lambda cells: told.predict_labels(shown(cells, method.card)).aligned_to(cells.cell_ids)
    embedder = Chosen(method.embedder, method.embedder_options).make()
    blind = replace(shown(train.hide("label"), embedder.card), obsm={})
    embedder = embedder.fit(blind, seed=seed)

    def embed(cells: Dataset) -> CellEmbedding:
        embedded: CellEmbedding = embedder.embed(shown(cells, embedder.card))
        return embedded.aligned_to(cells.cell_ids)

    reader = method.fit(embed(blind), train.role("label"), seed=seed, groups=groups_of(shown(train, method.card)))
    return lambda cells: reader.predict_labels(embed(cells)).aligned_to(cells.cell_ids)
