"""Tiny drafts of every family with weights, planted cells of three labels, and adaptations of the one to the others."""

from dataclasses import replace
from functools import cache
from tempfile import mkdtemp

import numpy as np
import pandas as pd
from scipy import sparse

from scrutiny.core.cards import TWIN
from scrutiny.core.dataset import from_arrays
from scrutiny.core.registry import HEADS, METHODS
from scrutiny.methods.foundation.adapted import Adapts
from scrutiny.methods.foundation.drafts import LAYOUTS, draft, save

WAYS = ("adapters", "full", "ia3", "last", "lora")
N_GENES, N_CELLS = 120, 60
SIZES = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 60, "head_width": 8}
SIZES |= {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2, "latent": 8, "clusters": 3, "protein_width": 12, "knowledge": 4}


@cache
def genes():
    names = [f"ENSG{i:011d}" for i in range(N_GENES)]
    columns = {"symbol": [f"G{i}" for i in range(N_GENES)], "ensembl_id": names, "median": np.linspace(0.5, 3.0, N_GENES)}
    return pd.DataFrame(columns, index=names)


def cells(n_cells=N_CELLS, seed=0, labels=("a", "b", "c"), shares=None, columns=None):
    """Cells whose label has its own third of the genes up; ``shares`` are those of the labels, ``columns`` more columns of obs."""
    rng = np.random.default_rng(seed)
    which = np.arange(n_cells) % len(labels) if shares is None else rng.choice(len(labels), n_cells, p=shares)
    rates = np.where(np.arange(N_GENES) % len(labels) == which[:, None], 2.0, 0.3)
    counts = sparse.csr_matrix(rng.poisson(rates), dtype=np.float32)
    obs = pd.DataFrame({"type": np.array(labels)[which], **(columns or {})}, index=[f"cell {seed}/{i}" for i in range(n_cells)])
    roles = {"label": "type", **{name: name for name in columns or {}}}
    made = from_arrays("made up", counts, obs, list(genes().index), roles=roles, organism="human")
    return replace(made, var=genes()[["symbol", "ensembl_id"]])


@cache
def folder_of(family, seed=0):
    """A folder with random weights under the official names."""
    folder = f"{mkdtemp()}/{family}"
    draft(family, folder, genes=genes(), sizes={name: size for name, size in SIZES.items() if name in LAYOUTS[family].sizes})
    save(METHODS.get(f"{TWIN}{family}")(folder, device="cpu").with_seed(seed))
    return folder


def adapted(family, way, runs, *, checkpoint=None, **options):
    """A tiny model of a family with a way to adapt it, four epochs by default."""
    options = {"epochs": 4, "device": "cpu", **options}
    return METHODS.get(f"{family}+{way}")(checkpoint=checkpoint or folder_of(family), adapters=str(runs), **options)


def test_all_ways_are_listed():
    assert {name for name in HEADS.names() if issubclass(HEADS.get(name), Adapts)} == set(WAYS)
