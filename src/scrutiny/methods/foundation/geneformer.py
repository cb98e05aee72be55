"""Geneformer V1 and V2: a cell is its genes ranked by expression relative to their median; the version is read from the dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import GeneEmbedding
from scrutiny.nets.bert import BERT_NAMES, Bert, BertConfig
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.layers import cell_mean
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import read_tensors

from .genes import Counts, Matched, Vocabulary
from .model import Compat, Foundation, Untrained, untrained_card
from .ranks import ranked

PER_CELL = 10_000
Pooling = Literal["auto", "cls", "mean"]


@dataclass(frozen=True, eq=False)
class GeneformerFiles:
    """Config and dictionaries.

    Attributes
    ----------
    tokens, medians
        (n_words,) int64 token and float64 nonzero median of each gene of the vocabulary.
    start, end
        Tokens put before and after the genes; none in V1.
    """

    config: BertConfig
    vocabulary: Vocabulary
    tokens: NDArray[np.int64]
    medians: NDArray[np.float64]
    start: tuple[int, ...]
    end: tuple[int, ...]

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
            parameters="10.3 M (V1-10M), 104 M (V2-104M), 316 M (V2-316M)",
            tokens="genes by descending count / total / median of the gene; V2 adds <cls> and <eos>",
            vocabulary="25,424 human Ensembl ids (V1), 20,271 (V2)",
            context=4096,
            corpus="Genecorpus-30M (V1), 95 to 104 million human cells (V2)",
            code_licence="Apache-2.0",
            weights_licence="Apache-2.0",
            commercial=True,
            source="Hugging Face ctheodoris/Geneformer",
            embedding="second to last layer; V1 mean over genes, V2 the <cls> token; options: layer, pooling",
        ),
    )
    names = BERT_NAMES

    def __init__(
        self,
        checkpoint: str = "",
        *,
        layer: int = -1,
        pooling: Pooling = "auto",
        compat: Compat = "alone",
        device: str = "auto",
        precision: str = "float32",
        genes: str = "",
        orthologues: str = "",
    ) -> None:
        super().__init__(checkpoint, compat=compat, device=device, precision=precision, genes=genes, orthologues=orthologues)
        if layer > 0:
            raise InputError(f"layer is {layer}; expected 0 (last), -1 (second to last) and so on")
        if pooling not in ("auto", "cls", "mean"):
            raise InputError(f"pooling is '{pooling}'; expected auto, cls or mean")
        self.layer, self.pooling = layer, pooling

    def read(self, folder: Folder) -> GeneformerFiles:
        config = BertConfig.from_json(folder.file("config.json"))
        tokens = read_dictionary(folder.file("token_dictionary*.pkl"))
        medians = read_dictionary(folder.file("gene_median_dictionary*.pkl"))
        genes = [gene for gene in tokens if not gene.startswith("<") and gene in medians]
        mapping = folder.find("ensembl_mapping_dict*.pkl")
        aliases = {str(k).upper(): str(v) for k, v in read_dictionary(mapping).items() if v in tokens} if mapping else None
        return GeneformerFiles(
            config,
            Vocabulary(np.array(genes), "ensembl_id", aliases=aliases),
            np.array([int(tokens[gene]) for gene in genes]),
            np.array([float(medians[gene]) for gene in genes]),
            tuple(int(tokens[word]) for word in ("<cls>",) if word in tokens),
            tuple(int(tokens[word]) for word in ("<eos>",) if word in tokens),
        )

    def make_net(self) -> nn.Module:
        return Bert(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        return read_tensors(folder.file("model.safetensors", "pytorch_model.bin"))

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        files: GeneformerFiles = self.files
        per_total = sparse.diags_array(PER_CELL / np.maximum(counts.totals, 1e-12))
        per_median = sparse.diags_array(1.0 / files.medians[matched.words])
        values = sparse.csr_matrix(per_total @ counts.known.astype(np.float64) @ per_median)
        return framed(ranked(values, files.tokens[matched.words], files.longest), files.start, files.end)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        files: GeneformerFiles = self.files
        n_layers = files.config.num_hidden_layers + self.layer
        pooling = self.pooling if self.pooling != "auto" else "cls" if files.start else "mean"
        if pooling == "cls":
            if not files.start:
                raise InputError("pooling='cls' needs a <cls> token, which this version of Geneformer has not; take mean")
            return self.net.first(batch, n_layers)
        return genes_mean(self.net(batch, n_layers), batch, len(files.start), len(files.end))

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The token table: one vector a gene, whatever the cell."""
        matched = self.match(query)
        words = self.net.words.weight.detach().float().cpu().numpy()
        return GeneEmbedding(words[self.files.tokens[matched.words]], matched.gene_ids)


class UntrainedGeneformer(Untrained, Geneformer):
    card = untrained_card(Geneformer.card)


def framed(tokens: Tokens, start: tuple[int, ...], end: tuple[int, ...]) -> Tokens:
    """Ids with fixed tokens put before and after those of each cell; other columns are left out."""
    lengths = tokens.lengths + len(start) + len(end)
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    ids = np.empty(int(lengths.sum()), dtype=np.int64)
    inner = np.ones(len(ids), dtype=bool)
    for place, token in [*enumerate(start), *((-1 - i, token) for i, token in enumerate(reversed(end)))]:
        where = begins + (place if place >= 0 else lengths + place)
        ids[where], inner[where] = token, False
    ids[inner] = tokens.columns["ids"]
    return Tokens(lengths, {"ids": ids})


def genes_mean(hidden: Tensor, batch: Batch, n_start: int, n_end: int) -> Tensor:
    """Mean over the tokens of each cell without the first and last ones: (N, D) -> (B, D)."""
    if not n_start + n_end:
        return cell_mean(hidden, batch)
    inner = (batch.position >= n_start) & (batch.position < batch.length[batch.cell] - n_end)
    total = hidden.new_zeros(batch.n_cells, hidden.shape[1], dtype=hidden.dtype).index_add_(0, batch.cell[inner], hidden[inner])
    return total / (batch.length - n_start - n_end).clamp(min=1)[:, None]
