"""Trainings that a study needs, one for each seed of a config: where they are kept, found again by content, and carried out once.

Any number of processes and studies may use one folder::

    corpora/<key>/                     built from the files that a config names
    drafts/<key>/                      config and vocabulary of a family over the genes of a corpus: what untrained twins run on
    nets/<family>-<key>/seed-0/        a training, in which `pretrain` goes on where it was stopped
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from filelock import FileLock

from scrutiny.core.errors import InputError
from scrutiny.core.keys import digest_of_json
from scrutiny.data.checkpoints import record
from scrutiny.data.corpus import Corpus
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.corpus_config import CorpusConfig
from scrutiny.data.corpus_manifest import key_of
from scrutiny.data.corpus_sources import sha256_of
from scrutiny.tuning.config import Pretraining
from scrutiny.tuning.loop import Report

from .drafts import LAYOUTS, draft
from .pretraining import pretrain

VERSION = "1"
"""Rises when the same config gives other weights."""


@dataclass(frozen=True, eq=False)
class Trainings:
    """The trainings of one config and what they share.

    Attributes
    ----------
    config
        Its seed does not count: each training has its own.
    runs
        Folder that everything is kept in.
    """

    config: Pretraining
    runs: Path
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.config.family not in LAYOUTS:
            raise InputError(f"{self.config.name}: no family '{self.config.family}' can be trained; there are {', '.join(LAYOUTS)}")

    # Keys: of content alone, and known before anything is built or trained ---------------------------------------------------------

    @cached_property
    def key(self) -> str:
        """Of all that the weights depend on beside the seed."""
        told = {name: value for name, value in asdict(self.config).items() if name not in ("name", "corpus", "folder", "seed")}
        return digest_of_json([told, self.corpus_key, VERSION])

    @cached_property
    def draft_key(self) -> str:
        """Of all that the untrained net depends on beside the seed."""
        return digest_of_json([self.config.family, dict(self.config.sizes), self.corpus_key])

    @cached_property
    def corpus_key(self) -> str:
        declared = self.declared
        if declared is None:
            return str(self.corpus().manifest["key"])
        files = (*declared.files, *declared.hold_out_cells_of)
        return key_of(declared, {file.name: _digest_of(file.path) for file in files})

    # Corpus and draft ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def declared(self) -> CorpusConfig | None:
        """The corpus as the config declares it; None where it names the folder of a finished one."""
        if "folder" in self.config.corpus:
            return None
        return CorpusConfig.from_fields(self.config.corpus, self.config.folder, self.config.name)

    @property
    def built(self) -> Corpus | None:
        """The corpus, if it is there."""
        if self.declared is None:
            return self.corpus()
        folder = self.runs / "corpora" / self.corpus_key
        return Corpus(folder) if folder.is_dir() else None

    def corpus(self) -> Corpus:
        """The corpus, built first if it is not there. Raises InputError if it cannot be."""
        if self.declared is None:
            return Corpus(self.config.folder / str(self.config.corpus["folder"]))
        return self.built or build_corpus(self.declared, self.runs / "corpora" / self.corpus_key)

    def draft(self) -> Path:
        """Folder of the draft that all trainings begin with, made first if it is not there."""
        folder = self.runs / "drafts" / self.draft_key
        with _locked(folder):
            if not record(folder):
                shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed at it
                draft(self.config.family, folder, genes=self.corpus().genes, sizes=self.config.sizes)
        return folder

    # Trainings ----------------------------------------------------------------------------------------------------------------------

    def place(self, seed: int) -> Path:
        """Folder of a training; its model lies in ``model``."""
        return self.runs / "nets" / f"{self.config.family}-{self.key}" / f"seed-{seed}"

    def is_done(self, seed: int) -> bool:
        return "trained" in record(self.place(seed) / "model")

    def carry_out(self, seed: int, tell: Callable[[Report], None]) -> None:
        """Train, or go on; another process that is at it is waited for. Raises InputError if something in the config cannot be."""
        place, corpus = self.place(seed), self.corpus()
        with _locked(place):
            pretrain(replace(self.config, seed=seed), place, corpus=corpus, device=self.device, tell=tell)


def _locked(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _digest_of(path: Path) -> str:
    """SHA-256 of a file or folder, read once in a process as long as it does not change."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if not path.exists():
        raise InputError(f"there is no file {path}")
    return _digest(path, tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@cache
def _digest(path: Path, stamps: tuple[tuple[int, int], ...]) -> str:
    return sha256_of(path)
