"""Fixtures over the cases of the parity fixture."""

from types import SimpleNamespace

import pytest
from parity import DATASETS, EMBEDDINGS, LARGEST, evidence_of, stored_values


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "parity" / "metrics"


@pytest.fixture(
    params=[
        pytest.param((d, e), id=f"{d}-{e}", marks=[pytest.mark.slow] if (d, e) == LARGEST else []) for d in DATASETS for e in EMBEDDINGS
    ]
)
def case(request, folder):
    dataset, embedding = request.param
    evidence = evidence_of(folder, dataset, embedding)
    return SimpleNamespace(
        dataset=dataset, embedding=embedding, evidence=evidence, stored=lambda recipe: stored_values(folder).get((*request.param, recipe))
    )
