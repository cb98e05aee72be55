"""One embedding of all cells of a data set, outside any study: for people who want to take the winner home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from scrutiny.core.cards import TaskCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.data.read import from_anndata, read

from .applies import obstacle
from .claims import Claims, Owner
from .embedding import Chosen, Request, recorded_options
from .meter import Meter
from .provenance import library_versions, module_versions
from .shards import ShardedEmbedding, Shards
from .spread import Progress, Stint, Tell, ask, devices_of, embed_by_workers, embed_here
from .store import Store
from .study import Workers

ASKED = TaskCard("embed", "an embedding of all cells", asks="embed", metrics=(), primary="", query_visible=True)


def ignore(progress: Progress) -> None:
    """Take no notice of how far an embedding is."""


def go_on(asked: Request) -> None:
    """Have nothing to say before it begins."""


def embed(
    data: Any,
    method: str,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    on_progress: Tell = ignore,
    **workers: Any,
) -> CellEmbedding:
    """Embed all cells as a study would: the labels hidden, fitted on the same cells.

    Parameters
    ----------
    data
        A Dataset, an AnnData object or a path; never written into. Methods that read the batch need a Dataset that has this role, e.g.
        ``scrutiny.read(path, roles={"batch": "donor"})``.
    method
        Name of a method (``scrutiny list methods``); ``options`` are those of its constructor.
    folder, on_progress, workers
        See `embedded`; ``workers`` are fields of `Workers`: ``jobs``, ``engine``, ``scheduler`` ...

    Returns
    -------
    CellEmbedding
        values (n_cells, n_dims) float32 in the order of the data.

    Raises
    ------
    NotApplicable
        If the method does not fit the data; the message says why.
    InputError
        If the cells are something else, or there is no such method, option or argument.
    """
    for name in workers.keys() - {field.name for field in fields(Workers)}:
        raise InputError(f"embed has no argument '{name}'; an option of the method is given as options={{\"{name}\": ...}}")
    data = _read(data)
    place = Path(folder) if folder is not None else None
    with embedded(data, Chosen(method, options or {}), seed=seed, folder=place, tell=on_progress, workers=Workers(**workers)) as made:
        return made.vectors if isinstance(made.vectors, CellEmbedding) else made.vectors.whole()


class Embedded(NamedTuple):
    """Vectors of all cells, and what was asked for."""

    vectors: CellEmbedding | ShardedEmbedding
    asked: Request

    def about(self) -> dict[str, str]:
        """How they were made, in words that stay true on another machine."""
        asked, card = self.asked, self.asked.card
        versions = {**library_versions(), **module_versions(card.requires)}
        about = {
            "method": card.name,
            "version": card.version,
            "options": json.dumps(recorded_options(asked.chosen, asked.method)),
            "seed": str(asked.seed),
            "made_by": f"scrutiny {versions['scrutiny']}",
            "libraries": json.dumps(versions),
        }
        facts = asked.method.facts(asked.query) if hasattr(asked.method, "facts") else {}
        return {**about, **{name: json.dumps(fact) for name, fact in facts.items()}}


@contextmanager
def embedded(
    data: Dataset,
    chosen: Chosen,
    *,
    seed: int = 0,
    folder: Path | None = None,
    tell: Tell = ignore,
    ready: Callable[[Request], None] = go_on,
    workers: Workers = Workers(),  # noqa: B008 - frozen
) -> Iterator[Embedded]:
    """All cells embedded, for as long as the context lasts.

    Parameters
    ----------
    chosen
        Its option ``device`` may name several ("cuda:0,cuda:1"): each then has a process of its own.
    folder
        For methods that embed each cell by itself (``independent``): where finished shards of the cells are kept, so that the same call
        goes on where it was stopped and several may share the work. It must be used for nothing else; what is in it is removed when the
        context is left without an error. None: all cells in one piece, in this process.
    tell
        Called with each `Progress`.
    ready
        Called once with what is asked for, when all checks have passed and before anything is embedded.

    Raises
    ------
    NotApplicable
        If the method does not fit the data; the message says why.
    InputError
        If several workers are asked for and there is nothing that they could share.
    StoreError
        If the folder cannot be written; what was finished before is kept.
    """
    is_spread = workers.engine == "dask" or workers.jobs > 1 or len(devices_of(chosen.options)) > 1
    asked = _applicable(data, _on_one_device(chosen), seed)
    if not asked.card.independent or folder is None:
        if is_spread:
            name = asked.card.name
            why = "without a folder for finished shards" if asked.card.independent else f"by {name}, which looks at all of them at once"
            raise InputError(f"cells cannot be embedded by several workers or on several devices {why}; take one of them")
        ready(asked)
        output = asked.make(Meter(alone=False)).output
        assert isinstance(output, CellEmbedding)
        yield Embedded(output, asked)
        return
    with _shared(folder) as store:
        shards = Shards(store.cache, asked.key, data.n_cells)
        shards.check()
        ready(asked)
        if is_spread:
            stint = Stint(data.name, chosen.name, chosen.options, seed, (), gpu=asked.card.gpu, key=asked.key)
            embed_by_workers(stint, data, shards, workers, tell)
        else:
            embed_here(asked, shards, store.claims, tell)
        yield Embedded(ShardedEmbedding(shards, data.cell_ids), asked)


def _read(cells: Any) -> Dataset:
    if isinstance(cells, Dataset):
        return cells
    return read(cells) if isinstance(cells, str | Path) else from_anndata(cells)


def _on_one_device(chosen: Chosen) -> Chosen:
    devices = devices_of(chosen.options)
    return replace(chosen, options={**chosen.options, "device": devices[0]}) if devices else chosen


def _applicable(data: Dataset, chosen: Chosen, seed: int) -> Request:
    found = obstacle(chosen.make(), ASKED, data)
    if found is not None:
        raise NotApplicable(found)
    return ask(data, chosen, seed)


@contextmanager
def _shared(folder: Path) -> Iterator[Store]:
    """A folder of shards that other processes may use too; the last one that leaves it without an error takes its content away."""
    store, users, owner = Store(folder), Claims(folder / "users"), Owner.this_process()
    store.check_writable()
    for claims in (users, store.claims):
        claims.forget_dead()
    mine = users.take(f"{owner.host}-{owner.pid}", owner)
    try:
        yield store
        if not users.anyone(besides=owner):
            store.clean_cache()
    finally:
        users.withdraw(mine)
        for place in (users.folder, store.claims.folder, store.cache.folder, folder):
            with suppress(OSError):  # not empty, or never made
                place.rmdir()
