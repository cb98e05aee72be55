"""A model that has the manifest of its corpus beside its weights says whether it was trained on the cells it is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scrutiny.core.registry import METHODS
from scrutiny.data.corpus_build import build_corpus
from scrutiny.data.corpus_config import CorpusConfig
from scrutiny.data.read import from_anndata
from scrutiny.engine.facts import method_facts
from scrutiny.methods.foundation.drafts import draft


def made(n_cells, seed):
    counts = np.random.default_rng(seed).poisson(1.5, (n_cells, 130)).astype(np.float32)
    obs = pd.DataFrame(index=[f"c{seed}_{i}" for i in range(n_cells)])
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"ENSG{i:011d}" for i in range(130)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A draft of Geneformer over the genes of a corpus of 30 cells, with its manifest."""
    folder = tmp_path_factory.mktemp("model")
    made(30, 0).write_h5ad(folder / "cells.h5ad")
    table = {"files": ["cells.h5ad"], "min_genes": 10, "min_counts": 0, "min_cells": 1}
    corpus = build_corpus(CorpusConfig.from_fields(table, folder, "made"), folder / "corpus")
    draft("geneformer", folder / "model", genes=corpus.genes, sizes={"width": 16, "layers": 1, "heads": 2})
    corpus.carry_to(folder / "model")
    return folder / "model"


def mixed_data():
    import anndata

    return from_anndata(anndata.concat([made(30, 0)[:4], made(6, 1)]), organism="human")


def test_the_model_counts_the_cells_that_it_was_trained_on_and_its_twin_none(folder):
    model, twin = METHODS.get("geneformer")(str(folder)), METHODS.get("control/untrained_geneformer")(str(folder))
    found = model.exposure(mixed_data())["exposure"]
    assert (found["answer"], found["n_seen"], found["n_cells"]) == ("seen", 4, 10)
    assert "exposure" not in method_facts(twin, mixed_data())


def test_the_answer_is_remembered_for_the_same_cells_only(folder, monkeypatch):
    model, data = METHODS.get("geneformer")(str(folder)), mixed_data()
    asked = []
    monkeypatch.setattr("scrutiny.methods.foundation.model.exposure_facts", lambda data, folder: asked.append(data.n_cells) or {})
    for view in (data, data.with_roles(batch=None), data.take(np.arange(5))):
        model.exposure(view)
    assert asked == [10, 5]


def test_a_folder_without_a_manifest_says_nothing(folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folder.iterdir():
        if path.name not in ("manifest.json", "cells.npz"):
            (bare / path.name).write_bytes(path.read_bytes())
    assert METHODS.get("geneformer")(str(bare)).exposure(mixed_data()) == {}
