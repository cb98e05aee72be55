"""GeneCompass: human and mouse cells as genes ranked by count relative to their median, each with its expression and prior knowledge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.nets.bert import mean_between
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.genecompass import (
    GENECOMPASS_NAMES,
    KNOWLEDGE,
    MASK,
    MASKED_VALUE,
    PAD,
    SPECIES,
    GenecompassConfig,
    GenecompassNet,
)
from scrutiny.nets.tokens import Batch, Tokens, joined
from scrutiny.nets.weights import read_tensors

from .genes import Counts, Matched, Vocabulary
from .masking import masked
from .model import Foundation, Untrained, untrained_card
from .ranks import ranked, stable

Pooling = Literal["cls", "mean"]
WEIGHTS = ("pytorch_model.bin", "model.safetensors")
TOKENS = ("tokens.pickle", "human_mouse_tokens.pickle", "h&m_token*.pickle")
MEDIANS = ("gene_median.pickle", "human_gene_median*.pickle", "mouse_gene_median*.pickle")
"""One for both species, or one for each."""
TIED = (
    ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ("cls4value.predictions.bias", "cls4value.predictions.decoder.bias"),
)
"""Tensors that a checkpoint has under two names; one of each is read."""


@dataclass(frozen=True, eq=False)
class GenecompassFiles:
    """Config and dictionaries; ``tokens`` (n_words,) int64 and ``medians`` (n_words,) float64 of each gene, 1 where none was published."""

    config: GenecompassConfig
    vocabulary: Vocabulary
    tokens: NDArray[np.int64]
    medians: NDArray[np.float64]


class Genecompass(Foundation):
    """GeneCompass.

    Parameters
    ----------
    layer
        Hidden states to take, counted from the last layer: 0, the default, is the last, -1 the second to last.
    pooling
        "cls": the token of the species, which is put before the genes; "mean" over the genes.
    general
        Options of every `Foundation`. ``compat="official"`` takes genes in the order of the file and lets numpy's unstable sort decide
        between equal values, which may differ from processor to processor.
    """

    card = MethodCard(
        "genecompass",
        "GeneCompass: BERT over ranked genes of human and mouse cells with their expression and prior knowledge of regulation",
        organisms=frozenset({"human", "mouse"}),
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=900.0,
        seconds_to_start=10.0,
        licence="none stated; scrutiny's own code from a description",
        citation="Yang et al. 2024, Cell Research 34:830",
        model=ModelCard(
            title="GeneCompass",
            architecture="BERT, 12 layers of width 768 (base) or 6 (small), post-norm, GELU, learned positions; a token is embedded from "
            "gene, expression, promoter, co-expression, gene family and regulatory network",
            parameters="not stated; 12 or 6 layers",
            tokens="genes by descending count / median of the gene, each with log2(1 + count / median); a species token first",
            vocabulary="human and mouse Ensembl ids in one dictionary",
            context=2049,
            corpus="more than 120 million human and mouse cells",
            code_licence="none stated",
            weights_licence="none stated",
            commercial=None,
            source="https://www.scidb.cn/en/anonymous/SUZOdk1y",
            embedding="last layer, species token; options: layer, pooling",
            unconfirmed="Which of the two outputs the authors call the embedding of a cell; which of their dictionaries goes with the "
            "published weights, and how far prior knowledge is blended in at their end (taken as wholly), which loading them would tell.",
        ),
    )
    names = GENECOMPASS_NAMES

    def __init__(self, checkpoint: str = "", *, layer: int = 0, pooling: Pooling = "cls", **general: Any) -> None:
        super().__init__(checkpoint, **general)
        if layer > 0:
            raise InputError(f"layer is {layer}; expected 0 (last), -1 (second to last) and so on")
        if pooling not in ("cls", "mean"):
            raise InputError(f"pooling is '{pooling}'; expected cls or mean")
        self.layer, self.pooling = layer, pooling
        if self.compat == "official":
            self.order = "file"

    def read(self, folder: Folder) -> GenecompassFiles:
        config_file, token_file = folder.file("config.json"), folder.file(*TOKENS)
        config = GenecompassConfig.from_files(read_dictionary(config_file), self.tensors(folder), str(config_file))
        if -self.layer > config.bert.num_hidden_layers:
            raise InputError(f"layer is {self.layer}; {folder.path} has {config.bert.num_hidden_layers} layers")
        words = _tokens(token_file, config.bert.vocab_size)
        medians = {gene: float(median) for path in _median_files(folder) for gene, median in read_dictionary(path).items()}
        if odd := [gene for gene, median in medians.items() if not 0 < median < np.inf]:
            raise InputError(f"the medians of {len(odd)} genes in {folder.path} are not positive numbers, e.g. that of {odd[0]}")
        vocabulary = Vocabulary(np.array(list(words)), "ensembl_id", organisms=frozenset(SPECIES))
        return GenecompassFiles(config, vocabulary, np.array(list(words.values())), np.array([medians.get(word, 1.0) for word in words]))

    def make_net(self) -> nn.Module:
        return GenecompassNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        path = folder.file(*WEIGHTS)
        tensors = read_tensors(path)
        for one, other in TIED:
            if one in tensors and other in tensors and not torch.equal(tensors[one], tensors[other]):
                raise InputError(f"{path}: {one} and {other} should be the same tensor; they differ")
        alpha = tensors.get("emb_warmup.alpha")
        if alpha is not None and not torch.all(alpha == 1):
            raise InputError(f"{path} was saved while prior knowledge was still being blended in ({alpha.item():.2f}); expected 1")
        return tensors

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        if matched.organism not in SPECIES:
            raise NotApplicable(f"GeneCompass is told the species; it is '{matched.organism}' here, expected human or mouse")
        files: GenecompassFiles = self.files
        known, longest = counts.known, files.config.bert.max_position_embeddings
        relative = known.data.astype(np.float64) / files.medians[matched.words][known.indices]
        values = sparse.csr_matrix((np.log2(1 + relative).astype(np.float32), known.indices, known.indptr), shape=known.shape)
        argsort = np.argsort if self.compat == "official" else stable
        genes = ranked(values, files.tokens[matched.words], longest, argsort=argsort)
        return with_species(genes, SPECIES[matched.organism])

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        n_layers = self.files.config.bert.num_hidden_layers + self.layer
        return self.net.first(batch, n_layers) if self.pooling == "cls" else mean_between(self.net(batch, n_layers), batch, 1, 0)

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The token table: one vector a gene, whatever the cell, and without prior knowledge."""
        matched = self.match(query)
        words = self.net.words.weight.detach().float().cpu().numpy()
        return GeneEmbedding(words[self.files.tokens[matched.words]], matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """Log count, log2(1 + count / median), at the place of each gene that fits in; of a hidden one also the gene is masked.

        Parameters
        ----------
        hide
            Share of the genes of each cell that the model is not shown, drawn by (seed, cell id).
        """
        matched, tokens = self.match(query), joined(self.token_chunks(query))
        masks = {"ids": MASK, "values": MASKED_VALUE}
        shown = masked(tokens, self.files.tokens[matched.words], hide, seed=self.seed, query=query, masks=masks)
        true = tokens.columns["values"]
        return shown.reconstruct(query, matched, self.runner(), self._values, true=true, quantity="log count")

    def _values(self, batch: Batch) -> Tensor:
        """(N,) expression at each place."""
        return self.net.values(self.net(batch))


class UntrainedGenecompass(Untrained, Genecompass):
    """Random weights, but the prior knowledge of the checkpoint, which was given to the model and never trained."""

    card = untrained_card(Genecompass.card)

    def fill(self, net: nn.Module) -> None:
        super().fill(net)
        tensors = self.tensors(self.folder)
        net.load_state_dict({ours: tensors[official] for official, ours in KNOWLEDGE.items()}, strict=False)


def with_species(genes: Tokens, species: int) -> Tokens:
    """Room for the token of the species before the genes of each cell: ids `PAD`, values 0."""
    starts = genes.offsets[:-1]
    columns = {"ids": np.insert(genes.columns["ids"], starts, PAD), "values": np.insert(genes.columns["values"], starts, 0.0)}
    return Tokens(genes.lengths + 1, columns, {"species": np.full(genes.n_cells, species)})


def _tokens(path: Path, n_tokens: int) -> dict[str, int]:
    """Gene -> token."""
    genes = {word: token for word, token in read_dictionary(path).items() if not str(word).startswith("<")}
    named = all(isinstance(word, str) and isinstance(token, int) and MASK < token < n_tokens for word, token in genes.items())
    if not genes or not named or len(set(genes.values())) < len(genes):
        raise InputError(f"{path} should map genes to tokens from {MASK + 1} to {n_tokens - 1:,}, each once; is it of these weights?")
    return genes


def _median_files(folder: Folder) -> list[Path]:
    return [path for path in map(folder.find, MEDIANS) if path] or [folder.file(*MEDIANS)]
