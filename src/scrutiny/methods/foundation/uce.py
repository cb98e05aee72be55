"""UCE, 4 and 33 layers: a cell is a sample of its genes, each as the embedding of its protein, so any species is read by one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import MethodCard, ModelCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import GeneEmbedding, Reconstruction
from scrutiny.methods.entries import Zeros
from scrutiny.nets.dictionaries import read_dictionary, read_plain
from scrutiny.nets.folder import Folder
from scrutiny.nets.layers import cell_mean
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.uce import SAMPLE, TABLE, UCE_NAMES, UceConfig, UceNet
from scrutiny.nets.weights import read_checkpoint, read_tensors

from .draws import hidden
from .every_gene import known_entries, without
from .genes import Counts, Matched, Vocabulary
from .model import CELLS_PER_CHUNK, SEEDS, Foundation, Untrained, untrained_card
from .uce_sentences import OfficialStream, OwnDraws, Species, sentences

Pooling = Literal["cls", "mean"]

OFFICIAL_ROWS, OFFICIAL_OFFSET = 145_469, 143_574
"""Of the published table of tokens: all rows, and those before the chromosomes."""
SIZES = "sizes.json"
"""Of a model of ours; of a published one the tensors tell them."""
GENES_PER_BATCH = 4_096
NOT_ALL_TOKENS = "[!a]*.torch"
"""The file of weights: not ``all_tokens.torch``, which may lie beside it."""
BATCH = 25
"""Cells that the official code embeds at a time."""
GENOMES = {
    "human": "Homo_sapiens",
    "mouse": "Mus_musculus",
    "frog": "Xenopus_tropicalis",
    "zebrafish": "Danio_rerio",
    "mouse_lemur": "Microcebus_murinus",
    "pig": "Sus_scrofa",
    "macaca_fascicularis": "Macaca_fascicularis",
    "macaca_mulatta": "Macaca_mulatta",
}
"""Species of the published table -> how the file of its protein embeddings begins."""


@dataclass(frozen=True, eq=False)
class UceFiles:
    """Sizes, the tensors as they lie in the file, and the genes of every species whose protein names are there."""

    config: UceConfig
    tensors: Mapping[str, Tensor]
    table: Tensor
    species: Mapping[str, Species]

    @property
    def vocabulary(self) -> Vocabulary:
        """Human genes, or those of the first species."""
        return self.species["human" if "human" in self.species else min(self.species)].vocabulary


class Uce(Foundation):
    """UCE.

    Parameters
    ----------
    layer
        Hidden states to take as they are, counted from the last layer: 0 the last, -1 the second to last. None, the official default:
        the last, through the decoder, scaled to length 1.
    pooling
        "cls": the first token, as the authors do; "mean": over all tokens, those of chromosomes included.
    weights
        Name of the file of weights, where a folder has that of the small and that of the large model.
    n_heads
        Attention heads, which no official file tells: by default 20, as in both published models, or 4 where the net is not as wide as
        they are.
    batch_size
        Cells of a batch with ``compat="official"``, where the cells of a batch depend on each other.
    general
        See `Foundation`.
    """

    card = MethodCard(
        "uce",
        "UCE: a transformer over protein embeddings of genes drawn by their expression, laid out by chromosome; one model for all species",
        organisms=frozenset(GENOMES),
        independent=True,
        seeded=True,
        least_seeds=SEEDS,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=1500.0,
        seconds_to_start=10.0,
        licence="MIT",
        citation="Rosen et al. 2023, bioRxiv 2023.11.28.568918",
        model=ModelCard(
            title="UCE",
            architecture="transformer, 4 or 33 layers of width 1280, 20 heads, post-norm, ReLU, sinusoidal positions",
            parameters="33 layers 675 M (650 M as its authors say), 4 layers 104 M; besides, 745 M numbers of protein embeddings (ESM2)",
            tokens="1,024 genes drawn with replacement by ln(1 + count), in blocks by chromosome, <cls> first",
            vocabulary="143,570 proteins of eight species by gene symbol; new species by their ESM2 embeddings",
            context=1536,
            corpus="Integrated Mega-scale Atlas: 36 million cells of 8 species, mostly from CELLxGENE",
            code_licence="MIT",
            weights_licence="MIT (figshare 24320806 says CC BY 4.0 for the files)",
            commercial=True,
            source="https://figshare.com/articles/dataset/24320806",
            embedding="last layer, <cls>, through the decoder, length 1; options: layer, pooling",
            unconfirmed=(
                "That species_chrom.csv names 1,895 chromosomes, as the published table of 145,469 rows has rows for (for that table the "
                "published offset 143,574 is taken in any case), that every gene with a protein has a place there, and the names in "
                "protein_embeddings.tar.gz: `scrutiny models check` on the published files would confirm all three."
            ),
        ),
    )
    names = UCE_NAMES
    tokens_of_cell = SAMPLE

    def __init__(
        self,
        checkpoint: str = "",
        *,
        layer: int | None = None,
        pooling: Pooling = "cls",
        weights: str = "",
        n_heads: int | None = None,
        batch_size: int = BATCH,
        **general: Any,
    ) -> None:
        super().__init__(checkpoint, **general)
        if pooling not in ("cls", "mean"):
            raise InputError(f"pooling is '{pooling}'; expected cls or mean")
        self.layer, self.pooling, self.weights, self.n_heads = layer, pooling, weights, n_heads
        if self.compat == "official":
            self.order, self.cells_per_batch = "file", batch_size

    # Files -----------------------------------------------------------------------------------------------------------------------

    def read(self, folder: Folder) -> UceFiles:
        path = folder.file(self.weights or NOT_ALL_TOKENS)
        tensors = read_tensors(path)
        if TABLE not in tensors:
            raise InputError(f"{path} has no tensor '{TABLE}'; it has {sorted(tensors)[:5]}")
        sizes = folder.find(SIZES)
        config = UceConfig.from_json(sizes) if sizes else UceConfig.from_tensors(tensors, self.n_heads, str(path))
        if self.layer is not None and not -config.n_layers <= self.layer <= 0:
            raise InputError(f"layer is {self.layer}; expected 0 (last), -1 (second to last) and so on to {-config.n_layers}")
        places = gene_places(folder.file("species_chrom.csv"))
        n_chromosomes = len(places["chromosome"].cat.categories)
        table = _table(tensors[TABLE], folder, n_chromosomes)
        first = OFFICIAL_OFFSET if len(table) == OFFICIAL_ROWS else len(table) - n_chromosomes
        offsets = read_dictionary(folder.file("species_offsets.pkl"))
        names = {species: _protein_names(folder, species) for species in offsets}
        species = {name: _species(name, found, offsets[name], places, first) for name, found in names.items() if found is not None}
        _check_tokens(species, first, len(table), path)
        if not species:
            raise InputError(
                f"{folder.path} has the protein names of no species; expected protein_embeddings/*.gene_symbol_to_embedding_ESM2.pt or "
                f"<species>_protein_embedding_keys.json, of one or several of {sorted(offsets)}"
            )
        return UceFiles(config, tensors, table, species)

    def make_net(self) -> nn.Module:
        return UceNet(self.files.config, self.files.table)

    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        return dict(self.files.tensors)

    def vocabulary(self, data: Dataset) -> Vocabulary:
        """Raises NotApplicable if the folder has no proteins of this organism."""
        known = self.files.species
        if data.organism not in known:
            raise NotApplicable(f"'{data.name}' is of organism '{data.organism}'; {self.folder.path} has proteins of {sorted(known)}")
        return known[data.organism].vocabulary

    # Cells -----------------------------------------------------------------------------------------------------------------------

    def token_chunks(self, query: Dataset) -> Iterator[Tokens]:
        matched, ids, stream = self.match(query), query.cell_ids, self._stream()
        for counts in matched.counts(query, CELLS_PER_CHUNK):
            yield self.tokens(counts, matched, ids[counts.start : counts.stop], stream)

    def _stream(self) -> OfficialStream | None:
        return OfficialStream(self.seed, self.files.config.sample) if self.compat == "official" else None

    def tokens(self, counts: Counts, matched: Matched, cell_ids: NDArray[np.str_], stream: OfficialStream | None = None) -> Tokens:
        """Sentences of some cells; draws are taken from ``stream`` if there is one, else they belong to each cell."""
        genes = self.files.species[matched.organism].take(matched.words)
        draws = [stream or OwnDraws(self.seed, cell_id, self.files.config.sample) for cell_id in cell_ids]
        return sentences(counts.known, genes, draws, self.files.config.longest)

    def embed_batch(self, batch: Batch) -> Tensor:
        """(B, n_dims)."""
        if self.layer is None:
            return self._decoded(batch)
        return self._pooled(batch, self.files.config.n_layers + self.layer, nn.Identity())

    def _decoded(self, batch: Batch) -> Tensor:
        """The official embedding (B, n_dims), of length 1."""
        return F.normalize(self._pooled(batch, self.files.config.n_layers, self.net.decoder).float(), dim=1)

    def _pooled(self, batch: Batch, n_layers: int, decode: nn.Module) -> Tensor:
        if self.compat == "official":
            x = self.net.as_published(batch, n_layers)
            return decode(x[batch.start]) if self.pooling == "cls" else cell_mean(decode(x), batch)
        return decode(self.net.first(batch, n_layers)) if self.pooling == "cls" else cell_mean(decode(self.net(batch, n_layers)), batch)

    # Genes -----------------------------------------------------------------------------------------------------------------------

    def embed_genes(self, query: Dataset) -> GeneEmbedding:
        """What the expression head makes of the protein embedding of a gene: one vector a gene, whatever the cell."""
        matched = self.match(query)
        return GeneEmbedding(self._gene_vectors(matched).cpu().numpy(), matched.gene_ids)

    def _gene_vectors(self, matched: Matched) -> Tensor:
        """(n_matched, D)."""
        tokens = torch.from_numpy(self.files.species[matched.organism].tokens[matched.words])
        with torch.inference_mode():
            return torch.cat([self.net.gene_encoder(self.net.token_vectors(some)) for some in tokens.split(GENES_PER_BATCH)])

    def reconstruct(self, query: Dataset, *, hide: float = 0.0, zeros: Zeros = "drawn") -> Reconstruction:
        """Known genes of each cell: the log-odds that it expresses the gene, by the vector of the cell and the gene's protein.

        Parameters
        ----------
        hide
            Share of each cell's expressed known genes that are left out before its genes are drawn, and of the others that are predicted.
        zeros
            Which of the known genes that a cell does not express are predicted too: as many as it expresses, "drawn" by cell id, "all" or
            "none".
        """
        matched, ids, stream = self.match(query), query.cell_ids, self._stream()
        genes, entries = self._gene_vectors(matched), known_entries(query, matched, hide=hide, seed=self.seed, zeros=zeros)

        def shown() -> Iterator[Tokens]:
            for counts in matched.counts(query, CELLS_PER_CHUNK):
                known, cells = counts.known, ids[counts.start : counts.stop]
                drawn = hidden(np.diff(known.indptr).astype(np.int64), hide, seed=self.seed, cell_ids=cells)
                yield self.tokens(counts._replace(known=without(known, drawn)), matched, cells, stream)

        predicted = entries.picked(self.runner()(shown(), lambda batch: self.net.log_odds(self._decoded(batch), genes)))
        true, quantity = entries.expressed.astype(np.float32), "log-odds of being expressed"
        return entries.reconstruction(query.cell_ids, matched.gene_ids, predicted=predicted, true=true, quantity=quantity)


class UntrainedUce(Untrained, Uce):
    """The protein embeddings stay: they are another model's, and what a cell is shown."""

    card = untrained_card(Uce.card)


def gene_places(path: Path) -> pd.DataFrame:
    """Where every gene of every species lies: species, gene_symbol in upper case, chromosome (category), start.

    Chromosomes are counted over all species, in the alphabetical order of "<species>_<chromosome>", as in the official code.
    """
    columns = ["species", "gene_symbol", "chromosome", "start"]
    try:
        places = pd.read_csv(path, usecols=columns, dtype=dict.fromkeys(columns[:3], str))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} should be a table with the columns {columns}: {error}") from error
    chromosome = pd.Categorical(places["species"] + "_" + places["chromosome"])
    return places.assign(gene_symbol=places["gene_symbol"].str.upper(), chromosome=chromosome).dropna()


def _table(trained_with: Tensor, folder: Folder, n_chromosomes: int) -> Tensor:
    """The vectors (n_tokens, token_dim) of all tokens.

    As in the official code ``all_tokens.torch`` counts only where it has other species than the model was trained with, that is,
    another number of rows. Without rows for chromosomes, as it is published, it has the same ones.
    """
    path = folder.find("all_tokens.torch")
    if path is None:
        return trained_with
    table = read_checkpoint(path).get("tensor")
    if not isinstance(table, Tensor) or table.shape[1:] != trained_with.shape[1:]:
        raise InputError(f"{path} should hold one tensor with rows of {trained_with.shape[1]:,} numbers and nothing else")
    return trained_with if len(trained_with) in (len(table), len(table) + n_chromosomes) else table


def _protein_names(folder: Folder, species: str) -> list[str] | None:
    """Gene symbols in upper case in the order of the tokens; None where the folder has none of this species."""
    path = folder.find(f"{species}_protein_embedding_keys.json") or protein_file(folder, species)
    if path is None:
        return None
    found = read_plain(path) if path.name.endswith("keys.json") else list(read_checkpoint(path))
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path} should name the genes of {species} that have a protein embedding")
    return list(dict.fromkeys(name.upper() for name in found))


def protein_file(folder: Folder, species: str) -> Path | None:
    """The file with the protein embeddings of a species, as its name begins with the official name of the genome."""
    file = f"{GENOMES.get(species, species)}.*gene_symbol_to_embedding_ESM2.pt"
    return folder.find(f"protein_embeddings/{file}", file)


def _species(name: str, proteins: list[str], offset: int, places: pd.DataFrame, first: int) -> Species:
    """The genes that have a protein, whose tokens count from ``offset``, and a place; tokens of chromosomes count from ``first``."""
    own = places[places["species"] == name].drop_duplicates("gene_symbol").set_index("gene_symbol")
    row = own.index.get_indexer(proteins)
    kept = np.flatnonzero(row >= 0)
    place = own.iloc[row[kept]]
    vocabulary = Vocabulary(np.array(proteins)[kept], "symbol", folded=True, organisms=frozenset({name}))
    return Species(vocabulary, offset + kept, first + place["chromosome"].cat.codes.to_numpy(np.int64), place["start"].to_numpy(np.int64))


def _check_tokens(species: Mapping[str, Species], first: int, n_tokens: int, path: Path) -> None:
    """Raise InputError unless tokens of genes come before those of chromosomes, which end with the table."""
    for name, genes in species.items():
        if len(genes.tokens) and (genes.tokens.max() >= first or genes.chromosomes.max() >= n_tokens):
            raise InputError(
                f"{path} has {n_tokens:,} tokens, of which the first {first:,} are no chromosomes; the genes of {name} reach to "
                f"{genes.tokens.max():,} and its chromosomes to {genes.chromosomes.max():,}: the files are not of one model"
            )
