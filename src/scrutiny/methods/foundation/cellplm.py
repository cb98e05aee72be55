"""CellPLM: all cells of a sample at once, each as its log counts; the vector of a cell depends on the others by design."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import CellEmbedding, GeneEmbedding, Reconstruction
from scrutiny.data.draws import cell_generator
from scrutiny.data.prepare import log_normalise
from scrutiny.methods.entries import CELLS_AT_A_TIME, Zeros
from scrutiny.nets.cellplm import CELLPLM_NAMES, CellPlmConfig, CellPlmNet
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.inference import Part
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import read_checkpoint

from .draws import hidden
from .every_gene import known_entries, without
from .genes import Counts, Matched, Vocabulary
from .model import CELLS_PER_CHUNK, SEEDS, Published, Untrained, untrained_card

TOGETHER = 100_000
"""Cells of one forward pass at most, as in the official code."""
TINY = 1e-20
PER_CELL = 10_000
Shown = Callable[[Dataset, NDArray[np.int64]], Iterator[Tokens]]
"""Tokens of the cells in some rows of the data."""


@dataclass(frozen=True, eq=False)
class CellPlmFiles:
    """Sizes and the genes of the table."""

    config: CellPlmConfig
    vocabulary: Vocabulary


class CellPlm(Published):
    """CellPLM.

    Parameters
    ----------
    by_batch
        Embed the cells of each batch by themselves where the data have batches, as the official code does with a column of this name.
    batch_size
        Cells that are embedded together at most, in the order of the file; 1: each alone. The default is the official one.
    noise
        Draw the cluster of a cell by its chances, as the official code does also outside training; otherwise the likeliest is taken,
        and the seed changes nothing.
    layer
        Hidden states of cells to take as they are, counted from the last layer: 0 the last, -1 the second to last. None, the official
        default: the latent vector.
    general
        See `Published`. ``compat="official"`` draws the noise of all cells from one stream of PyTorch's generator.
    """

    card = MethodCard(
        "cellplm",
        "CellPLM: a transformer over cells, each the weighted sum of its genes' vectors; latent vector of a mixture of Gaussians",
        organisms=frozenset({"human"}),
        reads=frozenset({"batch"}),
        optional=frozenset({"batch"}),
        transductive=True,
        seeded=True,
        least_seeds=SEEDS,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=2.0,
        seconds_to_start=3.0,
        licence="BSD-2-Clause",
        citation="Wen et al. 2024, International Conference on Learning Representations",
        model=ModelCard(
            title="CellPLM",
            architecture="Flowformer over cells, 4 layers of width 1024, 8 heads; latent mixture of 16 Gaussians, 512 dimensions",
            parameters="82 M, 20 M of them in the gene table, 16 M in the decoder",
            tokens="a cell is a token: the sum of its genes' vectors weighted by ln(1 + count), not normalised by depth",
            vocabulary="19,374 human Ensembl ids",
            context=TOGETHER,
            corpus="9 million single cells and 2 million spatial ones (CosMx), in 12,596 batches of 484 data sets",
            code_licence="BSD-2-Clause",
            weights_licence="none of their own; linked from the BSD-licensed repository",
            commercial=None,
            source="Dropbox folder linked from https://github.com/OmicsML/CellPLM",
            embedding=(
                "latent vector; the cluster that it depends on is drawn, by (seed, cell id), since the official code draws it too; "
                "options: noise=False (the likeliest cluster), by_batch, batch_size, layer"
            ),
            unconfirmed=(
                "That 20230926_85M.best.ckpt has the names of the published code: that it loads strictly would confirm it. The official "
                "code takes only those of fitting name and shape and leaves the rest random without a word."
            ),
        ),
    )
    names = CELLPLM_NAMES
    tokens_of_cell = 1
    """For estimates: a cell passes each matrix once."""

    def __init__(
        self,
        checkpoint: str = "",
        *,
        by_batch: bool = True,
        batch_size: int = TOGETHER,
        noise: bool = True,
        layer: int | None = None,
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected at least 1")
        self.by_batch, self.batch_size, self.noise, self.layer = by_batch, batch_size, noise, layer
        if not noise and self.card.kind == "model":
            self.card = replace(self.card, seeded=False, least_seeds=1)  # type: ignore[misc]

    # Files -----------------------------------------------------------------------------------------------------------------------

    def read(self, folder: Folder) -> CellPlmFiles:
        path = folder.file("*.config.json")
        config, genes = CellPlmConfig.from_json(path), read_dictionary(path).get("gene_list")
        if not isinstance(genes, list) or len(genes) != config.out_dim or len(set(genes)) != len(genes):
            raise InputError(f"{path} should have a gene_list of {config.out_dim:,} different genes (out_dim)")
        if self.layer is not None and not -config.enc_layers <= self.layer <= 0:
            raise InputError(f"layer is {self.layer}; expected 0 (last), -1 (second to last) and so on to {-config.enc_layers}")
        return CellPlmFiles(config, Vocabulary(np.array(genes, dtype=str), "ensembl_id"))

    def make_net(self) -> nn.Module:
        return CellPlmNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        path = folder.file("*.best.ckpt", "*.ckpt")
        state = read_checkpoint(path).get("model_state_dict")
        if not isinstance(state, dict):
            raise InputError(f"{path} should hold tensors under 'model_state_dict'")
        return state

    # Cells -----------------------------------------------------------------------------------------------------------------------

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        """A cell's known genes and ln(1 + count)."""
        known = counts.known
        columns = {"ids": matched.words[known.indices], "values": np.log1p(known.data)}
        return Tokens(np.diff(known.indptr).astype(np.int64), columns)

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        """Nothing is learnt: the cells of each sample are embedded together."""
        net = self.with_seed(seed).net
        if self.layer is None:
            return CellEmbedding(self._of_samples(data, net, self._all_genes), data.cell_ids)
        n_layers = self.files.config.enc_layers + self.layer
        states = self._of_samples(data, lambda batch: net.encode(batch.columns["x"], batch.lengths, n_layers), self._all_genes)
        return CellEmbedding(states, data.cell_ids)

    def _of_samples(self, data: Dataset, compute: Callable[[Batch], Tensor], shown: Shown) -> NDArray[np.float32]:
        """What ``compute`` gives for cells that are embedded together, for all of them: (n_cells, n_dims)."""
        values, stream = np.empty((0, 0), np.float32), self._stream()
        for rows in self.samples(data):
            x = self.of_cells(shown(data, rows), len(rows), self.net.read)
            columns = {"x": x, "noise": self._noise(data.cell_ids[rows], stream)}
            ((_, part),) = self.runner()([Tokens(np.array([len(rows)]), columns)], compute)
            if not values.size:
                values = np.empty((data.n_cells, part.shape[1]), np.float32)
            values[rows] = part
        return values

    def samples(self, data: Dataset) -> list[NDArray[np.int64]]:
        """Rows of the cells that are embedded together."""
        batches = data.role("batch") if self.by_batch and data.has("batch") else np.zeros(data.n_cells)
        rows = (np.flatnonzero(batches == batch) for batch in np.unique(batches))
        return [part for of_batch in rows for part in np.split(of_batch, range(self.batch_size, len(of_batch), self.batch_size))]

    def _all_genes(self, data: Dataset, rows: NDArray[np.int64]) -> Iterator[Tokens]:
        return self.token_chunks(data.take(rows))

    def _stream(self) -> torch.Generator | None:
        """The state of PyTorch's generator at the first forward pass, if the official code is called right after it was seeded."""
        if self.compat != "official":
            return None
        stream = torch.Generator().manual_seed(self.seed)
        torch.empty((), dtype=torch.int64).random_(generator=stream)  # the data loader's
        return stream

    def _noise(self, cell_ids: NDArray[np.str_], stream: torch.Generator | None) -> NDArray[np.float32]:
        """Gumbel noise (n_cells, n_clusters)."""
        shape = len(cell_ids), self.files.config.num_clusters
        if not self.noise:
            return np.zeros(shape, np.float32)
        own = (cell_generator(self.seed, cell).random(shape[1], dtype=np.float32) for cell in cell_ids)
        uniform = np.stack(list(own)) if stream is None else torch.rand(shape, generator=stream).numpy()
        return -np.log(-np.log(uniform + TINY) + TINY)

    # Genes -----------------------------------------------------------------------------------------------------------------------

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The gene table: one vector a gene, whatever the cell."""
        matched = self.match(query)
        return GeneEmbedding(self.net.genes.weight.detach().cpu().numpy()[matched.words], matched.gene_ids)

    def fit_reconstruct(self, data: Dataset, *, seed: int, hide: float = 0.0) -> Reconstruction:
        """Nothing is learnt: as `reconstruct`, with the weights loaded."""
        return self.with_seed(seed).reconstruct(data, hide=hide)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, zeros: Zeros = "drawn") -> Reconstruction:
        """Known genes of each cell in ln(1 + 1e4 count / total); totals, also of what is predicted, are over the known genes.

        The decoder is told of no batch and no data set, since those of pretraining say nothing of others.

        Parameters
        ----------
        hide
            Share of each cell's expressed known genes that the encoder is not shown, and of the others that are predicted.
        zeros
            Which of the known genes that a cell does not express are predicted too: as many as it expresses, "drawn" by cell id, "all" or
            "none".
        """
        matched = self.match(query)
        entries = known_entries(query, matched, hide=hide, seed=self.seed, zeros=zeros)

        def shown(data: Dataset, rows: NDArray[np.int64]) -> Iterator[Tokens]:
            for counts in matched.counts(data.take(rows), CELLS_PER_CHUNK):
                known, cells = counts.known, rows[counts.start : counts.stop]
                drawn = hidden(np.diff(known.indptr).astype(np.int64), hide, seed=self.seed, cell_ids=query.cell_ids[cells])
                yield self.tokens(counts._replace(known=without(known, drawn)), matched, query.cell_ids[cells])

        latent = torch.from_numpy(self._of_samples(query, self.net, shown))
        predicted = entries.picked(self._log_counts(latent, torch.from_numpy(matched.words)))
        known = (log_normalise(counts.known, np.asarray(counts.known.sum(axis=1)).ravel()) for counts in matched.counts(query))
        true = entries.spread(np.concatenate([values.data for values in known]))
        return entries.reconstruction(query.cell_ids, matched.gene_ids, predicted=predicted, true=true, quantity="log count")

    def _log_counts(self, latent: Tensor, words: Tensor) -> Iterator[Part]:
        """What the decoder says of these genes (n, n_words), some cells at a time."""
        for start in range(0, len(latent), CELLS_AT_A_TIME):
            some = latent[start : start + CELLS_AT_A_TIME].to(self.net.genes.weight.device)
            with torch.inference_mode():
                mean = self.net.decoder(some).mean.cpu()[:, words]
            yield Part(start + np.arange(len(mean)), torch.log1p(PER_CELL * mean / mean.sum(1, keepdim=True)).numpy())


class UntrainedCellPlm(Untrained, CellPlm):
    card = untrained_card(CellPlm.card)
