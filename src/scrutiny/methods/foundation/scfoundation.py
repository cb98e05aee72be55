"""scFoundation: counts as real numbers over the expressed genes of a cell, with tokens for the depth that it has and the one asked for."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.data.checkpoints import checkpoint as published
from scrutiny.data.checkpoints import models_folder
from scrutiny.data.download import Remote, download
from scrutiny.methods.deepening import deepened_by_model, known_share
from scrutiny.methods.entries import Zeros
from scrutiny.nets.folder import Folder
from scrutiny.nets.inference import Part, Runner, device_of
from scrutiny.nets.layers import cell_max, cell_mean
from scrutiny.nets.scfoundation import SCFOUNDATION_NAMES, ScFoundationConfig, ScFoundationNet
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import only_tensors, read_checkpoint

from .every_gene import known_entries, mean_over_cells
from .genes import Counts, Matched, Vocabulary
from .model import CELLS_PER_CHUNK, Foundation, Untrained, untrained_card

PER_CELL = 10_000
GENE_LIST = "OS_scRNA_gene_index.19264.tsv"
"""Stands beside the checkpoint or, as in the official repository, up to two folders above."""
ALL = "all"
"""Stands in the place of the three sets of weights where a model, trained by scrutiny, has one for all outputs."""
Key = Literal["auto", "cell", "gene", "rde"]
Pooling = Literal["all", "max"]
Input = Literal["single", "bulk"]


@dataclass(frozen=True, eq=False)
class ScFoundationFiles:
    config: ScFoundationConfig
    vocabulary: Vocabulary


class ScFoundation(Foundation):
    """scFoundation.

    Parameters
    ----------
    key
        Which of the three sets of weights: "cell", "gene" or "rde" (read-depth enhancement); "auto": as the authors advise, cell for
        the embedding of cells and gene for what there is of genes.
    pooling
        "all": S, T, maximum and mean over the expressed genes, side by side; "max": maximum over all tokens.
    tgthighres
        The depth asked for (token T), as the official code spells it: "t4" is 10^4 counts, "f2" twice and "a1" ten times those of the
        cell.
    layer
        States of the encoder to take, counted from the last layer: 0 the last, normalised as the authors do; -1 the second to last.
    input
        "single" cells, or "bulk" samples. These are not divided by their total, or with compat="official" brought to the median total of
        all samples; T and S both tell the sum of the logarithms, whatever tgthighres says.
    gene_list
        Path of the official gene list, a table with a column gene_name. By default it is looked for in the folder of the checkpoint and
        the two above, and failing that downloaded.
    general
        See `Foundation`.

    Notes
    -----
    ``compat="official"`` runs `gene_states` as the official output type ``gene_batch``, all cells at once, which then change each other
    through the key maximum of the decoder. The embedding of cells does not depend on it.
    """

    card = MethodCard(
        "scfoundation",
        "scFoundation: a transformer over the counts of the expressed genes, with tokens for sequencing depth",
        organisms=frozenset({"human"}),
        independent=True,
        trained_on=None,
        requires=("torch",),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=2_500.0,
        seconds_to_start=8.0,
        licence="Apache-2.0 (weights: non-commercial)",
        citation="Hao et al. 2024, Nature Methods 21:1481",
        model=ModelCard(
            title="scFoundation",
            architecture="12 transformer layers of width 768 over the expressed genes, 6 Performer layers of width 512 over all genes",
            parameters="119 M, in three versions: cell, gene, rde",
            tokens="every expressed gene with ln(1 + 1e4 count / total), then T (depth asked for) and S (depth)",
            vocabulary="19,264 human gene symbols",
            context=19_266,
            corpus="about 50 million human cells, gathered by the authors from public sources",
            code_licence="Apache-2.0",
            weights_licence="scFoundation model licence: research only, not transferable, revocable",
            commercial=False,
            source="the authors' download (link in github.com/biomap-research/scFoundation)",
            embedding="S, T, maximum and mean over the genes of the encoder, 3,072 numbers; options: key, pooling, layer, tgthighres",
            unconfirmed="whether the published models.ckpt opens without running code, and the numbers at full size; loading it would "
            "confirm the first, the embeddings that the authors published of DeepCDR and SCAD cells the second",
        ),
    )
    outside_key = Foundation.outside_key | {"gene_list"}
    names = SCFOUNDATION_NAMES

    def __init__(
        self,
        checkpoint: str = "",
        *,
        key: Key = "auto",
        pooling: Pooling = "all",
        tgthighres: str = "t4",
        layer: int = 0,
        input: Input = "single",
        gene_list: str = "",
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        for name, value, known in (
            ("key", key, get_args(Key)),
            ("pooling", pooling, get_args(Pooling)),
            ("input", input, get_args(Input)),
        ):
            if value not in known:
                raise InputError(f"{name} is '{value}'; expected one of {', '.join(known)}")
        if not re.fullmatch(r"[ta]\d+(\.\d+)?|f(?!0+(\.0+)?$)\d+(\.\d+)?", tgthighres):
            raise InputError(f"tgthighres is '{tgthighres}'; expected t, f or a and a number, e.g. t4, f2 or a1")
        self.key, self.pooling, self.tgthighres, self.layer = key, pooling, tgthighres, layer
        self.input, self.gene_list = input, gene_list

    # Files -----------------------------------------------------------------------------------------------------------------------

    def read(self, folder: Folder) -> ScFoundationFiles:
        config = ScFoundationConfig.from_fields(self.entry(folder)["config"], str(folder.path))
        if not -config.depth <= self.layer <= 0:
            raise InputError(f"layer is {self.layer}; expected 0 (last), -1 (second to last) and so on to {-config.depth}")
        path = gene_list_path(folder, self.gene_list)
        names = gene_names(path)
        if len(names) != config.n_genes or len(set(names)) != len(names):
            raise InputError(f"{path} has {len(set(names)):,} different names in its column gene_name; expected {config.n_genes:,}")
        return ScFoundationFiles(config, Vocabulary(names, "symbol"))

    def entry(self, folder: Folder) -> Mapping[str, Any]:
        """``config`` and ``state_dict`` of one of the three sets of weights."""
        path = folder.file("models.ckpt")
        found, key = read_checkpoint(path), "cell" if self.key == "auto" else self.key
        entry = found.get(key, found.get(ALL))
        if not isinstance(entry, Mapping) or not {"config", "state_dict"} <= entry.keys():
            raise InputError(f"{path} has no '{key}' with config and state_dict; it has {sorted(map(str, found))[:5]}")
        return entry

    def make_net(self) -> nn.Module:
        return ScFoundationNet(self.files.config)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        found = only_tensors(self.entry(folder)["state_dict"], f"state_dict in {folder.path}")
        return {name.rpartition("model.")[2]: tensor for name, tensor in found.items()}

    # Cells -----------------------------------------------------------------------------------------------------------------------

    def token_chunks(self, query: Dataset) -> Iterator[Tokens]:
        matched, ids = self.match(query), query.cell_ids
        depth = median_total(matched, query) if self.input == "bulk" and self.compat == "official" else None
        for counts in matched.counts(query, CELLS_PER_CHUNK):
            yield self.tokens(counts, matched, ids[counts.start : counts.stop], depth)

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_], depth: float | None = None) -> Tokens:
        """Expressed genes in the order of the vocabulary, then T and S. Bulk samples are brought to ``depth``, or keep their own."""
        config: ScFoundationConfig = self.files.config
        known, totals = counts.known.astype(np.float64), totals_of(counts.known)
        depths = PER_CELL if self.input == "single" else totals if depth is None else depth
        n_genes = np.diff(known.indptr).astype(np.int64)
        known.data = np.log1p(known.data * np.repeat(depths / np.maximum(totals, 1e-12), n_genes))
        source = log10_or_0(totals if self.input == "single" else totals_of(known))
        target = asked_depth(self.tgthighres, source) if self.input == "single" else source
        last = np.repeat(np.cumsum(n_genes), 2)
        columns = {
            "ids": np.insert(matched.words[known.indices], last, np.tile([config.target, config.source], len(totals))),
            "values": np.insert(known.data, last, np.column_stack([target, source]).ravel()).astype(np.float32),
        }
        return Tokens(n_genes + 2, columns)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, 4 D), or (B, D) with pooling="max"."""
        config: ScFoundationConfig = self.files.config
        states = self.net(batch, config.depth + self.layer if self.layer else None)
        if self.pooling == "max":
            return cell_max(states, batch)
        end = batch.start + batch.length
        genes = states[batch.columns["ids"] < config.n_genes]
        inner = Batch(tuple(n - 2 for n in batch.lengths), {}, {}, batch.device)
        return torch.cat([states[end - 1], states[end - 2], cell_max(genes, inner), cell_mean(genes, inner)], dim=1)

    # Genes -----------------------------------------------------------------------------------------------------------------------

    @cached_property
    def of_genes(self) -> Self:
        """The same model with the weights for gene outputs."""
        return self._with("gene")

    @cached_property
    def of_depth(self) -> Self:
        """The same model with the weights for read-depth enhancement."""
        return self._with("rde")

    def _with(self, key: Key) -> Self:
        if self.key != "auto" or ALL in read_checkpoint(self.folder.file("models.ckpt")):
            return self
        other = copy.copy(self)
        other.key = key
        return other

    def fit(self, train: Dataset, *, seed: int) -> Self:
        for other in ("of_genes", "of_depth"):
            self.__dict__.pop(other, None)
        return super().fit(train, seed=seed)

    def gene_states(self, query: Dataset) -> Iterator[Part]:
        """Vectors (n, n_genes, D') of all genes of the vocabulary in some cells at a time, as the decoder gives them."""
        net, coupled = self.of_genes.net, self.compat == "official"
        together = query.n_cells if coupled else None
        return self._run(self.token_chunks(query), lambda batch: net.decode(net(batch), batch, coupled=coupled), together)

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """The mean over the cells of the vectors that the decoder gives a gene in each."""
        matched = self.match(query)
        return GeneEmbedding(mean_over_cells(self.gene_states(query))[matched.words], matched.gene_ids)

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, zeros: Zeros = "drawn") -> Reconstruction:
        """Known genes of each cell at the depth that ``tgthighres`` asks for, in ln(1 + 1e4 count / total).

        Parameters
        ----------
        hide
            Share of each cell's expressed known genes that the encoder is not shown and that enter the decoder as hidden, as in
            pretraining, and of the others that are predicted. The total of the cell, by which the values are divided and which token S
            tells, still counts them.
        zeros
            Which of the known genes that a cell does not express are predicted too: as many as it expresses, "drawn" by cell id, "all" or
            "none".
        """
        matched, net, n_genes = self.match(query), self.of_genes.net, self.files.config.n_genes
        entries = known_entries(query, matched, hide=hide, seed=self.seed, zeros=zeros)
        words = torch.from_numpy(matched.words).to(device_of(self.device))
        true: list[NDArray[np.float32]] = []

        def shown() -> Iterator[Tokens]:
            start = 0
            for tokens in self.token_chunks(query):
                masked = np.zeros((tokens.n_cells, n_genes), bool)
                masked[:, matched.words] = entries.hidden_in(start, start := start + tokens.n_cells, len(matched.words))
                ids, cell = tokens.columns["ids"], np.repeat(np.arange(tokens.n_cells), tokens.lengths)
                is_gene = ids < n_genes  # T and S are always shown
                gone = np.zeros(len(ids), bool)
                gone[is_gene] = masked[cell[is_gene], ids[is_gene]]
                true.append(tokens.columns["values"][is_gene])
                yield without(tokens, gone, masked)

        parts = self._run(shown(), lambda batch: net.expression(net.decode(net(batch), batch)[:, words]))
        predicted = entries.picked(parts)
        values = entries.spread(np.concatenate(true))
        return entries.reconstruction(query.cell_ids, matched.gene_ids, predicted=predicted, true=values, quantity="log count")

    def deepen(
        self, query: Dataset, *, totals: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Reconstruction:
        """Read-depth enhancement: token S tells the total of the cell, T the one that is asked for, both of the genes that are known.

        Raises
        ------
        NotApplicable
            If the input is bulk samples, of which no depth is asked.
        """
        if self.input == "bulk":
            raise NotApplicable("read depth is a matter of single cells; scfoundation was made with input='bulk'")
        matched, net = self.match(query), self.of_depth.net
        words, target = torch.from_numpy(matched.words).to(device_of(self.device)), self.files.config.target
        asked = log10_or_0(totals * known_share(query, matched))

        def shown() -> Iterator[Tokens]:
            start = 0
            for tokens in self.token_chunks(query):
                values = tokens.columns["values"].copy()
                values[tokens.columns["ids"] == target] = asked[start : (start := start + tokens.n_cells)]
                yield replace(tokens, columns={**tokens.columns, "values": values})

        parts = self._run(shown(), lambda batch: net.expression(net.decode(net(batch), batch)[:, words]))
        return deepened_by_model(query, matched, parts, rows=rows, columns=columns)

    def _run(self, chunks: Iterable[Tokens], compute: Callable[[Batch], Tensor], together: int | None = None) -> Iterator[Part]:
        """Cell by cell, since in the decoder each has as many tokens as a batch should have; or so many together."""
        return Runner(device_of(self.device), self.precision, tokens_per_batch=1, cells_per_batch=together)(chunks, compute)


class UntrainedScFoundation(Untrained, ScFoundation):
    card = untrained_card(ScFoundation.card)


def gene_list_path(folder: Folder, named: str) -> Path:
    """The list of genes in the order of the model's vocabulary. Raises InputError, saying where to get it, if it is not to be had."""
    if named:
        return folder.also(Path(named))
    above = (place / GENE_LIST for place in folder.path.resolve().parents[:2])
    found = folder.find(GENE_LIST) or next((path for path in above if path.is_file()), None)
    if found is None:
        release = published("scfoundation")
        file = next(file for file in release.files if file.name == GENE_LIST)
        otherwise = f"or in {folder.path}, or name it with the option gene_list"
        found = download(Remote(file.name, file.url, f"sha256:{file.sha256}"), models_folder() / release.name, otherwise=otherwise)
    return folder.also(found)


def gene_names(path: Path) -> NDArray[np.str_]:
    """The column gene_name of the official list. Raises InputError if the file has none."""
    try:
        return pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)["gene_name"].to_numpy(str)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is no table with a column gene_name: {error}") from error


def totals_of(known: sparse.csr_matrix) -> NDArray[np.float64]:
    """Sums (n,) over the genes that the model knows."""
    return np.asarray(known.sum(axis=1, dtype=np.float64)).ravel()


def log10_or_0(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decimal logarithms (n,); 0 for a cell that has nothing, where the official code fails."""
    return np.log10(np.where(sums > 0, sums, 1.0))


def median_total(matched: Matched, query: Dataset) -> float:
    """Median over the samples that have any counts of the known genes."""
    totals = np.concatenate([totals_of(counts.known) for counts in matched.counts(query)])
    return float(np.median(totals[totals > 0])) if totals.any() else 1.0


def asked_depth(tgthighres: str, source: NDArray[np.float64]) -> NDArray[np.float64]:
    """Token T (n,), a decimal logarithm: t a number, f so many times the depth ``source`` (n,) of the cell, a so much added to it."""
    number = float(tgthighres[1:])
    match tgthighres[0]:
        case "t":
            return np.full(len(source), number)
        case "f":
            return source + np.log10(number)
        case _:
            return source + number


def without(tokens: Tokens, gone: NDArray[np.bool_], masked: NDArray[np.bool_]) -> Tokens:
    """Without the tokens that are gone (n_tokens,); ``masked`` (n_cells, n_genes) tells the decoder which genes they were."""
    cell = np.repeat(np.arange(tokens.n_cells), tokens.lengths)
    lengths = np.bincount(cell[~gone], minlength=tokens.n_cells)
    return Tokens(lengths, {name: column[~gone] for name, column in tokens.columns.items()}, {"masked": masked})
