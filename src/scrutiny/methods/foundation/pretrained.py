"""Nets that are trained for a study: a config of a pretraining as a method, and its untrained twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import platformdirs

from scrutiny.core.cards import TWIN, MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.options import made
from scrutiny.core.outputs import OUTPUTS, CellEmbedding
from scrutiny.core.registry import METHODS
from scrutiny.data.corpus_audit import exposure_facts
from scrutiny.data.formats import offer_of
from scrutiny.tuning.config import pretraining_of
from scrutiny.tuning.loop import Report

from .model import Published, untrained_card
from .pretraining import ignore
from .training_time import seconds_of
from .trainings import Trainings

VERBS = (*OUTPUTS, "embed_genes")
ENDS = ("teraflops", "steps", "epochs")


def runs_folder() -> Path:
    """Where trainings are kept unless a folder is named: the user's cache, under ``scrutiny/pretrained``."""
    return platformdirs.user_cache_path("scrutiny") / "pretrained"


class Net:
    """What a net that is trained and its twin share.

    Parameters
    ----------
    config
        The tables of a config of `scrutiny pretrain`: ``corpus``, ``model``, ``objective``, ``training``.
    name
        What reports call it.
    use
        Options of the family, such as layer and pooling.
    folder
        Where the paths of the corpus begin.
    runs
        Folder that trainings are kept in; by default `runs_folder`.
    device
        For training and use: "auto", "cpu", "cuda", "cuda:1" or "mps".
    """

    card: ClassVar[MethodCard]
    outside_key: ClassVar[frozenset[str]] = frozenset({"name", "folder", "runs", "device"})
    family_prefix: ClassVar[str] = ""

    def __init__(
        self,
        config: Mapping[str, Any],
        name: str = "net",
        *,
        use: Mapping[str, Any] | None = None,
        folder: str = "",
        runs: str = "",
        device: str = "auto",
    ) -> None:
        self.called, self.device, self.use = name, device, dict(use or {})
        self.config = pretraining_of({**config, "name": name}, Path(folder), f"the net '{name}'", default_name=name)
        self.trainings = Trainings(self.config, Path(runs) if runs else runs_folder(), device)
        self.model = self._family("")
        own = self.model.card
        taken = {field: getattr(own, field) for field in ("organisms", "reads", "optional", "transductive", "independent")}
        self.card = replace(type(self).card, **taken)  # type: ignore[misc]

    def folder_of(self, seed: int) -> Path:
        """Where the model of a seed lies."""
        raise NotImplementedError

    def fit(self, train: Dataset, *, seed: int) -> Self:
        """Load the net of this seed, made first if it is not there; nothing is learnt from these cells."""
        self.model = self._family(str(self.folder_of(seed))).fit(train, seed=seed)
        return self

    def loaded(self, seed: int) -> Published:
        """The family with the net of this seed, made first if it is not there."""
        self.model = self._family(str(self.folder_of(seed))).with_seed(seed)
        return self.model

    def embed(self, query: Dataset) -> CellEmbedding:
        return self.model.embed(query)

    def fit_embed(self, data: Dataset, *, seed: int) -> CellEmbedding:
        """Of families that embed all cells at once."""
        self.model = self._family(str(self.folder_of(seed)))
        return self.model.fit_embed(data, seed=seed)

    def __getattr__(self, name: str) -> Any:
        """The other verbs that the family has."""
        if name in VERBS:
            return getattr(self.model, name)
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if the net knows too few genes of the data; before the corpus is built nobody knows."""
        if self.trainings.built:
            self.drafted.match(data)

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know: how it is made and, once the corpus is built, which genes it knows and whether these cells are in it."""
        told = {"training": self.making()}
        if self.trainings.built:
            told |= {"genes": self.drafted.match(data).facts, **self.exposure(data)}
        return told

    def exposure(self, data: Dataset) -> dict[str, Any]:
        """Whether the net is trained on these cells; nothing for one that is not trained."""
        return {}

    def making(self) -> dict[str, Any]:
        """How the net is made, as plain values."""
        built = self.trainings.built
        corpus = {"cells": built.n_cells, "files": sorted(built.manifest["files"])} if built else {}
        return {"family": self.config.family, "sizes": dict(self.config.sizes), "corpus": corpus}

    def seconds_per_1000_cells(self, data: Dataset) -> float:
        """Rough estimate, for plans."""
        return float(self.drafted.seconds_per_1000_cells(data)) if self.trainings.built else self.card.seconds_per_1000_cells

    @property
    def gpu(self) -> str:
        return str(self.model.gpu)

    @cached_property
    def drafted(self) -> Any:
        """The family on the draft: it has no weights, but it knows genes and sizes."""
        return self._family(str(self.trainings.draft()))

    def _family(self, checkpoint: str) -> Any:
        family = METHODS.get(f"{self.family_prefix}{self.config.family}")
        return made(family, checkpoint, options={"device": self.device, **self.use}, owner=f"the net '{self.called}': use")


class Pretrained(Net):
    """A net that is trained as a config says, once for each seed of the study, and then used as its family is; for options see `Net`."""

    card = MethodCard(
        "pretrained",
        "a net of any family, trained for the study as a config says, anew for each seed",
        seeded=True,
        independent=True,
        trained_on=None,
        requires=("torch", "safetensors"),
        extra="models",
        gpu=True,
        seconds_per_1000_cells=5.0,
        seconds_to_start=2.0,
        licence="BSD-3-Clause",
        citation="that of its family",
    )

    def __init__(self, config: Mapping[str, Any], name: str = "net", **where: Any) -> None:
        super().__init__(config, name, **where)
        self._exposures: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def weights_key(self) -> str:
        """Of all that the weights depend on beside the seed: there may be none yet."""
        return self.trainings.key

    def folder_of(self, seed: int) -> Path:
        if not self.is_prepared(seed):
            self.prepare(seed)
        return self.trainings.place(seed) / "model"

    def is_prepared(self, seed: int) -> bool:
        """Whether the training with this seed is done."""
        return self.trainings.is_done(seed)

    def prepare(self, seed: int, tell: Callable[[Report], None] = ignore) -> None:
        """Train with this seed, or go on where that was stopped."""
        self.trainings.carry_out(seed, tell)

    def seconds_to_prepare(self) -> float:
        """Rough estimate of one training on this machine."""
        built, declared = self.trainings.built, self.trainings.declared
        n_cells = built.n_cells if built else sum(len(offer_of(file.path).obs) for file in declared.files) if declared else 0
        return seconds_of(self.config, n_cells, self.device)

    def exposure(self, data: Dataset) -> dict[str, Any]:
        key = data.fingerprint, data.gene_names_key
        if key not in self._exposures:
            self._exposures[key] = exposure_facts(data, self.trainings.corpus().folder)
        return self._exposures[key]

    def making(self) -> dict[str, Any]:
        until = {name: value for name in ENDS if (value := getattr(self.config.training, name))}
        return {**super().making(), "objective": self.config.objective, "until": until}


class UntrainedPretrained(Net):
    """The untrained twin of a net: its draft with random weights. Of its config only ``corpus`` and ``model`` count."""

    card = untrained_card(Pretrained.card)
    family_prefix = TWIN

    def __init__(self, config: Mapping[str, Any], name: str = "untrained net", **where: Any) -> None:
        super().__init__({"objective": {"name": "none"}, **config}, name, **where)

    @property
    def weights_key(self) -> str:
        return self.trainings.draft_key

    def folder_of(self, seed: int) -> Path:
        return self.trainings.draft()
