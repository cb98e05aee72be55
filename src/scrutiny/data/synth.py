"""Small made-up data sets whose truth is known: for tests, contracts and examples, never for conclusions about cells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scrutiny.core.dataset import Dataset, from_arrays
from scrutiny.core.ontology import LabelTerms

from .ontology import ontology_of


def planted(
    n_cells: int = 240,
    n_genes: int = 120,
    *,
    n_labels: int = 3,
    n_batches: int = 2,
    label_effect: float = 1.0,
    batch_effect: float = 0.5,
    depth: float = 1000.0,
    seed: int = 0,
) -> Dataset:
    """Counts with planted labels and batches, every label equally often in every batch.

    Cell ``i`` has rate ``depth_i * softmax(base + label_effect * L[label_i] + batch_effect * B[batch_i])`` over the genes, with all
    entries of ``base``, ``L`` and ``B`` standard normal, and its counts are Poisson. Depth is log-normal (sd 0.3) around ``depth``.

    Parameters
    ----------
    label_effect, batch_effect
        Standard deviation of the effects on the log of the rates; 0 plants none, 1 is plain to see.
    depth
        Median of the expected counts of a cell.

    Returns
    -------
    Dataset
        Roles ``label`` (column ``cell_type``) and ``batch`` (column ``batch``), scale counts, organism "unknown".
    """
    rng = np.random.default_rng([seed, n_cells, n_genes])
    order = rng.permutation(n_cells)
    labels, batches = order % n_labels, (order // n_labels) % n_batches
    base = rng.standard_normal(n_genes)
    log_rates = (
        base
        + label_effect * rng.standard_normal((n_labels, n_genes))[labels]
        + batch_effect * rng.standard_normal((n_batches, n_genes))[batches]
    )
    rates = np.exp(log_rates)
    depths = depth * rng.lognormal(0.0, 0.3, (n_cells, 1))
    counts = rng.poisson(depths * rates / rates.sum(axis=1, keepdims=True))
    obs = pd.DataFrame(
        {"cell_type": [f"type_{k}" for k in labels], "batch": [f"batch_{k}" for k in batches]},
        index=[f"cell_{i:05d}" for i in range(n_cells)],
    )
    what = f"{n_labels} labels (effect {label_effect:g}) and {n_batches} batches (effect {batch_effect:g}), seed {seed}"
    return from_arrays(
        "planted",
        counts,
        obs,
        [f"gene_{j:05d}" for j in range(n_genes)],
        roles={"label": "cell_type", "batch": "batch"},
        facts={"planted": what},
    )


def planted_terms(labels: Iterable[str]) -> LabelTerms:
    """A made-up ontology in which labels are kin in pairs, in the order of their names: each pair has a parent, a kind of ``cell``."""
    names = sorted({*labels})
    kin = {name: f"kin_{place // 2}" for place, name in enumerate(names)}
    pairs = [*((f"term_{name}", above) for name, above in kin.items()), *((above, "cell") for above in sorted({*kin.values()}))]
    children, parents = (np.array([pair[i] for pair in pairs], dtype=str) for i in (0, 1))
    return LabelTerms(ontology_of(children, parents, "the planted ontology"), {name: f"term_{name}" for name in names})
