"""Nicheformer: genes of a cell ranked by expression relative to their mean in a technology, after tokens for organism, assay, modality."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.nets.dictionaries import read_plain
from scrutiny.nets.folder import Folder
from scrutiny.nets.nicheformer import FIRST_GENE, MASK, NICHEFORMER_NAMES, PAD, NicheformerConfig, NicheformerNet
from scrutiny.nets.tokens import Batch, Tokens, joined
from scrutiny.nets.weights import read_checkpoint

from .genes import Counts, Matched, Vocabulary
from .masking import masked
from .model import Foundation, Untrained, untrained_card
from .ranks import framed, ranked

WEIGHTS = ("nicheformer.ckpt", "*.ckpt")
GENE_ORDER = ("model.h5ad", "model.json", "model.txt")
PER_CELL = 10_000
MODALITIES = {"dissociated": 3, "spatial": 4}
SPECIES = {"human": 5, "mouse": 6}
ASSAYS = {
    "merfish": 7,
    "cosmx": 8,
    "nanostring digital spatial profiling": 8,
    "xenium": 9,
    "visium": 9,
    "10x 5' v2": 10,
    "10x 3' v3": 11,
    "10x 3' v2": 12,
    "10x 5' v1": 13,
    "10x 3' v1": 14,
    "10x 3' transcription profiling": 15,
    "10x transcription profiling": 15,
    "10x 5' transcription profiling": 16,
    "cite-seq": 17,
    "smart-seq v4": 18,
}
"""Context tokens, as the notebooks of the authors have them (no file of the model does)."""
TECHNOLOGIES = {7: "merfish", 8: "cosmx", 9: "xenium"}
"""Whose means belong to which assay; all others are dissociated."""
MOST_GENES = 1_000_000
N_CONTEXT = 3
"""Positions that the authors leave out of the mean, whether or not there are context tokens."""


@dataclass(frozen=True, eq=False)
class NicheformerFiles:
    """Config, gene order and means.

    Attributes
    ----------
    means
        (n_words,) float64 mean of each gene in the technology, per 10,000 counts; NaN, where the technology never saw the gene, only
        with ``compat="official"``.
    """

    config: NicheformerConfig
    vocabulary: Vocabulary
    means: NDArray[np.float64]


class Nicheformer(Foundation):
    """Nicheformer.

    Parameters
    ----------
    assay
        Name or token of the assay, e.g. "10x 3' v2", "Smart-seq v4", "MERFISH", 12.
    modality
        "dissociated" or "spatial"; "auto": by the assay.
    specie
        "human" or "mouse"; "auto": as the data say.
    technology
        Whose means the genes are compared to: "dissociated", "merfish", "cosmx", "xenium" or "iss", of which the folder needs
        ``<technology>_mean_script.npy``; "auto": by the assay.
    layer
        Layer whose output is taken, counted from 0; -1, the official default, is the last.
    with_context
        Whether the context tokens count in the mean.
    general
        Options of every `Foundation`. ``compat="official"`` takes the means as the official data loader does: unrounded, and with their
        NaN, whereby genes that the technology never saw become the last tokens of every cell that has room for them.
    """

    card = MethodCard(
        "nicheformer",
        "Nicheformer: a transformer over the genes of a dissociated or spatial cell, ranked relative to their mean in a technology",
        organisms=frozenset({"human", "mouse"}),
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors", "h5py", "numba"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=900.0,
        seconds_to_start=5.0,
        licence="BSD-3-Clause",
        citation="Schaar, Tejada-Lapuerta et al. 2024, bioRxiv 2024.04.15.589472",
        model=ModelCard(
            title="Nicheformer",
            architecture="transformer, 12 layers of width 512, 16 heads, post-norm, ReLU, learned positions",
            parameters="49.3 M",
            tokens="genes by descending count / total / mean in the technology, after tokens of organism, assay and modality; always "
            "filled up to 1,500",
            vocabulary="20,310 Ensembl ids: 20,159 human, which mouse genes share by orthology, and 151 of mouse alone",
            context=1500,
            corpus="SpatialCorpus-110M: 57 million dissociated and 53 million spatial cells, human and mouse",
            code_licence="BSD-3-Clause",
            weights_licence="none of their own; linked from the BSD-3-licensed repository",
            commercial=None,
            source="https://data.mendeley.com/datasets/87gm9hrgm8 (weights), data/model_means of theislab/nicheformer (genes, means)",
            embedding="last layer, mean over all positions but the first three, padding included; options: layer, with_context, assay, "
            "modality, specie, technology",
            unconfirmed="The names in the published checkpoint are those of the official code, which its notebook loads with strict=False: "
            "that it loads strictly would confirm them. The authors give context tokens in notebooks only.",
        ),
    )
    names = NICHEFORMER_NAMES
    tokens_of_cell = 1_500

    def __init__(
        self,
        checkpoint: str = "",
        *,
        assay: str | int = "10x 3' v3",
        modality: str | int = "auto",
        specie: str | int = "auto",
        technology: str = "auto",
        layer: int = -1,
        with_context: bool = False,
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        self.assay = _token(assay, ASSAYS, "assay")
        self.technology = TECHNOLOGIES.get(self.assay, "dissociated") if technology == "auto" else technology
        by_assay = "spatial" if self.assay in TECHNOLOGIES else "dissociated"
        self.modality = _token(by_assay if modality == "auto" else modality, MODALITIES, "modality")
        self.specie = None if specie == "auto" else _token(specie, SPECIES, "specie")
        self.layer, self.with_context = layer, with_context

    def read(self, folder: Folder) -> NicheformerFiles:
        weights = folder.file(*WEIGHTS)
        fields = read_checkpoint(weights).get("hyper_parameters")
        if not isinstance(fields, dict):
            raise InputError(f"{weights} has no hyper_parameters; expected a checkpoint as Lightning writes it")
        config = NicheformerConfig.from_fields(fields, str(weights))
        if not -config.nlayers <= self.layer < config.nlayers:
            raise InputError(f"layer is {self.layer}; {weights} has {config.nlayers}, counted from 0, or from -1 backwards")
        order = folder.file(*GENE_ORDER)
        genes = gene_order(order)
        if len(genes) + FIRST_GENE != config.n_tokens:
            raise InputError(f"{order} has {len(genes):,} genes; {weights} asks for {config.n_tokens - FIRST_GENE:,}")
        means = _means(folder.file(f"{self.technology}_mean_script.npy"), len(genes))
        return NicheformerFiles(config, Vocabulary(genes, "ensembl_id"), means if self.compat == "official" else cleaned(means))

    def make_net(self) -> nn.Module:
        return NicheformerNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        path = folder.file(*WEIGHTS)
        tensors = read_checkpoint(path).get("state_dict")
        if not isinstance(tensors, dict):
            raise InputError(f"{path} has no state_dict; expected a checkpoint as Lightning writes it")
        return tensors

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        files: NicheformerFiles = self.files
        context = self._context(matched)
        longest = max(0, files.config.context_length - len(context))
        return filled(framed(self.genes(counts.known, matched.words, longest), context), files.config.context_length)

    def genes(self, known: sparse.csr_matrix, words: NDArray[np.int64], longest: int) -> Tokens:
        """Genes of each cell by descending count / total / mean, at most ``longest``; a mean of NaN makes a gene a token of every cell.

        Parameters
        ----------
        known
            (n_cells, n_columns) CSR of counts.
        words
            (n_columns,) row of the vocabulary of each column, ascending.
        """
        means = np.where(self.files.means == 0, 1.0, self.files.means)
        columns, ends = words[known.indices], known.indptr
        totals = np.asarray(known.sum(axis=1, dtype=np.float64)).ravel()
        scaled = known.data.astype(np.float64) * np.repeat(PER_CELL / np.where(totals == 0, 1.0, totals), np.diff(ends))
        values = sparse.csr_matrix((scaled / means[columns], columns, ends), shape=(known.shape[0], len(means)))
        if (unseen := np.isnan(means)).any():
            values = sparse.csr_matrix(values + sparse.csr_matrix(np.where(unseen, np.nan, 0.0))[np.zeros(known.shape[0], np.int64)])
        return ranked(values, np.arange(len(means)) + FIRST_GENE, longest, argsort=argsort_by_numba)

    def _context(self, matched: Matched) -> tuple[int, ...]:
        """Tokens of organism, assay and modality, those that the model was trained with."""
        config: NicheformerConfig = self.files.config
        if config.specie and self.specie is None and matched.organism not in SPECIES:
            raise NotApplicable(f"Nicheformer is told the organism; it is '{matched.organism}' here, expected human or mouse")
        specie = self.specie or SPECIES.get(matched.organism, 0)
        told = ((config.specie, specie), (config.assay, self.assay), (config.modality, self.modality))
        return tuple(token for given, token in told if given)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        config: NicheformerConfig = self.files.config
        states = self.net(batch, self.layer % config.nlayers + 1).unflatten(0, (-1, config.context_length))  # (B, T, D)
        return states[:, 0 if self.with_context else N_CONTEXT :].float().mean(1)

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The token table: one vector a gene, whatever the cell."""
        matched = self.match(query)
        return GeneEmbedding(self.net.words.weight.detach().float().cpu().numpy()[matched.words + FIRST_GENE], matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """Expected place in the ranking of each gene that fits in; the mask token stands in the places of the hidden ones.

        Parameters
        ----------
        hide
            Share of the genes of each cell that the model is not shown, drawn by (seed, cell id).
        """
        matched, tokens = self.match(query), joined(self.token_chunks(query))
        shown = masked(tokens, matched.words + FIRST_GENE, hide, seed=self.seed, query=query, masks={"ids": MASK})
        return shown.ranks(query, matched, self.runner(), self.net)


class UntrainedNicheformer(Untrained, Nicheformer):
    card = untrained_card(Nicheformer.card)


def gene_order(path: Path) -> NDArray[np.str_]:
    """Names of the genes in the order of their tokens: the index of ``var`` in an h5ad file, a JSON list, or one name a line.

    Raises
    ------
    InputError
        If the file holds no such list, or a gene twice.
    """
    readers = {".h5ad": _var_names, ".json": read_plain, ".txt": lambda file: file.read_text().split()}
    try:
        genes = readers[path.suffix](path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no list of genes: {error}") from error
    if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes) or len(set(genes)) < len(genes):
        raise InputError(f"{path} should hold the names of genes, each once")
    return np.array(genes, dtype=str)


def _var_names(path: Path) -> list[str]:
    import h5py

    with h5py.File(path) as file:
        index = file["var"][file["var"].attrs["_index"]]
        if index.ndim != 1 or len(index) > MOST_GENES:
            raise ValueError(f"the index of var has the shape {index.shape}; expected at most {MOST_GENES:,} names")
        return index.asstr()[:].tolist()


def cleaned(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means as the tokenisation notebooks use them: NaN to 0, rounded half up, then 0 to 1. Shape (n_genes,)."""
    rounded = np.floor(np.nan_to_num(means) + 0.5)
    return np.where(rounded == 0, 1.0, rounded)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def argsort_by_numba(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ascending order. Half of the values of a cell equal others, and the official code leaves their order to this very sort."""
    return np.argsort(values)


def _means(path: Path, n_genes: int) -> NDArray[np.float64]:
    try:
        means = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no array of numbers: {error}") from error
    if not isinstance(means, np.ndarray) or means.shape != (n_genes,) or means.dtype.kind != "f" or np.isinf(means).any():
        raise InputError(f"{path} should hold the mean of each of {n_genes:,} genes")
    return means.astype(np.float64)


def _token(value: str | int, known: Mapping[str, int], what: str) -> int:
    if isinstance(value, int) and 0 <= value < FIRST_GENE:
        return value
    if str(value).lower() not in known:
        near = difflib.get_close_matches(str(value).lower(), known) or sorted(known)
        raise InputError(f"{what} is {value!r}; expected one of {near}, or a token below {FIRST_GENE}")
    return known[str(value).lower()]


def filled(tokens: Tokens, length: int) -> Tokens:
    """Every cell brought to the same length by padding; ``n_real`` tells how many of its tokens are none."""
    ids = np.full((tokens.n_cells, length), PAD, dtype=np.int64)
    ids[np.arange(length) < tokens.lengths[:, None]] = tokens.columns["ids"]
    return Tokens(np.full(tokens.n_cells, length), {"ids": ids.ravel()}, {"n_real": tokens.lengths})
