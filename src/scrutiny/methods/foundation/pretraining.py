"""Pretraining from a config to a model: corpus, draft of the family, training, and the weights in the official layout.

``out`` gets ``corpus/`` (unless the config names one), ``model/`` (what the family loads), ``log.csv``, and while it is under way
``snapshots/``, from which the same call goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from scrutiny.core.cards import TWIN
from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.core.registry import METHODS
from scrutiny.data.checkpoints import RECORD
from scrutiny.data.corpus import Corpus
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.corpus_config import CorpusConfig
from scrutiny.nets.inference import device_of
from scrutiny.nets.tokens import Tokens
from scrutiny.tuning.config import Pretraining
from scrutiny.tuning.distributed import World, joined, launch
from scrutiny.tuning.feed import Feed
from scrutiny.tuning.loop import Report, State, Trainer
from scrutiny.tuning.objective import Objective, start
from scrutiny.tuning.objectives.table import known_objective, objective
from scrutiny.tuning.subject import Cells, Subject

from .drafts import LAYOUTS, draft, save
from .model import Published
from .subjects import cells_of, in_training, subject_of

VALIDATION_CELLS = 1_024
"""Held-out cells that a validation scores at most; the same ones each time."""
VALIDATION_BATCH = 32
"""Cells of a batch of validation."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}


def ignore(report: Report) -> None:
    """Take no notice of how far a training is."""


def check(config: Pretraining) -> None:
    """Raise InputError for what can be told to be wrong without a cell."""
    if config.family not in LAYOUTS:
        raise InputError(f"{config.name}: no family '{config.family}' can be trained; there are {', '.join(LAYOUTS)}")
    LAYOUTS[config.family].complete(config.family, config.sizes)
    known_objective(config.objective)
    if config.weights not in DTYPES:
        raise InputError(f"weights is '{config.weights}'; expected one of {', '.join(DTYPES)}")


def corpus_of(config: Pretraining, out: Path, tell: Callable[..., None] = lambda *_: None) -> Corpus:
    """The corpus that a config names, or the one that it declares, built in ``out`` unless it is there already.

    Raises
    ------
    InputError
        If there is no such family, size or objective, before anything is read; or as `build_corpus`.
    """
    check(config)
    table = dict(config.corpus)
    if (folder := table.pop("folder", None)) is not None:
        if table:
            raise InputError(f"[corpus] names the folder of a finished corpus, and {sorted(table)} beside it; keep one of the two")
        return Corpus(config.folder / str(folder))
    return build_corpus(CorpusConfig.from_fields(table, config.folder, config.name), out / "corpus", tell=tell)


def pretrain(
    config: Pretraining,
    out: Path,
    *,
    corpus: Corpus | None = None,
    device: str = "auto",
    processes: int = 1,
    tell: Callable[[Report], None] = ignore,
) -> Path:
    """Train a model as a config says, or go on where it was stopped, and return its folder; one that is finished is left as it is.

    Parameters
    ----------
    corpus
        Where it is at hand already; None: `corpus_of` the config.
    processes
        That train together on this machine; to train on several machines start one each with ``torchrun``.

    Raises
    ------
    InputError
        If something in the config cannot be, ``out`` holds a training with another one, or somebody else trains there now.
    """
    corpus = corpus or corpus_of(config, out)
    if processes == 1:
        return _train(config, out, corpus.folder, device, tell)
    return launch(partial(_train, config, out, corpus.folder, device), processes, tell)


def _train(config: Pretraining, out: Path, corpus: Path, device: str, tell: Callable[[Report], None]) -> Path:
    """What each of the processes does that train together."""
    with joined(device_of(device)) as world, _alone(out) if world.is_first else nullcontext():
        work = Work(config, out, Corpus(corpus), world)
        if world.is_first:
            work.prepare()
        world.wait()
        if not work.is_done:
            trainer = work.trainer(tell)
            state = trainer.run()
            if world.is_first:
                work.finish(state, trainer)
        world.wait()
    return work.model_folder


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep others from training in the same folder at the same time."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"somebody else trains in {out} now; wait, or name another folder") from None


class Work:
    """One pretraining: what it is made of, each part made when it is needed."""

    def __init__(self, config: Pretraining, out: Path, corpus: Corpus, world: World) -> None:
        check(config)
        self.config, self.out, self.corpus, self.world = config, out, corpus, world
        self.model_folder = out / "model"

    def prepare(self) -> None:
        """Write the draft, unless it is there; all else can then be done by several processes."""
        if not self.record():
            draft(self.config.family, self.model_folder, genes=self.corpus.genes, sizes=self.config.sizes)

    @cached_property
    def key(self) -> str:
        """Of all that the weights depend on."""
        told = {name: value for name, value in asdict(self.config).items() if name not in ("name", "corpus", "folder")}
        return digest_of_json([told, self.corpus.manifest["key"]])

    @property
    def is_done(self) -> bool:
        """Whether the model is there. Raises InputError if it is another one."""
        record = self.record()
        if not record or record["draft"]:
            return False
        if record["trained"]["key"] != self.key:
            raise InputError(f"{self.model_folder} holds a model that was trained with another config or corpus; name another folder")
        return True

    def record(self) -> dict[str, Any]:
        """What the folder of the model says of it; empty where there is none."""
        path = self.model_folder / RECORD
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    @cached_property
    def model(self) -> Published:
        """The family with the weights that training starts from."""
        family = METHODS.get(f"{TWIN}{self.config.family}")
        options = in_training(self.config.family, self.record()["sizes"])
        return family(str(self.model_folder), device=str(self.world.device), **options).with_seed(self.config.seed)

    @cached_property
    def subject(self) -> Subject:
        return subject_of(self.model, self.model.match(self.corpus.read(self.corpus.train[0])))

    @cached_property
    def objective(self) -> Objective:
        config = self.config
        made = start(lambda: objective(config.objective, self.subject, config.options, config.folder), self.subject, config.seed)
        if made.reads_labels and (self.corpus.read(self.corpus.train[0]).obs["ontology"] == "").all():
            found = f"the objective '{made.name}' learns from Cell Ontology terms, and no cell in the first shard of the corpus has one"
            raise InputError(f"{found}; build it from files with a column cell_type_ontology_term_id, or name theirs with 'ontology'")
        return made

    def trainer(self, tell: Callable[[Report], None]) -> Trainer:
        training, corpus = self.config.training, self.corpus
        feed = Feed(
            len(corpus.train),
            lambda shard: cells_of(self.model, corpus.read(corpus.train[shard])),
            self.draw,
            training.tokens_per_batch,
            self.config.seed,
            views=self.objective.views,
            batches_per_step=training.accumulate,
            rank=self.world.rank,
            world=self.world.size,
        )
        return Trainer(
            self.subject,
            self.objective,
            feed,
            n_cells=corpus.manifest["cells"]["train"],
            validation=self.validation,
            training=training,
            folder=self.out,
            key=self.key,
            device=self.world.device,
            tell=tell,
        )

    def draw(self, cells: Cells, rng: np.random.Generator) -> Tokens:
        """Tokens of some cells as the objective draws them; draws that the family makes by cell id are other ones each time."""
        number = rng.integers(1 << 62)
        return self.objective.draw(cells._replace(ids=np.array([f"{cell}/{number}" for cell in cells.ids])), self.subject, rng)

    def validation(self) -> Iterator[Tokens]:
        """Batches of the held-out cells, the same at each call."""
        left = VALIDATION_CELLS
        for number, shard in enumerate(self.corpus.validation):
            cells = cells_of(self.model, self.corpus.read(shard))
            cells = cells.take(np.arange(min(cells.n_cells, left)))
            left -= cells.n_cells
            for begin in range(0, cells.n_cells, VALIDATION_BATCH):
                rows = np.arange(begin, min(begin + VALIDATION_BATCH, cells.n_cells))
                yield self.draw(cells.take(rows), np.random.default_rng([self.config.seed, number, begin]))
            if not left:
                return

    def finish(self, state: State, trainer: Trainer) -> None:
        """Write weights, where they come from, and last the record that says that the model is done."""
        trainer.subject.net.eval()
        save(self.model, dtype=DTYPES[self.config.weights])
        self.corpus.carry_to(self.model_folder)
        shutil.copyfile(trainer.log.path, self.model_folder / trainer.log.path.name)
        record = {**self.record(), "draft": False, "trained": {**self.trained(state, trainer.log.rows[-1]), "untrained": trainer.untrained}}
        part = self.model_folder / f".{RECORD}.part"
        part.write_text(json.dumps(record, indent=1), "utf-8")
        part.replace(self.model_folder / RECORD)
        trainer.snapshots.remove()

    def trained(self, state: State, last: Mapping[str, float]) -> dict[str, Any]:
        """How the model was trained, as plain values."""
        config = self.config
        return {
            "name": config.name,
            "key": self.key,
            "corpus": self.corpus.manifest["key"],
            "n_cells": self.corpus.manifest["cells"]["train"],
            "objective": {"name": config.objective, **config.options},
            "reads_labels": self.objective.reads_labels,
            "training": asdict(config.training),
            "seed": config.seed,
            "steps": state.step,
            "cells_shown": state.cells,
            "teraflops": state.flops / 1e12,
            "seconds": round(state.seconds, 1),
            "validation": last["validation"],
            "device": torch.cuda.get_device_name(self.world.device) if self.world.device.type == "cuda" else self.world.device.type,
            "processes": self.world.size,
            "versions": {name: version(name) for name in ("scrutiny", "torch", "numpy")},
        }
