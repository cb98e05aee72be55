"""Geneformer V1 and V2: a cell is its genes ranked by expression relative to their median; the version is read from the dictionaries."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.nets.bert import BERT_NAMES, Bert, BertConfig, mean_between
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.tokens import Batch, Tokens, joined
from scrutiny.nets.weights import read_tensors

from .genes import Counts, Matched, Vocabulary
from .masking import masked
from .medians import MedianGenes
from .model import Foundation, Untrained, untrained_card
from .ranks import framed

Pooling = Literal["auto", "cls", "mean"]
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PLACES = (".", "*", "*/*", "../geneformer", "../geneformer/gene_dictionaries_30m")
"""Where the dictionaries lie, seen from the weights: beside them or, as in the official repository, in a folder below or beside."""


@dataclass(frozen=True, eq=False)
class GeneformerFiles:
    """Config and dictionaries.

    Attributes
    ----------
    start, end
        Tokens put before and after the genes; none in V1.
    with_head
        Whether the weights have the head of pretraining, in whose place fine-tuning puts a classifier.
    """

    config: BertConfig
    genes: MedianGenes
    start: tuple[int, ...]
    end: tuple[int, ...]
    with_head: bool

    @property
    def vocabulary(self) -> Vocabulary:
        return self.genes.vocabulary

    @property
    def longest(self) -> int:
        """Most genes of a cell."""
        return self.config.max_position_embeddings - len(self.start) - len(self.end)


class Geneformer(Foundation):
    """Geneformer.

    Parameters
    ----------
    layer
        Hidden states to take, counted from the last layer: -1, the official default, is the second to last, 0 the last.
    pooling
        "mean" over the gene tokens, "cls" the first token (V2 only); "auto": the official default, cls in V2 and mean in V1.
    general
        Options of every `Foundation`.
    """

    card = MethodCard(
        "geneformer",
        "Geneformer: BERT over the genes of a cell ranked by expression relative to their median",
        organisms=frozenset({"human"}),
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=200.0,
        seconds_to_start=5.0,
        licence="Apache-2.0",
        citation="Theodoris et al. 2023, Nature 618:616; Chen et al. 2024, bioRxiv 2024.08.16.608180 (V2)",
        model=ModelCard(
            title="Geneformer",
            architecture="BERT, 6 to 20 layers, post-norm, ReLU, learned positions",
            parameters="10.3 M and 40 M (V1), 38 M and 151 M (April 2024), 104 M and 316 M (V2)",
            tokens="genes by descending count / total / median of the gene; V2 adds <cls> and <eos>",
            vocabulary="25,424 human Ensembl ids (V1), 20,271 (V2)",
            context=4096,
            corpus="Genecorpus-30M (V1), 95 million (April 2024) and 104 million (V2) human cells; CLcancer: 14 million cancer cells more",
            code_licence="Apache-2.0",
            weights_licence="Apache-2.0",
            commercial=True,
            source="Hugging Face ctheodoris/Geneformer",
            embedding="second to last layer; V1 mean over genes, V2 the <cls> token; options: layer, pooling",
            unconfirmed="only the weights: dictionaries, configs and the sizes of three files agree; loading one would tell",
        ),
    )
    names = BERT_NAMES

    def __init__(self, checkpoint: str = "", *, layer: int = -1, pooling: Pooling = "auto", **general: Any) -> None:
        super().__init__(checkpoint, **general)
        if layer > 0:
            raise InputError(f"layer is {layer}; expected 0 (last), -1 (second to last) and so on")
        if pooling not in ("auto", "cls", "mean"):
            raise InputError(f"pooling is '{pooling}'; expected auto, cls or mean")
        self.layer, self.pooling = layer, pooling

    def read(self, folder: Folder) -> GeneformerFiles:
        config = BertConfig.from_json(folder.file("config.json"))
        place, mark = dictionaries(folder, config.vocab_size)
        genes = MedianGenes.read(
            folder.file(f"{place}/token_dictionary{mark}.pkl"),
            folder.file(f"{place}/gene_median_dictionary{mark}.pkl"),
            folder.find(f"{place}/ensembl_mapping_dict{mark}.pkl"),
            folder.find(f"{place}/gene_name_id_dict{mark}.pkl"),
        )
        start, end = (tuple(genes.special[word] for word in (name,) if word in genes.special) for name in ("<cls>", "<eos>"))
        if -self.layer > config.num_hidden_layers:
            raise InputError(f"layer is {self.layer}; {folder.path} has {config.num_hidden_layers} layers")
        if self.pooling == "cls" and not start:
            raise InputError(f"pooling is 'cls', but the vocabulary of {folder.path} has no <cls> (Geneformer V1); take 'mean'")
        weights = folder.find(*WEIGHTS)
        with_head = weights is None or any(name.startswith("cls.") for name in read_tensors(weights))
        return GeneformerFiles(config, genes, start, end, with_head)

    def make_net(self) -> nn.Module:
        return Bert(self.files.config, with_head=self.files.with_head)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        return read_tensors(folder.file(*WEIGHTS))

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        files: GeneformerFiles = self.files
        return framed(files.genes.ranked(counts, matched, files.longest), files.start, files.end)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        files: GeneformerFiles = self.files
        n_layers = files.config.num_hidden_layers + self.layer
        if self.pooling == "cls" or (self.pooling == "auto" and files.start):
            return self.net.first(batch, n_layers)
        return mean_between(self.net(batch, n_layers), batch, len(files.start), len(files.end))

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The token table: one vector a gene, whatever the cell."""
        matched = self.match(query)
        words = self.net.words.weight.detach().float().cpu().numpy()
        return GeneEmbedding(words[self.files.genes.tokens[matched.words]], matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """Expected place in the ranking of each gene that fits in; <mask> stands in the places of the hidden ones.

        Parameters
        ----------
        hide
            Share of the genes of each cell that the model is not shown, drawn by (seed, cell id).

        Raises
        ------
        NotApplicable
            If the checkpoint was fine-tuned and has no such head.
        """
        if not self.files.with_head:
            raise NotApplicable(f"{self.folder.path} was fine-tuned and has no head that predicts genes; the pretrained model has it")
        genes: MedianGenes = self.files.genes
        matched, tokens = self.match(query), joined(self.token_chunks(query))
        masks = {"ids": genes.special["<mask>"]}
        given = masked(tokens, genes.tokens[matched.words], hide, seed=self.seed, query=query, masks=masks)
        return given.ranks(query, matched, self.runner(), self.net)


class UntrainedGeneformer(Untrained, Geneformer):
    card = untrained_card(Geneformer.card)


def dictionaries(folder: Folder, n_words: int) -> tuple[str, str]:
    """Where the dictionaries with so many words lie, and how their names end: ("geneformer", "_gc104M").

    The size tells the versions apart: the official repository has the dictionaries of both.

    Raises
    ------
    InputError
        If there are none, or only those of other sizes.
    """
    others = []
    for path in (path for place in PLACES for path in sorted(folder.path.glob(f"{place}/token_dictionary*"))):
        if path.suffix in (".pkl", ".json"):
            if (n_found := len(read_dictionary(path))) == n_words:
                return os.path.relpath(path.parent, folder.path), path.stem.removeprefix("token_dictionary")
            others.append(f"{path} has {n_found:,}")
    if not others:
        folder.file("token_dictionary*.pkl")  # raises, and says what is there
    raise InputError(f"the config in {folder.path} is of a vocabulary of {n_words:,} words; {', '.join(others)}: another version?")
