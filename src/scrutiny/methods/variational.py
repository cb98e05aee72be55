"""scVI and scANVI: variational autoencoders trained on the user's own cells. The package takes 11 s to import, so it is imported late."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.prepare import highly_variable

from .global_state import seeded_generators
from .linear import N_TOP, columns_of

if TYPE_CHECKING:
    import anndata

NO_LABEL = "(no label)"
"""The category that scANVI takes for cells whose label is not known; no training cell has it."""
CELLS_SEEN = 1_000_000
"""Cells shown to the network over all epochs, about 3 minutes on one core; the package shows up to 8 million."""
MAX_EPOCHS = 400
"""The package's default. Fewer than about 1,000 steps leave the batches apart, so small data need them all."""
MIN_EPOCHS = 20
SUPERVISED_EPOCHS = 20
"""Further epochs of scANVI after those of scVI, as its tutorial does."""
BATCH_SIZE = 128


class Scvi:
    """Negative binomial autoencoder on the counts of the variable genes, with the batch given to the decoder only.

    The encoder never reads the batch (the default of the package), so cells of unseen batches can be embedded.
    """

    card = MethodCard(
        "scvi",
        "scVI (2 layers, 30 dimensions, negative binomial) on the 2,000 most variable genes, trained on the data themselves",
        kind="baseline",
        reads=frozenset({"batch"}),
        optional=frozenset({"batch"}),
        seeded=True,
        requires=("scvi",),
        extra="scvi",
        seconds_per_1000_cells=40.0,
        seconds_to_start=30.0,
        licence="BSD-3-Clause (scvi-tools)",
        citation="Lopez et al. 2018, Nature Methods 15:1053",
    )

    def __init__(self, n_latent: int = 30, n_layers: int = 2, n_top: int = N_TOP, max_epochs: int | None = None) -> None:
        self.n_latent, self.n_layers, self.n_top, self.max_epochs = n_latent, n_layers, n_top, max_epochs

    def fit(self, train: Dataset, *, seed: int) -> Self:
        self._genes = train.genes[highly_variable(train, self.n_top)]
        # Any known batch will do for the cells to be embedded, since the encoder does not read it.
        self._known_batch = str(train.role("batch")[0]) if train.has("batch") else ""
        with quiet_scvi(seed):
            self._model = self._trained(train, self.max_epochs or epochs_for(train.n_cells))
        return self

    def embed(self, query: Dataset) -> CellEmbedding:
        table = self._table(query)
        with quiet_scvi(0):
            values = self._model.get_latent_representation(table)
        return CellEmbedding(np.asarray(values, dtype=np.float32), query.cell_ids)

    def _trained(self, train: Dataset, n_epochs: int) -> Any:
        from scvi.model import SCVI

        table = self._table(train)
        if train.has("batch"):
            table.obs["batch"] = train.role("batch")
        SCVI.setup_anndata(table, batch_key="batch")
        model = SCVI(table, n_layers=self.n_layers, n_latent=self.n_latent, gene_likelihood="nb")
        model.train(max_epochs=n_epochs, **training(train.n_cells))
        return model

    def _table(self, data: Dataset) -> anndata.AnnData:
        """The counts of the genes of the fit, found by id, as the package wants them."""
        import anndata

        chosen = data.take_genes(columns_of(data, self._genes))
        return anndata.AnnData(chosen.values, obs=chosen.obs[[]].assign(batch=self._known_batch), var=chosen.var[[]])


class Scanvi(Scvi):
    """scVI whose latent space is also trained to tell the labels of the training cells. Only fair where cells are held out."""

    card = MethodCard(
        "scanvi",
        "scANVI: scVI, then 20 epochs that also classify the labels of the training cells",
        kind="baseline",
        reads=frozenset({"batch", "label"}),
        optional=frozenset({"batch"}),
        supervised=True,
        seeded=True,
        requires=("scvi",),
        extra="scvi",
        seconds_per_1000_cells=50.0,
        seconds_to_start=30.0,
        licence="BSD-3-Clause (scvi-tools)",
        citation="Xu et al. 2021, Molecular Systems Biology 17:e9620",
    )

    def _trained(self, train: Dataset, n_epochs: int) -> Any:
        from scvi.model import SCANVI

        unlabelled = super()._trained(train, n_epochs)
        labels = train.role("label")
        self._names = np.unique(labels[labels != UNLABELLED])
        if len(self._names) < 2:
            raise NotApplicable(f"the training cells have the labels {self._names.tolist()}; at least two are needed")
        unlabelled.adata.obs["label"] = np.where(labels == UNLABELLED, NO_LABEL, labels)
        model = SCANVI.from_scvi_model(unlabelled, unlabeled_category=NO_LABEL, labels_key="label")
        model.train(max_epochs=min(SUPERVISED_EPOCHS, n_epochs), **training(train.n_cells))
        return model

    def predict_labels(self, query: Dataset) -> LabelPrediction:
        """What its classifier, trained with the latent space, holds likely."""
        table = self._table(query)
        with quiet_scvi(0):
            shares = self._model.predict(table, soft=True)
        probabilities = shares[list(self._names)].to_numpy(np.float64)
        return LabelPrediction(query.cell_ids, self._names, (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32))

    @property
    def n_trainable(self) -> int:
        """Parameters of the autoencoder and of the classifier."""
        return int(sum(part.numel() for part in self._model.module.parameters()))

    def _table(self, data: Dataset) -> anndata.AnnData:
        table = super()._table(data)
        table.obs["label"] = NO_LABEL
        return table


def epochs_for(n_cells: int) -> int:
    """Epochs that show the network about `CELLS_SEEN` cells, within `MIN_EPOCHS` and `MAX_EPOCHS`."""
    return int(np.clip(round(CELLS_SEEN / max(n_cells, 1)), MIN_EPOCHS, MAX_EPOCHS))


def training(n_cells: int) -> dict[str, Any]:
    """Arguments of ``train``: all cells, on the processor, nothing printed and nothing written."""
    return {
        "accelerator": "cpu",
        "batch_size": BATCH_SIZE,
        # Every cell is trained on, in an order that the seeded generator draws: the package's own split does not follow the seed.
        "train_size": 1.0,
        "shuffle_set_split": False,
        # A last batch of one cell has no variance, which batch normalisation refuses.
        "datasplitter_kwargs": {"drop_last": n_cells % BATCH_SIZE == 1},
        "enable_progress_bar": False,
        "logger": False,
    }


@contextmanager
def quiet_scvi(seed: int) -> Iterator[None]:
    """Use the package with seeded generators and without its log lines and warnings; all is as before afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with seeded_generators(seed):  # the import draws numbers and loads torch, so the seed has to be set again after it
            import scvi  # noqa: F401
        with seeded_generators(seed), only_errors_logged("scvi", "lightning.pytorch", "lightning.fabric"):
            yield


@contextmanager
def only_errors_logged(*names: str) -> Iterator[None]:
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
