"""SCimilarity: log counts of a fixed list of genes through a perceptron that was trained to bring like cells together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import Reconstruction
from scrutiny.methods.deepening import deepened_by_model
from scrutiny.methods.entries import Zeros
from scrutiny.nets.folder import Folder
from scrutiny.nets.inference import Runner, device_of
from scrutiny.nets.scimilarity import DECODER, SCIMILARITY_NAMES, ScimilarityConfig, ScimilarityNet, turned
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import read_checkpoint

from .draws import hidden
from .every_gene import known_entries
from .genes import Counts, Matched, Vocabulary
from .model import Foundation, Untrained, untrained_card

PER_CELL = 10_000
MIN_GENES = 5_000
"""The official code embeds nothing with fewer genes of its list."""
TOKENS_PER_BATCH = 1 << 18
"""A token costs one row of one matrix here, no pass through layers, so many fit."""


@dataclass(frozen=True, eq=False)
class ScimilarityFiles:
    """Sizes and the list of genes."""

    config: ScimilarityConfig
    vocabulary: Vocabulary


class Scimilarity(Foundation):
    """SCimilarity.

    Parameters
    ----------
    layer
        Which output to take, counted from the last: 0, the official default, is the embedding, scaled to length 1; -1 the last hidden
        layer, as it is.
    general
        See `Foundation`.
    """

    card = MethodCard(
        "scimilarity",
        "SCimilarity: a perceptron over the log counts of 28,231 genes, trained to bring cells of one type together across studies",
        organisms=frozenset({"human"}),
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=False,
        seconds_per_1000_cells=1.0,
        seconds_to_start=2.0,
        licence="Apache-2.0",
        citation="Heimberg et al. 2025, Nature 638:1085",
        model=ModelCard(
            title="SCimilarity",
            architecture="perceptron 28,231 - 1024 - 1024 - 1024 - 128 with batch norm and PReLU, output of length 1; a decoder mirrors it",
            parameters="31 M",
            tokens="none: log(1 + count / total x 10,000), the total over the genes of the list",
            vocabulary="28,231 human gene symbols",
            context=28_231,
            corpus="7.9 million human cells with author labels, from 56 studies; the labels are part of the objective (triplets)",
            code_licence="Apache-2.0",
            weights_licence="not stated with the code",
            commercial=None,
            source="Zenodo record 10685499",
            embedding="the output, of length 1; option: layer",
            unconfirmed=(
                "the hidden sizes of the published model (layer_sizes.json decides) and the names in its decoder.ckpt: "
                "`scrutiny models check` on the unpacked archive would confirm both"
            ),
        ),
    )
    names = SCIMILARITY_NAMES
    tokens_of_cell = 1
    """For estimates: a cell passes each matrix once."""

    def __init__(
        self,
        checkpoint: str = "",
        *,
        layer: int = 0,
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        if layer > 0:
            raise InputError(f"layer is {layer}; expected 0 (the embedding), -1 (the last hidden layer) and so on")
        self.layer = layer

    def read(self, folder: Folder) -> ScimilarityFiles:
        with_decoder = folder.find("decoder.ckpt") is not None
        config = ScimilarityConfig.from_layer_sizes(folder.file("layer_sizes.json"), with_decoder=with_decoder)
        path = folder.file("gene_order.tsv")
        symbols = _gene_order(path)
        if len(symbols) != config.n_genes:
            raise InputError(f"{path} names {len(symbols):,} genes; the first layer has {config.n_genes:,}")
        return ScimilarityFiles(config, Vocabulary(symbols, "symbol"))

    @property
    def min_genes(self) -> int:  # type: ignore[override]
        """Of a list shorter than the official one, a like share."""
        return min(MIN_GENES, len(self.files.vocabulary.names) // 5)

    def make_net(self) -> nn.Module:
        if self.layer < -len(self.files.config.hidden):
            raise InputError(f"layer is {self.layer}; this model has {len(self.files.config.hidden)} hidden layers")
        return ScimilarityNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        tensors = turned(_state(folder.file("encoder.ckpt")))
        if (decoder := folder.find("decoder.ckpt")) is not None:
            tensors |= {DECODER + name: tensor for name, tensor in _state(decoder).items()}
        return tensors

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_]) -> Tokens:
        """A cell's expressed genes of the list and their log counts."""
        known = counts.known
        lengths = np.diff(known.indptr).astype(np.int64)
        totals = np.asarray(known.sum(axis=1, dtype=np.float64)).ravel()
        values = np.log1p(known.data * np.repeat(PER_CELL / np.maximum(totals, 1e-12), lengths))
        return Tokens(lengths, {"ids": matched.words[known.indices], "values": values.astype(np.float32)})

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, n_dims)."""
        return self.net(batch) if self.layer == 0 else self.net.hidden(batch, len(self.net.layers) + 1 + self.layer)

    def runner(self) -> Runner:
        return replace(super().runner(), tokens_per_batch=TOKENS_PER_BATCH)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, zeros: Zeros = "drawn") -> Reconstruction:
        """Known genes of each cell in ln(1 + 1e4 count / total).

        Parameters
        ----------
        hide
            Share of each cell's expressed known genes that the encoder is not shown, and of the others that are predicted. The total of
            the cell, by which the values are divided, still counts them.
        zeros
            Which of the known genes that a cell does not express are predicted too: as many as it expresses, "drawn" by cell id, "all" or
            "none".

        Raises
        ------
        NotApplicable
            If the folder has no decoder.
        """
        decode, matched, true = self._decoder(), self.match(query), []
        entries = known_entries(query, matched, hide=hide, seed=self.seed, zeros=zeros)

        def shown() -> Iterator[Tokens]:
            start = 0
            for tokens in self.token_chunks(query):
                drawn = hidden(tokens.lengths, hide, seed=self.seed, cell_ids=query.cell_ids[start : start + tokens.n_cells])
                cell = np.repeat(np.arange(tokens.n_cells), tokens.lengths)
                true.append(tokens.columns["values"])
                left = {name: column[~drawn] for name, column in tokens.columns.items()}
                yield Tokens(np.bincount(cell[~drawn], minlength=tokens.n_cells), left)
                start += tokens.n_cells

        words = torch.from_numpy(matched.words).to(device_of(self.device))
        predicted = entries.picked(self.runner()(shown(), lambda batch: decode(self.net(batch))[:, words]))
        values = entries.spread(np.concatenate(true))
        return entries.reconstruction(query.cell_ids, matched.gene_ids, predicted=predicted, true=values, quantity="log count")


    def deepen(
        self, query: Dataset, *, totals: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Reconstruction:
        """What the decoder makes of each cell; the model is told of no depth.

        Raises
        ------
        NotApplicable
            If the folder has no decoder.
        """
        matched = self.match(query)
        words, decode = torch.from_numpy(matched.words).to(device_of(self.device)), self._decoder()
        parts = self.runner()(self.token_chunks(query), lambda batch: decode(self.net(batch))[:, words])
        return deepened_by_model(query, matched, parts, rows=rows, columns=columns)

    def _decoder(self) -> nn.Module:
        """Raises NotApplicable if the folder has none."""
        if self.net.decoder is None:
            raise NotApplicable(f"{self.folder.path} has no decoder.ckpt, which predicts the genes; it is in the published archive")
        return self.net.decoder


class UntrainedScimilarity(Untrained, Scimilarity):
    card = untrained_card(Scimilarity.card)


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors that a file of the authors holds under ``state_dict``."""
    state = read_checkpoint(path).get("state_dict")
    if not isinstance(state, dict):
        raise InputError(f"{path} should hold tensors under 'state_dict'")
    return state


def _gene_order(path: Path) -> NDArray[np.str_]:
    """Symbols (n_genes,), one a line. Raises InputError if one occurs twice: rows of the first matrix could not be told apart."""
    symbols = [line.split("\t")[0].strip() for line in path.read_text().splitlines() if line.strip()]
    twice = [symbol for symbol, n in Counter(symbols).items() if n > 1]
    if twice:
        raise InputError(f"{path} names '{twice[0]}' more than once; expected every gene once, in the order of the first layer")
    return np.array(symbols)
