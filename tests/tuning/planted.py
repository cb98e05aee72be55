"""Cells of two types that are hard to tell apart before anything is learnt: a few genes differ, and depth differs more."""

import numpy as np
import torch
from scipy import sparse
from tiny_subjects import N_GENES

from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.subject import Cells

N_CELLS, N_MARKERS = 120, 40
TERMS = np.array(["CL:CD4", "CL:B"])


def planted(seed=0, up=3.0, down=0.2):
    """Cells of two types in turn and of three studies, and the types. Markers are ``up`` in one type and ``down`` in the other."""
    rng = np.random.default_rng(seed)
    types = np.arange(N_CELLS) % 2
    rates = np.ones((N_CELLS, N_GENES))
    rates[:, :N_MARKERS] = np.where((np.arange(N_MARKERS) % 2 == 0) == (types == 0)[:, None], up, down)
    counts = rng.poisson(0.6 * rates * rng.uniform(0.4, 2.0, (N_CELLS, 1))).astype(np.float32)
    ids = np.array([f"cell {i}" for i in range(N_CELLS)])
    studies = np.array(["one", "two", "three"])[np.arange(N_CELLS) % 3]
    return Cells(sparse.csr_matrix(counts), counts.sum(1).astype(float), ids, TERMS[types], studies), types


def accuracy_of_types(subject, cells, types):
    """Share of the cells of which most of the 9 nearest others, by cosine of what the model embeds, are of their type."""
    subject.net.eval()
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(subject.cells(batch_of(subject.tokenise(cells))).float(), dim=1)
    subject.net.train()
    nearest = (vectors @ vectors.T).fill_diagonal_(-1).topk(9).indices.numpy()
    return float(((types[nearest].mean(1) > 0.5) == types).mean())
