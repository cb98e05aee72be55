"""From a config to a model that its family loads, on planted cells."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from safetensors.torch import load_file

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.corpus import Corpus
from scrutiny.data.synth import planted
from scrutiny.methods.foundation.pretraining import corpus_of, pretrain
from scrutiny.tuning.config import pretraining_of
from scrutiny.tuning.curves import read_log

TABLES = {
    "corpus": {"files": ["cells.h5ad"], "min_genes": 10, "min_counts": 10, "min_cells": 1, "validation": 0.1},
    "model": {"family": "geneformer", "width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "context": 64},
    "objective": {"name": "masked_rank"},
    "training": {"steps": 6, "tokens_per_batch": 1024, "validate": 3},
}
BINS = {**TABLES, "model": {**TABLES["model"], "family": "scgpt"}, "objective": {"name": "masked_bins"}}
JOINT = {**BINS, "objective": {"name": "joint_embedding"}}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A folder with a file of cells whose genes have Ensembl ids and symbols."""
    folder = tmp_path_factory.mktemp("cells")
    planted_cells().write_h5ad(folder / "cells.h5ad")
    return folder


def planted_cells():
    data = planted(160, 150, seed=3)
    var = pd.DataFrame(
        {"symbol": [f"GENE{i}" for i in range(150)], "ensembl_id": [f"ENSG{i:011d}" for i in range(150)]},
        index=[f"ENSG{i:011d}" for i in range(150)],
    )
    return AnnData(data.values, obs=data.obs.copy(), var=var)


@pytest.fixture(scope="module")
def corpus(cells, tmp_path_factory):
    return corpus_of(config(cells, TABLES), tmp_path_factory.mktemp("corpus"))


def config(folder, tables):
    return pretraining_of(tables, folder, "test", default_name="test")


@pytest.mark.parametrize("tables", [TABLES, BINS, JOINT], ids=["rank", "bins", "joint"])
def test_a_trained_model_is_loaded_by_its_family_and_embeds(cells, corpus, tmp_path, tables):
    folder = pretrain(config(cells, tables), tmp_path, corpus=corpus, device="cpu")
    family = tables["model"]["family"]
    model, twin = METHODS.get(family)(str(folder), device="cpu"), METHODS.get(f"control/untrained_{family}")(str(folder), device="cpu")
    data = corpus.read(corpus.train[0])
    vectors, untrained = (method.fit(data, seed=0).embed(data).values for method in (model, twin))
    assert vectors.shape == (data.n_cells, 16) and np.abs(vectors - untrained).max() > 1e-3


def test_the_record_says_what_was_trained_on_what_and_how(cells, corpus, tmp_path):
    folder = pretrain(config(cells, TABLES), tmp_path, corpus=corpus, device="cpu")
    record = json.loads((folder / "scrutiny.json").read_text())
    trained, log = record["trained"], read_log(folder / "log.csv")
    assert record["draft"] is False and trained["steps"] == 6 and trained["corpus"] == corpus.manifest["key"]
    assert trained["objective"] == {"name": "masked_rank"} and trained["n_cells"] == corpus.manifest["cells"]["train"]
    assert list(log["step"]) == [2, 4, 6] and log["progress"].iloc[-1] == 1 and trained["validation"] == log["validation"].iloc[-1]
    assert not (tmp_path / "snapshots").exists()
    assert (folder / "manifest.json").is_file()


def test_a_head_that_learnt_nothing_is_not_used(cells, corpus, tmp_path):
    data = corpus.read(corpus.train[0])
    for tables, names in ((JOINT, ("context_head", "cell_head")), (BINS, ())):
        folder = pretrain(config(cells, tables), tmp_path / tables["objective"]["name"], corpus=corpus, device="cpu")
        untrained = json.loads((folder / "scrutiny.json").read_text())["trained"]["untrained"]
        assert {name.partition(".")[0] for name in untrained} == set(names)
        model = METHODS.get("scgpt")(str(folder), device="cpu").fit(data, seed=0)
        if names:
            with pytest.raises(NotApplicable, match="joint_embedding"):
                model.reconstruct(data)
        else:
            assert len(model.reconstruct(data).predicted)


def test_a_finished_training_is_not_done_again_and_another_is_refused(cells, corpus, tmp_path):
    wanted = config(cells, TABLES)
    folder = pretrain(wanted, tmp_path, corpus=corpus, device="cpu")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert pretrain(wanted, tmp_path, corpus=corpus, device="cpu") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another config or corpus"):
        pretrain(replace(wanted, seed=1), tmp_path, corpus=corpus, device="cpu")


def test_half_precision_halves_the_file_and_keeps_the_numbers(cells, corpus, tmp_path):
    whole, half = (
        load_file(pretrain(config(cells, {**TABLES, "weights": kind}), tmp_path / kind, corpus=corpus, device="cpu") / "model.safetensors")
        for kind in ("float32", "float16")
    )
    assert whole.keys() == half.keys() and {tensor.dtype for tensor in half.values()} == {torch.float16}
    for name, tensor in whole.items():
        torch.testing.assert_close(half[name].float(), tensor, rtol=2**-10, atol=1e-6)


def test_labels_that_were_learnt_from_are_told(cells, corpus, tmp_path):
    """Of a corpus with terms; the record says that they were read, and a corpus without is refused before anything is trained."""
    labelled, parents = planted_cells(), "child\tparent\n" + "".join(f"CL:{i}\tCL:cell\n" for i in range(3))
    labelled.obs["cell_type_ontology_term_id"] = [f"CL:{label[-1]}" for label in labelled.obs["cell_type"]]
    labelled.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "parents.tsv").write_text(parents)
    model = {"family": "scimilarity", "width": 16, "layers": 1, "latent": 8}
    tables = {**TABLES, "model": model, "objective": {"name": "triplet", "ontology": "parents.tsv"}}
    folder = pretrain(config(tmp_path, tables), tmp_path / "out", device="cpu")
    assert json.loads((folder / "scrutiny.json").read_text())["trained"]["reads_labels"] is True
    assert read_log(folder / "log.csv")["train_anchors"].iloc[-1] == 1
    with pytest.raises(InputError, match="no cell in the first shard of the corpus has one"):
        pretrain(config(tmp_path, tables), tmp_path / "none", corpus=corpus, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {"name": "masked_bins"}}, "geneformer"),
        ({"objective": {"name": "masked_rnk"}}, "masked_rank"),
        ({"training": {"steps": 1, "learning_rat": 1}}, "learning_rate"),
        ({"training": {"steps": 1, "epochs": 1.0}}, "one of them"),
        ({"model": {"family": "geneformer", "widht": 3}}, "width"),
        ({"weights": "int8"}, "float16"),
        ({"corpus": {"folder": "x", "files": ["cells.h5ad"]}}, "keep one of the two"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(cells, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        pretrain(config(cells, {**TABLES, **change}), tmp_path, device="cpu")


def test_a_second_process_does_not_train_in_the_same_folder(cells, corpus, tmp_path):
    from filelock import FileLock

    tmp_path.mkdir(exist_ok=True)
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="somebody else"):
        pretrain(config(cells, TABLES), tmp_path, corpus=corpus, device="cpu")


def test_a_corpus_is_found_again(cells, corpus):
    assert Corpus(corpus.folder).manifest["key"] == corpus_of(config(cells, TABLES), corpus.folder.parent).manifest["key"]
