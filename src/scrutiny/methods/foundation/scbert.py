"""scBERT: all genes of the vocabulary in every cell, each with the class of its expression, through a Performer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.methods.entries import Zeros, entries_of
from scrutiny.nets.dictionaries import read_plain
from scrutiny.nets.folder import Folder
from scrutiny.nets.inference import Part, device_of
from scrutiny.nets.scbert import SCBERT_NAMES, ScBertConfig, ScBertNet
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import only_tensors, read_checkpoint

from .every_gene import mean_over_cells
from .genes import Counts, Matched, Vocabulary
from .model import Foundation, Untrained, untrained_card

PER_CELL = 10_000
WEIGHTS = ("panglao_pretrain.pth", "*_best.pth")
"""The pretrained model, and what the official code saves after fine-tuning."""
GENE_ORDER = ("panglao_10000.h5ad", "panglao_10000.json", "panglao_10000.txt")
"""The official file, of which only the names of the genes are read; or the names alone, as a list or one a line."""
SIZES = "sizes.json"
"""Of a model of ours; of a published one the tensors tell them."""
Pooling = Literal["mean", "sum", "max", "last"]


@dataclass(frozen=True, eq=False)
class ScBertFiles:
    config: ScBertConfig
    vocabulary: Vocabulary


class ScBert(Foundation):
    """scBERT.

    Parameters
    ----------
    pooling
        "mean" or "sum" over the genes, "max" over the genes and the last token, "last": the last token alone, which belongs to no gene.
    layer
        States to take, counted from the last layer: 0 the last, normalised; -1 the second to last, as it is.
    cells_per_batch
        With compat="official": so many cells, in the order of the file, change each other through the key maximum of the attention. The
        official fine-tuning runs 3 at a time, its prediction 1.
    general
        See `Foundation`.
    """

    card = MethodCard(
        "scbert",
        "scBERT: a Performer over all genes of a cell, each with the class of its expression and its gene2vec vector",
        organisms=frozenset({"human"}),
        independent=True,
        trained_on=None,
        requires=("torch",),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=2_500.0,
        seconds_to_start=3.0,
        licence="GPL-3.0 (code and weights)",
        citation="Yang et al. 2022, Nature Machine Intelligence 4:852",
        model=ModelCard(
            title="scBERT",
            architecture="6 Performer layers of width 200, 10 heads of width 64, 266 random features",
            parameters="8.5 M numbers, 3.4 M of them gene2vec vectors",
            tokens="every gene of the vocabulary, expressed or not, with log2(1 + 1e4 count / total) cut to 0 ... 5; one last token",
            vocabulary="16,906 human gene symbols",
            context=16_907,
            corpus="1.1 million human cells of PanglaoDB",
            code_licence="GPL-3.0",
            weights_licence="GPL-3.0",
            commercial=True,
            source="the authors' drive folders (links in github.com/TencentAILabHealthcare/scBERT)",
            embedding="mean over the genes after the last layer, as the authors define no cell embedding; options: pooling, layer. Their "
            "filter of cells with fewer than 200 genes is not applied: every cell gets a vector",
            unconfirmed="the numbers at full size, and whether panglao_10000.h5ad has the 16,906 genes in the order of the gene2vec table; "
            "loading both files, and predicting masked genes of PanglaoDB cells far better than by their mean, would confirm it",
        ),
    )
    names = SCBERT_NAMES
    tokens_of_cell = 16_907

    def __init__(
        self, checkpoint: str = "", *, pooling: Pooling = "mean", layer: int = 0, cells_per_batch: int = 3, **general: Any
    ) -> None:
        super().__init__(checkpoint, **general)
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling is '{pooling}'; expected one of {', '.join(get_args(Pooling))}")
        if cells_per_batch < 1:
            raise InputError(f"cells_per_batch is {cells_per_batch}; expected at least 1")
        self.pooling, self.layer = pooling, layer
        self.coupled = self.compat == "official"
        self.cells_per_batch = cells_per_batch if self.coupled else None

    def read(self, folder: Folder) -> ScBertFiles:
        sizes = folder.find(SIZES)
        config = ScBertConfig.from_json(sizes) if sizes else ScBertConfig.from_tensors(self.tensors(folder), str(folder.path))
        if not -config.depth <= self.layer <= 0:
            raise InputError(f"layer is {self.layer}; expected 0 (last), -1 (second to last) and so on to {-config.depth}")
        path = folder.file(*GENE_ORDER)
        genes = gene_names(path)
        if len(set(genes)) != len(genes) or len(genes) != config.n_tokens - 1:
            raise InputError(f"{path} names {len(set(genes)):,} different genes; the checkpoint has vectors for {config.n_tokens - 1:,}")
        return ScBertFiles(config, Vocabulary(np.array(genes), "symbol"))

    def make_net(self) -> nn.Module:
        return ScBertNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        path = folder.file(*WEIGHTS)
        found = read_checkpoint(path)
        return only_tensors(found.get("model_state_dict", found), str(path))

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        """Classes of all genes, and a last token of class 0. Computed in float32 as there, since what is cut off depends on rounding."""
        config: ScBertConfig = self.files.config
        known = counts.known
        per = np.asarray(known.sum(axis=1, dtype=np.float32)).ravel() / np.float32(PER_CELL)
        values = np.log1p(known.data / np.repeat(per, np.diff(known.indptr)))
        values /= np.log(2.0)
        classes = np.zeros((known.shape[0], config.n_tokens), dtype=np.int16)
        cell = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        classes[cell, matched.words[known.indices]] = np.minimum(values, config.n_classes - 2)
        return tokens_of(classes)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        n_layers = self.files.config.depth + self.layer if self.layer else None
        states = self.net(batch, n_layers, coupled=self.coupled).unflatten(0, (batch.n_cells, -1))  # (B, T, D)
        match self.pooling:
            case "mean":
                return states[:, :-1].mean(1)
            case "sum":
                return states[:, :-1].sum(1)
            case "max":
                return states.amax(1)
            case _:
                return states[:, -1]

    def gene_states(self, query: Dataset) -> Iterator[Part]:
        """Vectors (n, n_genes, D) of all genes of the vocabulary in some cells at a time, after the last layer."""

        def states(batch: Batch) -> Tensor:
            return self.net(batch, coupled=self.coupled).unflatten(0, (batch.n_cells, -1))[:, :-1]

        return self.runner()(self.token_chunks(query), states)

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The mean over the cells of the vectors that a gene has in each, after the last layer."""
        matched = self.match(query)
        return GeneEmbedding(mean_over_cells(self.gene_states(query))[matched.words], matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, zeros: Zeros = "drawn") -> Reconstruction:
        """Classes of known genes of each cell; predicted is the mean class, weighted by the probabilities that the head gives.

        Parameters
        ----------
        hide
            Share of each cell's known genes of a class above 0 that are masked, as in pretraining; the others are not asked for then.
        zeros
            Which of the genes of class 0 are predicted where none is hidden: as many as are above it, "drawn" by cell id, "all" or "none".

        Raises
        ------
        NotApplicable
            If the checkpoint was fine-tuned, which puts another head in the place of this one.
        """
        matched, net = self.match(query), self.net
        words = torch.from_numpy(matched.words).to(device_of(self.device))
        known = [sparse.csr_matrix(classes[:, matched.words]) for classes in self._classes(query)]
        entries = entries_of(known, query.cell_ids, hide=hide, seed=self.seed, zeros="none" if hide else zeros)

        def shown() -> Iterator[Tokens]:
            start = 0
            for classes in self._classes(query):
                gone = entries.hidden_in(start, start := start + len(classes), len(matched.words))
                masked = np.zeros(classes.shape, bool)
                masked[:, matched.words] = gone
                yield tokens_of(np.where(masked, np.int16(self.files.config.n_classes - 1), classes))

        def expected(batch: Batch) -> Tensor:
            logits = net.logits(net(batch, coupled=self.coupled))[:, :-1].float()  # (N, V - 1): the mask is no answer
            classes = torch.arange(logits.shape[1], dtype=torch.float32, device=logits.device)
            return (logits.softmax(1) @ classes).unflatten(0, (batch.n_cells, -1))[:, words]  # (B, n_matched)

        true = entries.spread(np.concatenate([classes.data for classes in known]))
        predicted = entries.picked(self.runner()(shown(), expected))
        return entries.reconstruction(query.cell_ids, matched.gene_ids, predicted=predicted, true=true, quantity="bin")

    def _classes(self, query: Dataset) -> Iterator[NDArray[np.int16]]:
        """(n, n_tokens) of some cells at a time."""
        return (tokens.columns["ids"].reshape(tokens.n_cells, -1) for tokens in self.token_chunks(query))


class UntrainedScBert(Untrained, ScBert):
    card = untrained_card(ScBert.card)


def tokens_of(classes: NDArray[np.int16]) -> Tokens:
    """Classes (n_cells, n_tokens), laid end to end."""
    return Tokens(np.full(len(classes), classes.shape[1]), {"ids": classes.ravel()})


def gene_names(path: Path) -> list[str]:
    """Names of the genes in a file of the kinds in `GENE_ORDER`. Raises InputError if it has none."""
    try:
        match path.suffix:
            case ".txt":
                names = path.read_text("utf-8").split()
            case ".json":
                names = read_plain(path)
            case _:
                names = index_of_var(path)
    except (OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} does not name genes: {error}") from error
    if not isinstance(names, list):
        raise InputError(f"{path} holds a {type(names).__name__}; expected a list of gene names")
    return [str(name) for name in names]


def index_of_var(path: Path) -> list[str]:
    """Names of the genes of an h5ad file, as anndata writes them today or wrote them in 2019; nothing else of it is read."""
    with h5py.File(path) as file:
        var = file["var"]
        index = var["index"] if isinstance(var, h5py.Dataset) else var[var.attrs.get("_index", "index")][:]
        return [name.decode() if isinstance(name, bytes) else str(name) for name in index]
