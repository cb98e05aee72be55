"""LangCell, the cell side: ranked genes as in Geneformer V1 behind a <cls>, projected into the space shared with texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.outputs import GeneEmbedding
from scrutiny.nets.bert import LANGCELL_NAMES, LARGEST, BertConfig, CellBert, mean_between
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import read_tensors

from .genes import Counts, Matched, Vocabulary
from .medians import MedianGenes
from .model import Foundation, Untrained, untrained_card
from .ranks import framed

Pooling = Literal["projected", "cls", "mean"]


@dataclass(frozen=True, eq=False)
class LangCellFiles:
    """Config, dictionaries, and the dimensions of the projected vector."""

    config: BertConfig
    genes: MedianGenes
    d_out: int

    @property
    def vocabulary(self) -> Vocabulary:
        return self.genes.vocabulary

    @property
    def cls(self) -> int:
        """Token of <cls>, which the dictionary has not: the first after its own."""
        return self.genes.n_tokens


class LangCell(Foundation):
    """LangCell, the cell side.

    Parameters
    ----------
    pooling
        "projected": the first token of the last layer, projected and of length 1, as the authors compare it with texts; "cls": that
        token itself; "mean": the mean over the gene tokens of the last layer.
    general
        Options of every `Foundation`.
    """

    card = MethodCard(
        "langcell",
        "LangCell, the cell side: Geneformer tokens in a BERT trained together with descriptions of cells",
        organisms=frozenset({"human"}),
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=200.0,
        seconds_to_start=5.0,
        licence="MIT (code); weights: nothing is said",
        citation="Zhao et al. 2024, ICML, arXiv:2405.06708",
        model=ModelCard(
            title="LangCell (cell side)",
            architecture="BERT, 12 layers of width 512, post-norm, ReLU, and a projection to 256; the text encoder is left out",
            parameters="40 M (cell side)",
            tokens="<cls>, then genes by descending count / total / median of the gene, as Geneformer V1",
            vocabulary="25,424 human Ensembl ids, those of Geneformer V1",
            context=2048,
            corpus="27.5 million human cells with descriptions (scLibrary, from CELLxGENE), on top of Geneformer's Genecorpus-30M",
            code_licence="MIT",
            weights_licence="not stated",
            commercial=None,
            source="Google Drive folder named in the README of github.com/PharMolix/LangCell",
            embedding="<cls> of the last layer, projected to 256 dimensions and divided by its length; options: pooling cls or mean",
            unconfirmed="the sizes, and the names of the files in the Drive folder: cell_bert/config.json and cell_proj.bin would tell",
        ),
    )
    names = LANGCELL_NAMES

    def __init__(self, checkpoint: str = "", *, pooling: Pooling = "projected", **general: Any) -> None:
        super().__init__(checkpoint, **general)
        if pooling not in ("projected", "cls", "mean"):
            raise InputError(f"pooling is '{pooling}'; expected projected, cls or mean")
        self.pooling = pooling

    def read(self, folder: Folder) -> LangCellFiles:
        path = folder.file("cell_bert/config.json")
        config = BertConfig.from_json(path)
        genes = MedianGenes.read(
            folder.file("token_dictionary*.pkl", "*/token_dictionary*.pkl"),
            folder.file("gene_median_dictionary*.pkl", "*/gene_median_dictionary*.pkl"),
        )
        if config.vocab_size != genes.n_tokens + 1:
            found = f"{folder.path} has a dictionary of {genes.n_tokens:,} words and a config of {config.vocab_size:,}"
            raise InputError(f"{found}; expected one more in the config, for <cls>")
        return LangCellFiles(config, genes, _projected(path) or len(self._projection(folder)["cell_proj.bias"]))

    def make_net(self) -> nn.Module:
        return CellBert(self.files.config, self.files.d_out)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        return read_tensors(folder.file("cell_bert/pytorch_model.bin", "cell_bert/model.safetensors")) | self._projection(folder)

    @staticmethod
    def _projection(folder: Folder) -> dict[str, Tensor]:
        tensors = {f"cell_proj.{name}": tensor for name, tensor in read_tensors(folder.file("cell_proj.bin")).items()}
        if "cell_proj.bias" not in tensors:
            raise InputError(f"{folder.path} has in cell_proj.bin the tensors {sorted(tensors)}; expected weight and bias")
        return tensors

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        files: LangCellFiles = self.files
        return framed(files.genes.ranked(counts, matched, files.config.max_position_embeddings - 1), start=(files.cls,))

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, d_out), or (B, D) before the projection."""
        net: CellBert = self.net
        if self.pooling == "projected":
            return net(batch)
        if self.pooling == "cls":
            return net.bert.first(batch, self.files.config.num_hidden_layers)
        return mean_between(net.bert(batch), batch, n_start=1, n_end=0)

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The token table: one vector a gene, whatever the cell."""
        matched = self.match(query)
        words = self.net.bert.words.weight.detach().float().cpu().numpy()
        return GeneEmbedding(words[self.files.genes.tokens[matched.words]], matched.gene_ids)


class UntrainedLangCell(Untrained, LangCell):
    card = untrained_card(LangCell.card)


def _projected(path: Path) -> int | None:
    """Dimensions of the projected vector where the config says them (``cell_proj_size``), as that of a model of ours does."""
    d_out = read_dictionary(path).get("cell_proj_size")
    if d_out is not None and not (type(d_out) is int and 0 < d_out <= LARGEST):
        raise InputError(f"{path} says cell_proj_size is {d_out!r}; expected a whole number from 1 to {LARGEST:,}")
    return d_out
