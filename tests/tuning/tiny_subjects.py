"""Tiny nets of every family that can be trained, over made-up cells of two kinds, as subjects of objectives."""

from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scrutiny.core.cards import TWIN
from scrutiny.core.dataset import from_arrays
from scrutiny.core.registry import METHODS
from scrutiny.methods.foundation.drafts import LAYOUTS, draft
from scrutiny.methods.foundation.subjects import cells_of, in_training, subject_of
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.objective import start
from scrutiny.tuning.objectives.table import objective

N_GENES, N_CELLS = 110, 8
SIZES = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "context": 60, "head_width": 8}
SIZES |= {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2, "latent": 8, "clusters": 3, "protein_width": 12, "knowledge": 4}


@cache
def genes():
    names = [f"ENSG{i:011d}" for i in range(N_GENES)]
    columns = {"symbol": [f"G{i}" for i in range(N_GENES)], "ensembl_id": names, "median": np.linspace(0.5, 3.0, N_GENES)}
    return pd.DataFrame(columns, index=names)


@cache
def data():
    """Cells in turn of two kinds, which have the first or the last half of the genes."""
    rng = np.random.default_rng(0)
    rates = np.where((np.arange(N_GENES) < N_GENES // 2) == (np.arange(N_CELLS) % 2 == 0)[:, None], 1.5, 0.1)
    counts = sparse.csr_matrix(rng.poisson(rates), dtype=np.float32)
    obs = pd.DataFrame(index=[f"cell_{i}" for i in range(N_CELLS)])
    made = from_arrays("made up", counts, obs, list(genes().index), organism="human")
    return replace(made, var=genes()[["symbol", "ensembl_id"]])


def model_of(family, seed=0, **more):
    """The untrained twin, with weights drawn by the seed."""
    sizes = {name: size for name, size in {**SIZES, **more}.items() if name in LAYOUTS[family].sizes}
    with TemporaryDirectory() as folder:
        draft(family, f"{folder}/draft", genes=genes(), sizes=sizes)
        options = in_training(family, {**SIZES, **more})
        model = METHODS.get(f"{TWIN}{family}")(f"{folder}/draft", device="cpu", **options).with_seed(seed)
        model.net.requires_grad_(True).train()
        return model


def trainee(family, name, *, options=None, seed=0, **more):
    """A subject and its objective, and the cells."""
    model = model_of(family, seed, **more)
    subject = subject_of(model, model.match(data()))
    return subject, start(lambda: objective(name, subject, options or {}), subject, seed).train(), cells_of(model, data())


def drawn(subject, made, cells, seed=0):
    """The batch of all cells that an objective draws."""
    return batch_of(made.draw(cells, subject, np.random.default_rng(seed)))


def learn(subject, made, batch, steps=30, rate=3e-3):
    """Losses in some steps of Adam on one batch, or on the one that each call of ``batch`` gives."""
    parameters = [p for module in (subject.net, made) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, rate)
    losses = []
    for _ in range(steps):
        loss = made(subject, batch() if callable(batch) else batch).total
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        made.after_step(subject, 0.5)
        losses.append(float(loss.detach()))
    return losses
