"""scGPT, whole-human and the organ variants: a cell is a set of genes, each with the quantile bin of its expression in that cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import FROM_CELL, GeneEmbedding, Reconstruction
from scrutiny.data.prepare import log_normalise
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.inference import device_of
from scrutiny.nets.layers import cell_mean
from scrutiny.nets.scgpt import SCGPT_NAMES, ScgptConfig, ScgptNet
from scrutiny.nets.tokens import Batch, Tokens, joined
from scrutiny.nets.weights import read_tensors

from .bins import binned
from .draws import hidden
from .genes import Counts, Matched, Vocabulary
from .model import CELLS_PER_CHUNK, SEEDS, Foundation, Untrained, untrained_card
from .scgpt_draws import CellDraws, OfficialStream, OwnDraws

Pooling = Literal["cls", "mean", "weighted"]
Binning = Literal["both", "one"]

SPECIAL = ("<pad>", "<cls>", "<eoc>")
"""Appended to a vocabulary that lacks them, in this order."""
WEIGHTS = ("best_model.pt", "*.pt")
"""The pretrained models, and what the tutorials save after fine-tuning."""


@dataclass(frozen=True, eq=False)
class ScgptFiles:
    """Config and vocabulary.

    Attributes
    ----------
    tokens
        (n_genes,) int64 token of each gene of the vocabulary.
    cls
        Token that is put before the genes of each cell.
    """

    config: ScgptConfig
    vocabulary: Vocabulary
    tokens: NDArray[np.int64]
    cls: int


class Scgpt(Foundation):
    """scGPT.

    Parameters
    ----------
    layer
        Hidden states to take, counted from the last layer: 0, the official default, is the last, -1 the second to last.
    pooling
        "cls": the first token, as the authors do; "mean" over all tokens, <cls> included; "weighted": their sum weighted by their bins,
        always of length 1, which the official code calls "w-pool". Padding, which the official poolings include, is never read here.
    normalise
        Divide the vector of each cell by its length, as the official ``embed_data`` does.
    binning
        Bin of a value that equals several edges: "both", the official default, draws one of them; "one" takes the last, as in
        pretraining.
    max_length
        Tokens of a cell, <cls> included; of more genes a random sample is shown. Bins are those of all genes of the cell. None: 1,200,
        the official default, or what a model trained by scrutiny was drafted with.
    domain
        Of a model fine-tuned with batch labels: the number of the batch, in the alphabetical order of fine-tuning, that all cells
        count as.
    general
        See `Foundation`.
    """

    card = MethodCard(
        "scgpt",
        "scGPT: a transformer over genes with quantile-binned expression; the vector of a cell is that of its <cls> token",
        organisms=frozenset({"human"}),
        independent=True,
        seeded=True,
        least_seeds=SEEDS,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=500.0,
        seconds_to_start=5.0,
        licence="MIT",
        citation="Cui et al. 2024, Nature Methods 21:1470",
        model=ModelCard(
            title="scGPT",
            architecture="transformer, 12 layers of width 512, 8 heads, post-norm, ReLU, no positions",
            parameters="51.3 M, 31.1 M of them in the gene table",
            tokens="nonzero genes, each with its bin of 50 quantiles within the cell; <cls> first",
            vocabulary="60,694 human gene symbols",
            context=1200,
            corpus="33 million normal human cells of the CELLxGENE Census of May 2023; organ variants: 13.2 million of brain, 10.3 of "
            "blood, 2.1 of lung, 1.8 of heart, 0.8 of kidney, 5.7 of cancers",
            code_licence="MIT",
            weights_licence="none of their own; linked from the MIT-licensed repository",
            commercial=None,
            source="Google Drive folders linked from https://github.com/bowang-lab/scGPT#pretrained-scgpt-model-zoo",
            embedding="last layer, <cls>, length 1; options: layer, pooling, normalise, binning, max_length",
            unconfirmed="The names in the published best_model.pt are known from loader logs and the official code, not from the file: "
            "that it loads strictly would confirm them. Official runs on a GPU use float16 and differ by about 1e-3.",
        ),
    )
    names = SCGPT_NAMES

    def __init__(
        self,
        checkpoint: str = "",
        *,
        layer: int = 0,
        pooling: Pooling = "cls",
        normalise: bool = True,
        binning: Binning = "both",
        max_length: int | None = None,
        domain: int | None = None,
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        if pooling not in ("cls", "mean", "weighted"):
            raise InputError(f"pooling is '{pooling}'; expected cls, mean or weighted")
        if binning not in ("both", "one"):
            raise InputError(f"binning is '{binning}'; expected both or one")
        if max_length is not None and max_length < 2:
            raise InputError(f"max_length is {max_length}; expected at least 2, <cls> and a gene")
        self.layer, self.pooling, self.normalise = layer, pooling, normalise
        self.binning, self.max_length, self.domain = binning, max_length, domain
        if self.compat == "official":
            self.order = "file"

    def read(self, folder: Folder) -> ScgptFiles:
        args_file = folder.file("args.json")
        words = _vocabulary(folder)
        weights = folder.find(*WEIGHTS)
        shapes = {name: tuple(tensor.shape) for name, tensor in read_tensors(weights).items()} if weights else {}
        config = ScgptConfig.from_files(read_dictionary(args_file), words, shapes, str(args_file))
        if not -config.nlayers <= self.layer <= 0:
            raise InputError(f"layer is {self.layer}; expected 0 (last), -1 (second to last) and so on to {-config.nlayers}")
        if self.domain is not None and not 0 <= self.domain < config.n_known_batches:
            raise InputError(f"domain is {self.domain}; this checkpoint knows {config.n_known_batches} batches, counted from 0")
        _check_domain(self.domain, config.n_domains)
        genes = [word for word in words if not word.startswith("<")]
        tokens = np.array([words[gene] for gene in genes], dtype=np.int64)
        return ScgptFiles(config, Vocabulary(np.array(genes), "symbol"), tokens, words["<cls>"])

    def make_net(self) -> nn.Module:
        return ScgptNet(self.files.config, self.domain or 0)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        return read_tensors(folder.file(*WEIGHTS))

    def token_chunks(self, query: Dataset) -> Iterator[Tokens]:
        stream = OfficialStream(self.seed, self.files.config) if self.compat == "official" else None
        matched, ids = self.match(query), query.cell_ids
        for counts in matched.counts(query, CELLS_PER_CHUNK):
            yield self.tokens(counts, matched, ids[counts.start : counts.stop], stream)

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_], stream: OfficialStream | None = None) -> Tokens:
        """Tokens of some cells; draws are taken from ``stream`` if there is one, else they belong to each cell."""
        files: ScgptFiles = self.files
        known, ids = counts.known, files.tokens[matched.words]
        genes, values = [], []
        for row, cell_id in enumerate(cell_ids):
            part = slice(known.indptr[row], known.indptr[row + 1])
            bins, shown = self._bins(known.data[part], stream or OwnDraws(self.seed, cell_id))
            genes.append(ids[known.indices[part][shown]])
            values.append(bins[shown])
        return _with_cls(genes, values, cls=files.cls, value=files.config.pad_value)

    def _bins(self, values: NDArray[np.float32], draws: CellDraws) -> tuple[NDArray[np.float32], NDArray[np.int64] | slice]:
        """Bins (n,) of all genes of a cell, and which of the genes are shown."""
        n, longest = len(values), self.max_length or self.files.config.context
        bins = binned(values, self.files.config.n_bins, draws.uniform(n) if self.binning == "both" else None)
        return bins, draws.sample(n, longest - 1) if n >= longest else slice(None)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, D)."""
        n_layers = self.files.config.nlayers + self.layer
        match self.pooling:
            case "cls":
                cells = self.net.first(batch, n_layers)
            case "mean":
                cells = cell_mean(self.net(batch, n_layers), batch)
            case _:
                cells = _weighted_sum(self.net(batch, n_layers), batch)
        return F.normalize(cells.float(), dim=1) if self.normalise else cells

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """What the genes enter the first layer with, before their expression is added: one vector a gene, whatever the cell."""
        matched = self.match(query)
        ids = torch.from_numpy(self.files.tokens[matched.words]).to(device_of(self.device))
        return GeneEmbedding(self.net.embed_genes(ids).cpu().numpy(), matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0) -> Reconstruction:
        """Bins of the expressed genes that the model is given, at most ``max_length`` - 1 a cell, by the hidden state of their own tokens.

        Where the checkpoint has a head for it, ``also`` holds what is predicted "from the cell embedding": from <cls> alone.

        Parameters
        ----------
        hide
            Share of these genes whose values are masked, as in pretraining.
        """
        _check_domain(self.domain, self.files.config.n_known_batches)
        tokens = joined(self.token_chunks(query))
        bins, is_gene = tokens.columns["values"], np.ones(int(tokens.lengths.sum()), dtype=bool)
        is_gene[tokens.offsets[:-1]] = False
        masked = np.zeros(len(bins), dtype=bool)
        masked[is_gene] = hidden(tokens.lengths - 1, hide, seed=self.seed, cell_ids=query.cell_ids)
        values = np.where(masked, np.float32(self.files.config.mask_value), bins)
        predicted = np.empty((len(bins), 2 if self.files.config.cell_head else 1), dtype=np.float32)
        for rows, part in self.runner()([replace(tokens, columns={**tokens.columns, "values": values})], self.net.predict):
            predicted[tokens.places(rows)] = part
        matched = self.match(query)
        column = np.empty(self.files.config.n_words, dtype=np.int64)
        column[self.files.tokens[matched.words]] = np.arange(len(matched.words))
        return Reconstruction(
            query.cell_ids,
            matched.gene_ids,
            rows=np.repeat(np.arange(tokens.n_cells), tokens.lengths - 1),
            columns=column[tokens.columns["ids"][is_gene]],
            predicted=predicted[is_gene, 0],
            true=bins[is_gene],
            hidden=masked[is_gene],
            quantity="bin",
            also={FROM_CELL: predicted[is_gene, 1]} if self.files.config.cell_head else {},
        )


class UntrainedScgpt(Untrained, Scgpt):
    card = untrained_card(Scgpt.card)


def fine_tuning_tokens(known: sparse.csr_matrix, ids: NDArray[np.int64], files: ScgptFiles) -> Tokens:
    """Tokens as the official fine-tuning makes them of nonzero genes.

    It bins log-normalised values without draws, takes all genes, and gives <cls> the value 0, where embedding gives it ``pad_value``.

    Parameters
    ----------
    known
        (n_cells, n_genes) CSR float32 counts of the genes to be used; totals are over these.
    ids
        (n_genes,) token of each column.
    """
    logged = log_normalise(known, np.asarray(known.sum(axis=1)).ravel())
    parts = [slice(*logged.indptr[row : row + 2]) for row in range(logged.shape[0])]
    values = [binned(logged.data[part], files.config.n_bins) for part in parts]
    return _with_cls([ids[logged.indices[part]] for part in parts], values, cls=files.cls, value=0.0)


def _vocabulary(folder: Folder) -> dict[str, int]:
    """Word to id. Raises InputError unless the ids are 0, 1, 2 ..."""
    path = folder.file("vocab.json")
    words = read_dictionary(path)
    if any(type(i) is not int for i in words.values()) or sorted(words.values()) != list(range(len(words))):
        raise InputError(f"{path} should map {len(words):,} words to the numbers 0 to {len(words) - 1:,}, each once; it does not")
    for word in SPECIAL:
        words.setdefault(word, len(words))
    return words


def _check_domain(domain: int | None, n_domains: int) -> None:
    """Raise NotApplicable if the model must be told a batch of its fine-tuning and is not."""
    if domain is None and n_domains > 1:
        raise NotApplicable(
            f"this checkpoint was fine-tuned on {n_domains} batches and treats the cells of each in another way; name the one that your "
            f"cells are like with domain=0 ... {n_domains - 1} (their alphabetical order in the fine-tuning)"
        )


def _with_cls(genes: list[NDArray[np.int64]], values: list[NDArray[np.float32]], *, cls: int, value: float) -> Tokens:
    """Tokens of cells with <cls> put first."""
    lengths = np.array([len(part) for part in genes], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    ids, bins = np.insert(np.concatenate(genes), starts, cls), np.insert(np.concatenate(values), starts, value)
    return Tokens(lengths + 1, {"ids": ids, "values": bins})


def _weighted_sum(hidden_states: Tensor, batch: Batch) -> Tensor:
    """Sum over the tokens of each cell, weighted by their values and brought to length 1: (N, D) -> (B, D)."""
    weighted = hidden_states.float() * batch.columns["values"][:, None]
    return F.normalize(weighted.new_zeros(batch.n_cells, weighted.shape[1]).index_add_(0, batch.cell, weighted), dim=1)
