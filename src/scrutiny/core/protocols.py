"""What a method and a task must offer. Any class of this shape is one; nothing has to be inherited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .cards import MethodCard, TaskCard
from .dataset import Dataset
from .labels import LabelPrediction
from .outputs import CellEmbedding, Output, Reconstruction


@dataclass(frozen=True, eq=False)
class Problem:
    """What a task poses: cells to fit on, cells to answer for (truth hidden), and the truth.

    ``truth`` maps names to arrays (n_query,), or to what is known of labels: only metrics and controls ever see it. ``asks`` are arrays
    that say what is asked of these cells: further keyword arguments of the verb, seen by every method and part of the key of its output.
    ``scored`` are the rows of the query that evidence is about; None: all of them.
    """

    train: Dataset
    query: Dataset
    truth: Mapping[str, Any]
    asks: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scored: NDArray[np.intp] | None = None

    @property
    def scored_cells(self) -> Dataset:
        """The cells that evidence is about."""
        return self.query if self.scored is None else self.query.take(self.scored)


@runtime_checkable
class Embedder(Protocol):
    """Embeds cells it may not have seen.

    Controls that are no untrained twin accept the keyword ``truth`` besides: role -> values (n_cells,) str of the cells asked for,
    ``label`` and ``batch`` as far as the data have them. An instance with an attribute ``obsm_key`` finds the ready-made array of that
    name, and no other, in ``query.obsm``.
    """

    card: ClassVar[MethodCard]

    def fit(self, train: Dataset, *, seed: int) -> Self: ...
    def embed(self, query: Dataset) -> CellEmbedding: ...


@runtime_checkable
class TransductiveEmbedder(Protocol):
    """Embeds all cells at once (Harmony, ComBat ...)."""

    card: ClassVar[MethodCard]

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding: ...


@runtime_checkable
class Reconstructor(Protocol):
    """Predicts the expression of genes of cells that it may not have seen; controls accept the keyword ``truth``, as in `Embedder`."""

    card: ClassVar[MethodCard]

    def fit(self, train: Dataset, *, seed: int) -> Self: ...
    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """``hide``: share of the genes of each cell whose values the method must not use, drawn by (seed, cell id)."""
        ...


@runtime_checkable
class Deepener(Protocol):
    """Predicts what cells would show had they been sequenced deeper; controls accept the keyword ``truth``, as in `Embedder`."""

    card: ClassVar[MethodCard]

    def fit(self, train: Dataset, *, seed: int) -> Self: ...
    def deepen(
        self, query: Dataset, *, totals: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Reconstruction:
        """Values of entries of the query in ln(1 + 1e4 count / total), as they would be at full depth.

        Parameters
        ----------
        totals
            (n_cells,) counts of each cell at full depth.
        rows, columns
            (n_entries,) cells and genes of the query that are asked for, sorted; those of genes that a method does not know are left out.

        Returns
        -------
        Reconstruction
            Of the quantity "log count", ``true`` being what the query shows.
        """
        ...


@runtime_checkable
class LabelPredictor(Protocol):
    """Learns labels from training cells and tells those of others; controls accept the keyword ``truth``, as in `Embedder`.

    Training cells carry the role ``label``; those with the label `UNLABELLED` are there for their expression only.
    """

    card: ClassVar[MethodCard]

    def fit(self, train: Dataset, *, seed: int) -> Self: ...
    def predict_labels(self, query: Dataset) -> LabelPrediction: ...


@runtime_checkable
class EmbeddingReader(Protocol):
    """Learns labels from the embedding of another method, which the engine makes or finds in its cache, once for all its readers."""

    card: MethodCard
    embedder: str
    """Name of that method."""
    embedder_options: Mapping[str, Any]

    def fit(self, train: CellEmbedding, labels: NDArray[np.str_], *, seed: int, groups: NDArray[np.str_] | None) -> Self:
        """``labels`` (n_cells,), `UNLABELLED` where nobody knows; ``groups`` (n_cells,) donors or batches, if the card reads them."""
        ...

    def predict_labels(self, query: CellEmbedding) -> LabelPrediction: ...


@runtime_checkable
class PredictionReader(Protocol):
    """Tells labels from what other methods told, which the engine makes or finds in its cache."""

    card: MethodCard
    members: Sequence[tuple[str, Mapping[str, Any]]]
    """Names of those methods, with their options."""

    def predict_labels(self, told: Sequence[LabelPrediction]) -> LabelPrediction:
        """``told`` by the members, in their order, of the same cells in the same order."""
        ...


class Task(Protocol):
    card: ClassVar[TaskCard]

    def pose(self, data: Dataset, rng: np.random.Generator) -> Problem:
        """Split the data. Raises NotApplicable if it cannot be posed on them."""
        ...

    def context(self, data: Dataset) -> Mapping[str, NDArray[Any]]:
        """Evidence that no method changes (a reference embedding, cell-cycle scores); made once per data set and cached."""
        ...

    def evidence(self, output: Output, problem: Problem) -> Mapping[str, Any]:
        """Named evidence: ``embedding`` (n_cells, n_dims), ``labels`` (n_cells,), ``batch`` (n_cells,) ...; the engine adds `context`.

        An array with one entry per cell is cut to parts of the cells; so is whatever has ``n_cells`` and ``part(rows)``, as a
        `Reconstruction` has.
        """
        ...
