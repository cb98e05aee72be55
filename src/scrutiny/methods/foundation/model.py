"""What all published models share as methods: from a folder of official files to vectors with ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scrutiny.core.cards import TWIN, MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.outputs import CellEmbedding, GeneEmbedding
from scrutiny.data.checkpoints import located, origin, record
from scrutiny.data.corpus_audit import exposure_facts
from scrutiny.data.genetables import GeneTables
from scrutiny.nets.folder import Folder, digest_of_file
from scrutiny.nets.inference import Runner, device_of
from scrutiny.nets.initial import randomise
from scrutiny.nets.tokens import Batch, Tokens
from scrutiny.nets.weights import NameMap, build, forbid, load

from .genes import MIN_GENES, Counts, Matched, Order, Vocabulary, match

Compat = Literal["alone", "official"]
HUMAN = frozenset({"human"})
SEEDS = 3
"""Seeds of a study where a draw is part of the method."""
FLOPS = {"cpu": 2e11, "cuda": 5e13, "mps": 2e12}
"""Operations per second that a net reaches on 2 cores or a card, for estimates only."""
ATTENTION = 1.5
"""What attention and norms add to the matrix products of the layers, for estimates only."""
SECONDS_OF_TOKENS = 0.5
"""To tokenise 1,000 cells, for estimates only."""
CELLS_PER_CHUNK = 2_048
"""Cells tokenised at a time: enough to find some of like length, few enough to hold in memory."""


class Files(Protocol):
    """What a family reads beside the weights."""

    @property
    def vocabulary(self) -> Vocabulary: ...


class Published(ABC):
    """A published model, read from the official files and run by a net of ours.

    Parameters
    ----------
    checkpoint
        Folder with the official files, or the name of a fetched checkpoint; by default the one that ``scrutiny models fetch`` made.
    compat
        "alone": every cell as if it were alone, draws by (seed, cell id). "official": also what depends on the other cells of a batch
        and on one stream of random numbers, as in the official code.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision
        "float32" or "bfloat16".
    genes
        Gene tables for the translation of ids, joined by commas: files, "human", "mouse" or "hgnc" (see `GeneTables`). Without one the
        official tables are fetched where the ids of the data are not of the kind that the model knows.
    orthologues
        A table of human and mouse orthologues, for mouse cells and a model that knows human genes only.
    """

    card: ClassVar[MethodCard]
    outside_key: ClassVar[frozenset[str]] = frozenset({"checkpoint", "device", "genes", "orthologues"})
    """Options that say where, not what: the key of an output has the content of weights and tables in their place."""
    names: ClassVar[NameMap]
    min_genes: ClassVar[int] = MIN_GENES
    order: Order = "vocabulary"
    """Order of the genes that tokens are made of."""
    tokens_of_cell: ClassVar[int | None] = None
    """Tokens that every cell has; None: as many as it has known genes, up to the context."""
    cells_per_batch: int | None = None
    """Set where ``compat="official"`` couples the cells of a batch."""

    _last_match: tuple[pd.DataFrame, str, Matched] | None = None
    _last_exposure: tuple[str, dict[str, Any]] | None = None

    def __init__(
        self,
        checkpoint: str = "",
        *,
        compat: Compat = "alone",
        device: str = "auto",
        precision: str = "float32",
        genes: str = "",
        orthologues: str = "",
    ) -> None:
        if compat not in ("alone", "official"):
            raise InputError(f"compat is '{compat}'; expected 'alone' or 'official'")
        self.checkpoint, self.compat, self.device, self.precision = checkpoint, compat, device, precision
        self.tables = GeneTables(genes, orthologues)
        self.seed = 0
        card = type(self).card
        if card.organisms == HUMAN:
            card = replace(card, organisms=HUMAN | {"mouse"})  # by way of orthologues
        if compat == "official":
            card = replace(card, independent=False)
        self.card = card  # type: ignore[misc]

    # What a family says of itself ------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, folder: Folder) -> Any:
        """Config, vocabulary and dictionaries; no weights. Raises InputError if a file is missing or odd."""

    @abstractmethod
    def make_net(self) -> nn.Module:
        """The net for ``self.files``, called where making one costs nothing."""

    @abstractmethod
    def tensors(self, folder: Folder) -> dict[str, Tensor]:
        """The weights under their official names."""

    @abstractmethod
    def tokens(self, counts: Counts, matched: Matched, cell_ids: np.ndarray) -> Tokens:
        """Tokens of some cells (n,), in their order."""

    # What follows from it --------------------------------------------------------------------------------------------------------

    @cached_property
    def folder(self) -> Folder:
        return Folder(located(self.card.twin_of or self.card.name, self.checkpoint))

    @cached_property
    def files(self) -> Any:
        return self.read(self.folder)

    @cached_property
    def net(self) -> nn.Module:
        self.files  # noqa: B018 - read here, since within `build` tensors have no storage
        net = build(self.make_net)
        self.fill(net)
        trained = record(self.folder.path).get("trained", {})
        for name in trained.get("untrained", ()):
            forbid(net, name, f"{trained['name']} was trained for {trained['objective']['name']}, by which '{name}' learnt nothing")
        return net.to(device_of(self.device))

    def fill(self, net: nn.Module) -> None:
        """Give the net its weights."""
        self.absent = load(net, self.tensors(self.folder), self.names, source=str(self.folder.path))

    @cached_property
    def weights_key(self) -> str:
        """Key of the content of all files that the vectors depend on."""
        self.files, self.tensors(self.folder)  # noqa: B018 - reading them tells which they are
        return self.content_key

    @property
    def content_key(self) -> str:
        """Key of the content of the files read so far, and of the gene tables that were named."""
        tables = [digest_of_file(Path(source)) if Path(source).is_file() else source for source in self.tables.sources]
        return digest_of_json([self.folder.key, *tables]) if tables else self.folder.key

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if the weights are not there or the model knows too few genes of the data."""
        self.match(data)

    def vocabulary(self, data: Dataset) -> Vocabulary:
        """The genes that the model knows of the organism of these cells."""
        return self.files.vocabulary

    def match(self, data: Dataset) -> Matched:
        """The genes of the data that the model knows; remembered, since plan, fit and embed ask for the same ones."""
        if self._last_match is None or self._last_match[0] is not data.var or self._last_match[1] != data.organism:
            found = match(data, self.vocabulary(data), order=self.order, min_genes=self.min_genes, tables=self.tables)
            self._last_match = (data.var, data.organism, found)
        return self._last_match[2]

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know of a Run: whose weights, which genes the model found, and whether it was trained on these cells.

        Raises NotApplicable if it knows too few of the genes.
        """
        return {"genes": self.match(data).facts, "weights": self.weights_facts, **self.exposure(data)}

    def exposure(self, data: Dataset) -> dict[str, Any]:
        """Whether the model was trained on these cells, where its folder has the manifest of a corpus of ours; else nothing."""
        key = digest_of_json([data.fingerprint, data.gene_names_key])
        if self._last_exposure is None or self._last_exposure[0] != key:
            self._last_exposure = (key, exposure_facts(data, self.folder.path))
        return self._last_exposure[1]

    @property
    def weights_facts(self) -> dict[str, Any]:
        """Whose weights they are, as plain values."""
        key, model = self.weights_key, self.card.model
        found = origin(self.folder.path, self.folder.digests)
        told = {"key": key, "origin": found.text, "published": found.published, "checkpoint": found.checkpoint}
        return {**told, "title": model.title, "licence": model.weights_licence, "commercial": model.commercial} if model else told

    def with_seed(self, seed: int) -> Self:
        """Load the weights, or draw those of an untrained twin."""
        self.seed = seed
        self.__dict__.pop("net", None)
        self.net  # noqa: B018 - loaded here, so that its seconds count as fitting
        return self

    def of_cells(self, chunks: Iterable[Tokens], n_cells: int, compute: Callable[[Batch], Tensor]) -> NDArray[np.float32]:
        """What ``compute`` gives for the cells of a batch, for those of all chunks: (n_cells, n_dims)."""
        values = np.empty((0, 0), np.float32)
        for rows, part in self.runner()(chunks, compute):
            if not values.size:
                values = np.empty((n_cells, part.shape[1]), dtype=np.float32)
            values[rows] = part
        return values

    def runner(self) -> Runner:
        return Runner(device_of(self.device), self.precision, cells_per_batch=self.cells_per_batch)

    def token_chunks(self, query: Dataset) -> Iterator[Tokens]:
        """Tokens of all cells in the order of the file, `CELLS_PER_CHUNK` at a time."""
        matched, ids = self.match(query), query.cell_ids
        for counts in matched.counts(query, CELLS_PER_CHUNK):
            yield self.tokens(counts, matched, ids[counts.start : counts.stop])

    def seconds_per_1000_cells(self, data: Dataset) -> float:
        """Rough estimate from the size of the net and the tokens of a cell, for plans; far less on an accelerator."""
        context = self.card.model.context if self.card.model else 1
        n_tokens = self.tokens_of_cell or min(context, data.matrix.nnz / max(data.n_cells, 1))
        n_weights = sum(module.weight.numel() for module in build(self.make_net).modules() if isinstance(module, nn.Linear))
        return SECONDS_OF_TOKENS + 1000 * 2 * n_weights * n_tokens * ATTENTION / FLOPS[device_of(self.device).type]

    @property
    def gpu(self) -> str:
        """Name of the accelerator that is used; '' for the processor."""
        device = device_of(self.device)
        return torch.cuda.get_device_name(device) if device.type == "cuda" else "" if device.type == "cpu" else device.type

    def __getstate__(self) -> dict[str, Any]:
        """Without the weights and what is quickly made again."""
        return {name: value for name, value in self.__dict__.items() if name not in ("net", "folder", "files", "_last_match")}


class Foundation(Published):
    """A published model that embeds cells one by one, or at most those of a batch together; for its options see `Published`."""

    @abstractmethod
    def embed_batch(self, batch: Batch) -> Tensor:
        """Vectors (B, n_dims) of the cells of a batch."""

    def fit(self, train: Dataset, *, seed: int) -> Self:
        """Nothing is learnt: the weights are loaded."""
        return self.with_seed(seed)

    def embed(self, query: Dataset) -> CellEmbedding:
        return CellEmbedding(self.of_cells(self.token_chunks(query), query.n_cells, self.embed_batch), query.cell_ids)


class EmbedsGenes(Protocol):
    """A model that also has vectors of genes."""

    def embed_genes(self, query: Dataset) -> GeneEmbedding: ...


class Untrained:
    """Mixed in before a family: the same architecture, vocabulary and tokens, but random weights drawn by the seed."""

    def exposure(self, data: Dataset) -> dict[str, Any]:
        """Nothing: it was trained on no cells."""
        return {}

    @property
    def weights_facts(self: Any) -> dict[str, Any]:
        key = self.weights_key
        found = origin(self.folder.path, self.folder.digests)
        return {"key": key, "origin": "random numbers", "published": False, "checkpoint": found.checkpoint}

    def fill(self: Any, net: nn.Module) -> None:
        self.absent = frozenset()
        randomise(net, self.seed)

    @cached_property
    def weights_key(self: Any) -> str:
        self.files  # noqa: B018 - reading them tells which they are
        return self.content_key


def untrained_card(card: MethodCard) -> MethodCard:
    """The card of the untrained twin of a model."""
    return replace(
        card,
        name=f"{TWIN}{card.name}",
        summary=f"the untrained twin of {card.name}: same architecture and tokens, random weights",
        kind="control",
        seeded=True,
        least_seeds=SEEDS,
        twin_of=card.name,
        trained_on=frozenset(),
    )
