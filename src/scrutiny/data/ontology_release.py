"""The official release of the Cell Ontology: fetching it once, and finding it again."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import platformdirs

from scrutiny.core.errors import InputError
from scrutiny.core.ontology import Ontology

from .download import Remote, download
from .ontology import read_ontology

URL = "http://purl.obolibrary.org/obo/cl/cl-basic.obo"
"""Its makers let this name follow the newest release. The basic file has the terms of the Cell Ontology and their relations alone."""
NAME = "cl-basic.obo"
OTHERWISE = "or name a file with --ontology FILE"


def ontology_folder() -> Path:
    """Where the release is kept unless a folder is named: the user's cache, under ``scrutiny/ontology``."""
    return platformdirs.user_cache_path("scrutiny") / "ontology"


def fetch_ontology(folder: Path | None = None, *, url: str = URL, anew: bool = False, progress: bool = False) -> Path:
    """The official file, as it lies in ``folder`` or downloaded; the checksum of the first download binds.

    Parameters
    ----------
    anew
        Take the newest release, whatever lies there; what lay there stays if that fails.

    Raises
    ------
    InputError
        If the server cannot be reached or refuses, what comes is no ontology, or the folder cannot be written to.
    """
    folder = folder or ontology_folder()
    if not anew and (folder / NAME).is_file():
        return folder / NAME
    arriving = folder / "arriving"
    path = download(Remote(NAME, url), arriving, progress=progress, otherwise=OTHERWISE)
    try:
        read_ontology(path)
    except InputError:
        _remove(arriving)
        raise
    path.replace(folder / NAME)
    _remove(arriving)
    return folder / NAME


def fetched_ontology(folder: Path | None = None) -> Ontology | None:
    """The release that was fetched, None where none was."""
    path = (folder or ontology_folder()) / NAME
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=2)
def _read(path: Path, changed: int) -> Ontology:
    """Read once: a study of many data sets has one ontology."""
    return read_ontology(path)


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
