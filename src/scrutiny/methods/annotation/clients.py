"""Clients: who is asked for the name of a cell type. Answers are untrusted text; a key is read where it is used, and never kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from scrutiny.core.atomic import write_atomic
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.keys import digest_of_json
from scrutiny.core.options import made
from scrutiny.core.registry import CLIENTS


class Client(Protocol):
    """Answers questions. Packages add theirs as entry points of the group ``scrutiny.clients``."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON of what the answers depend on: the model, where it is asked, a digest of what was recorded. No secrets."""
        ...

    def check_ready(self) -> None:
        """Raise NotApplicable if it cannot be asked here, with what to do; nothing is sent."""
        ...

    def ask(self, prompt: str, *, sample: int) -> str:
        """The answer to a prompt; ``sample`` counts from 0 where one prompt is asked several times."""
        ...


def client_of(name: str, options: Mapping[str, Any]) -> Client:
    """A client by its name, or by "module:Class". Raises InputError if there is none or an option is not one of its own."""
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the client '{name}' cannot be loaded: {error}") from error
    else:
        found = CLIENTS.get(name)
    if not (isinstance(found, type) and hasattr(found, "ask") and hasattr(found, "check_ready")):
        raise InputError(f"'{name}' is no client: expected a class with 'identity', 'check_ready' and 'ask'")
    return made(found, options=options, owner=f"the client '{name}'")


def key_of(prompt: str, sample: int) -> str:
    """Under which an answer is recorded."""
    return digest_of_json([prompt, sample])


class Recorded:
    """Answers from a JSON file, for tests and for doing a study again; with ``source``, another client is asked what is not there yet.

    Parameters
    ----------
    file
        ``{"answers": {key: {"prompt": ..., "sample": ..., "answer": ...}}}``.
    source, source_options
        The client whose answers are recorded; "": none, and a prompt that is not in the file is an error.
    """

    def __init__(self, file: str = "", source: str = "", source_options: Mapping[str, Any] | None = None) -> None:
        if not file:
            raise InputError("the client 'recorded' needs the option 'file', the JSON file of its answers")
        self.file = Path(file)
        self._source = client_of(source, source_options or {}) if source else None

    @property
    def identity(self) -> Mapping[str, Any]:
        if self._source is not None:
            return self._source.identity
        return {"recorded": digest_of_json(self._answers())} if self.file.exists() else {}

    def check_ready(self) -> None:
        if self._source is not None:
            self._source.check_ready()
        elif not self.file.exists():
            raise NotApplicable(f"there are no recorded answers in {self.file}; record them with the option 'source'")

    def ask(self, prompt: str, *, sample: int) -> str:
        answers = self._answers()
        key = key_of(prompt, sample)
        if key in answers:
            return str(answers[key]["answer"])
        if self._source is None:
            raise InputError(f"{self.file} has no answer to the prompt (sample {sample}) that begins '{prompt[:80]}'; record it again")
        return self._kept(key, {"prompt": prompt, "sample": sample, "answer": self._source.ask(prompt, sample=sample)})

    def _kept(self, key: str, entry: Mapping[str, Any]) -> str:
        """The answer that is in the file from now on: ours, or the one that another process wrote before us."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_name(f".{self.file.name}.lock")):
            answers = {key: entry, **self._answers()}
            content = json.dumps({"answers": answers}, indent=1, sort_keys=True).encode()
            write_atomic(self.file, lambda file: file.write(content))
        return str(answers[key]["answer"])

    def _answers(self) -> dict[str, dict[str, Any]]:
        if not self.file.exists():
            return {}
        try:
            answers = json.loads(self.file.read_text(encoding="utf-8"))["answers"]
            if not isinstance(answers, dict) or not all(isinstance(entry.get("answer"), str) for entry in answers.values()):
                raise TypeError("no table of answers")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.file} holds no recorded answers ({error})") from error
        return answers
