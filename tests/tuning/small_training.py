"""A training of a tiny net over made-up shards: here, or in a process that can be killed."""

from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from tiny_subjects import N_GENES, trainee

from scrutiny.tuning.feed import Feed
from scrutiny.tuning.loop import Trainer
from scrutiny.tuning.schedule import Training
from scrutiny.tuning.subject import Cells

N_SHARDS, N_CELLS = 3, 20
"""Shards, and cells of each."""


def made_up_cells(number, n_cells=N_CELLS, n_genes=N_GENES):
    """The cells of a shard: each expresses its own share of the genes."""
    rng = np.random.default_rng([7, number])
    counts = rng.poisson(2.0, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < rng.uniform(0.05, 0.5, (n_cells, 1)))
    counts[:, 0] = 1
    ids = np.array([f"{number}/{i}" for i in range(n_cells)])
    unknown = np.full(n_cells, "")
    return Cells(sparse.csr_matrix(counts, dtype=np.float32), counts.sum(1).astype(float), ids, unknown, unknown)


def small_trainer(
    folder, *, family="geneformer", objective="masked_rank", options=None, rank=0, world=1, tell=lambda report: None, **training
):
    """A trainer of a net of width 16; ``training`` is the table [training]."""
    subject, made, _ = trainee(family, objective, options=options)
    table = Training(**{"steps": 12, "tokens_per_batch": 300, "validate": 4, "snapshot_seconds": 0.0, "learning_rate": 1e-2, **training})

    def draw(cells, rng):
        return made.draw(cells, subject, rng)

    feed = Feed(N_SHARDS, made_up_cells, draw, table.tokens_per_batch, 0, views=made.views, batches_per_step=table.accumulate * world)
    held_out = made_up_cells(N_SHARDS)
    return Trainer(
        subject,
        made,
        feed if world == 1 else Feed(**{**vars(feed), "rank": rank, "world": world}),
        n_cells=N_SHARDS * N_CELLS,
        validation=lambda: (draw(held_out.take(np.arange(i, i + 10)), np.random.default_rng(i)) for i in (0, 10)),
        training=table,
        folder=Path(folder),
        key="small",
        device=torch.device("cpu"),
        tell=tell,
    )


def train(folder, **options):
    """A training from beginning, or from its last snapshot, to end, on one thread."""
    torch.set_num_threads(1)
    small_trainer(folder, **options).run()
