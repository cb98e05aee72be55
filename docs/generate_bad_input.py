"""Make each kind of bad input, see what scrutiny says, and write it down in BAD_INPUT.md.

python docs/generate_bad_input.py
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import pandas as pd

from scrutiny.core.errors import ScrutinyError
from scrutiny.data.read import read
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.sources import Source
from scrutiny.engine.study import Study

PAGE = Path(__file__).with_name("BAD_INPUT.md")
HEAD = """# Bad input and what is said of it

Nothing is guessed silently. What stops a run is said in one line (exit code 2); what makes a method, task or metric inapplicable is
recorded with its reason and the rest goes on; what was changed on the way in is told in the notes of the data set; what bears on the
conclusion (batch and label confounded, tiny labels) is a finding of the report. This page is made by `docs/generate_bad_input.py`, which
makes each input and writes down what came back.
"""
METHODS = ("hvg_pca", "harmony", "scvi", Chosen("precomputed", {"key": "X_mine"}))


class Case(NamedTuple):
    """A kind of bad input, and what makes it of a good one (``adata``, 60 cells) in a folder."""

    name: str
    spoil: Callable[[anndata.AnnData, Path], Path]
    labels: tuple[str, ...] = ("cell_type",)
    batch: str | None = "donor"
    options: dict[str, Any] = {}


def good() -> anndata.AnnData:
    data = planted(n_cells=60, n_genes=40)
    label, batch = data.role("label"), data.role("batch")
    adata = anndata.AnnData(data.values, obs=pd.DataFrame({"cell_type": label, "donor": batch}, index=data.cell_ids))
    adata.var_names = data.genes
    adata.obsm["X_mine"] = np.zeros((60, 2), np.float32)
    return adata


def written(change: Callable[[anndata.AnnData], Any]) -> Callable[[anndata.AnnData, Path], Path]:
    """A case that is an h5ad file after ``change`` was made to the object."""

    def spoil(adata: anndata.AnnData, folder: Path) -> Path:
        changed = change(adata)
        path = folder / "cells.h5ad"
        (changed if isinstance(changed, anndata.AnnData) else adata).write_h5ad(path)
        return path

    return spoil


def cut(share: float) -> Callable[[anndata.AnnData, Path], Path]:
    def spoil(adata: anndata.AnnData, folder: Path) -> Path:
        path = written(lambda a: None)(adata, folder)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return spoil


def text_file(adata: anndata.AnnData, folder: Path) -> Path:
    path = folder / "cells.h5ad"
    path.write_text("cell,gene\n")
    return path


def set_x(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[anndata.AnnData, Path], Path]:
    return written(lambda a: setattr(a, "X", function(a.X.toarray()).astype(np.float32)))


def put(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values[row, 0] = value
    return values


def set_obs(column: str, values: Callable[[anndata.AnnData], Any]) -> Callable[[anndata.AnnData, Path], Path]:
    return written(lambda a: a.obs.__setitem__(column, values(a)))


def renamed(names: Callable[[anndata.AnnData], Any], axis: str) -> Callable[[anndata.AnnData, Path], Path]:
    return written(lambda a: setattr(a, axis, names(a)))


def some_missing(adata: anndata.AnnData) -> pd.Series:
    return adata.obs["cell_type"].astype(object).where(np.arange(60) > 9)


def one_unused(adata: anndata.AnnData) -> pd.Series:
    return adata.obs["cell_type"].astype("category").cat.add_categories(["unseen"])


CASES = (
    Case("no such file", lambda a, folder: folder / "cels.h5ad"),
    Case("an empty file", lambda a, folder: (folder / "cells.h5ad", (folder / "cells.h5ad").touch())[0]),
    Case("a truncated file", cut(0.6)),
    Case("a text file under the name of an h5ad", text_file),
    Case("a misspelt label column", written(lambda a: None), labels=("Cell_typ",)),
    Case("a misspelt batch column", written(lambda a: None), batch="doner"),
    Case("duplicate cell ids", renamed(lambda a: ["c"] * 60, "obs_names")),
    Case("duplicate gene ids", renamed(lambda a: ["g"] * 40, "var_names")),
    Case("negative values, counts declared", set_x(lambda x: put(x, 0, -1)), options={"scale": "counts"}),
    Case("negative values, nothing declared", set_x(lambda x: x - x.mean())),
    Case("NaN among the values", set_x(lambda x: put(x, 3, np.nan))),
    Case("values that are no whole numbers, counts declared", set_x(lambda x: x * 0.3), options={"scale": "counts"}),
    Case("logged values, counts declared", set_x(np.log1p), options={"scale": "counts"}),
    Case("logged values, nothing declared", set_x(np.log1p)),
    Case("cells without any count", set_x(lambda x: x * (np.arange(60) > 4)[:, None])),
    Case("genes without any count", set_x(lambda x: x * (np.arange(40) > 4))),
    Case("one batch", set_obs("donor", lambda a: "d1")),
    Case("one label", set_obs("cell_type", lambda a: "T")),
    Case("a label with one cell", set_obs("cell_type", lambda a: ["lonely", *a.obs["cell_type"].astype(str)[1:]])),
    Case("fewer cells than can be judged", written(lambda a: a[:12].copy())),
    Case("labels that are missing for some cells", set_obs("cell_type", some_missing)),
    Case("categories that no cell has", set_obs("cell_type", one_unused)),
    Case("batches coded as integers", set_obs("donor", lambda a: np.arange(60) % 3)),
    Case("batch and label are the same", set_obs("donor", lambda a: "of " + a.obs["cell_type"].astype(str))),
)


def rows() -> Iterator[str]:
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            yield f"| {case.name} | {outcome(case, Path(name)).replace(name, 'FOLDER').replace('|', '/')} |"


def outcome(case: Case, folder: Path) -> str:
    """The error, or else the notes of the data and the reasons of what does not apply."""
    try:
        path = case.spoil(good(), folder)
        roles = {"batch": case.batch} if case.batch else {}
        study = Study((Source(path, labels=case.labels, roles=roles, **case.options),), METHODS)
        data, plan = study.grid.datasets[0].data, study.plan(folder / "out")
    except ScrutinyError as error:
        return f"**refused:** {error}"
    plain_notes = set(read_notes(good(), folder))
    told = [f"*note:* {note}" for note in data.notes if note not in plain_notes]
    reasons = dict.fromkeys(run.reason for run in plan.runs if run.reason and run.reason not in USUAL)
    return "<br>".join([*told, *(f"*not applicable:* {reason}" for reason in reasons)]) or "taken as it is"


def read_notes(adata: anndata.AnnData, folder: Path) -> tuple[str, ...]:
    path = folder / "good" / "cells.h5ad"
    path.parent.mkdir(exist_ok=True)
    adata.write_h5ad(path)
    return read(path).notes


USUAL = {"harmony embeds all cells at once; in label_transfer the query must stay unseen"}


def page() -> str:
    return "\n".join([HEAD, "| input | what is said |", "|---|---|", *rows(), ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
