"""Nets that are trained for a study: found again by content, trained once for each seed, used as their family is."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.data.synth import planted
from scrutiny.methods.foundation import training_time, trainings
from scrutiny.methods.foundation.pretrained import Pretrained, UntrainedPretrained
from scrutiny.methods.foundation.training_time import seconds_of
from scrutiny.tuning.config import pretraining_of

RANK = {
    "corpus": {"files": ["cells.h5ad"], "min_genes": 10, "min_counts": 10, "min_cells": 1, "validation": 0.1},
    "model": {"family": "geneformer", "width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "context": 32},
    "objective": {"name": "masked_rank"},
    "training": {"steps": 3, "tokens_per_batch": 512, "validate": 1, "learning_rate": 0.01},
}
BINS = {**RANK, "model": {**RANK["model"], "family": "scgpt"}, "objective": {"name": "masked_bins"}}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with ``cells.h5ad``: 150 planted cells, genes with Ensembl ids and symbols."""
    from anndata import AnnData

    data = planted(150, 150, seed=3)
    names = [f"ENSG{i:011d}" for i in range(150)]
    folder = tmp_path_factory.mktemp("home")
    table = AnnData(data.values, obs=data.obs)
    table.var_names = names
    table.var["ensembl_id"], table.var["symbol"] = names, [f"GENE{i}" for i in range(150)]
    table.write_h5ad(folder / "cells.h5ad")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def others(home):
    """60 cells that the corpus does not have, with its genes."""
    from scrutiny.core.dataset import from_arrays

    data = planted(60, 150, seed=4)
    return from_arrays("others", data.values, data.obs, [f"ENSG{i:011d}" for i in range(150)], organism="human")


def net(home, runs, config=RANK, kind=Pretrained, **more):
    return kind(config, "mine", folder=str(home), runs=str(runs), device="cpu", **more)


def trained_vectors(home, runs, data, seed=0):
    return net(home, runs, use={"layer": 0}).fit(data, seed=seed).embed(data).values


# Keys ------------------------------------------------------------------------------------------------------------------------------


def test_the_key_is_of_the_content_and_known_before_anything_is_made(home, tmp_path):
    key = net(home, tmp_path / "runs").weights_key
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    assert Pretrained(RANK, "other name", folder=str(moved), runs=str(tmp_path / "elsewhere")).weights_key == key
    assert net(home, tmp_path / "runs", {**RANK, "training": {**RANK["training"], "steps": 4}}).weights_key != key
    with (moved / "cells.h5ad").open("ab") as file:
        file.write(b" ")
    assert net(moved, tmp_path / "runs").weights_key != key
    assert not (tmp_path / "runs").exists() and not (tmp_path / "elsewhere").exists()


def test_the_key_of_a_twin_is_of_genes_and_architecture_alone(home, tmp_path):
    longer = {**RANK, "training": {"steps": 9}, "objective": {"name": "joint_embedding"}}
    shape = {"corpus": RANK["corpus"], "model": RANK["model"]}
    wider = {**shape, "model": {**RANK["model"], "width": 32}}
    keys = [net(home, tmp_path, config, UntrainedPretrained).weights_key for config in (RANK, longer, shape, wider)]
    assert len(set(keys[:3])) == 1 and keys[3] not in keys[:3]


# Trainings -------------------------------------------------------------------------------------------------------------------------


def test_a_net_is_what_its_family_makes_of_the_folder_that_pretrain_makes(home, runs, others, tmp_path):
    from dataclasses import replace

    from scrutiny.methods.foundation.pretraining import pretrain

    config = pretraining_of(RANK, home, "here", default_name="mine")
    folder = pretrain(replace(config, seed=1), tmp_path, device="cpu")
    expected = METHODS.get("geneformer")(str(folder), layer=0, device="cpu").fit(others, seed=1).embed(others)
    np.testing.assert_array_equal(trained_vectors(home, runs, others, seed=1), expected.values)


def test_each_seed_is_a_training_of_its_own_and_none_is_done_twice(home, runs, others, monkeypatch):
    first, second = (trained_vectors(home, runs, others, seed) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.01
    monkeypatch.setattr(trainings, "pretrain", None)
    found = net(home, runs)
    assert [found.is_prepared(seed) for seed in (0, 1, 2)] == [True, True, False]
    np.testing.assert_array_equal(trained_vectors(home, runs, others), first)


def test_of_two_that_want_one_training_the_second_waits_and_finds_it(home, tmp_path, monkeypatch):
    inside, most, told = [], [], []
    real = trainings.pretrain

    def counted(*given, **more):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        try:
            return real(*given, **more)
        finally:
            inside.pop()

    monkeypatch.setattr(trainings, "pretrain", counted)
    both = [threading.Thread(target=net(home, tmp_path).prepare, args=(0, told.append)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert most == [1, 1] and [report.step for report in told] == [1, 2, 3]


def test_a_twin_is_the_untrained_family_on_the_same_genes_and_needs_no_training(home, runs, others, monkeypatch):
    monkeypatch.setattr(trainings, "pretrain", None)
    twin = net(home, runs, kind=UntrainedPretrained, use={"layer": 0})
    assert not hasattr(twin, "prepare") and (twin.card.kind, twin.card.twin_of) == ("control", "pretrained")
    family = METHODS.get("control/untrained_geneformer")(str(twin.trainings.draft()), layer=0, device="cpu")
    expected = family.fit(others, seed=2).embed(others).values
    np.testing.assert_array_equal(twin.fit(others, seed=2).embed(others).values, expected)


def test_a_draft_that_somebody_was_killed_at_is_made_again(home, tmp_path):
    twin = net(home, tmp_path, kind=UntrainedPretrained)
    half = tmp_path / "drafts" / twin.weights_key
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    assert twin.drafted.files.config.hidden_size == 16


# Use -------------------------------------------------------------------------------------------------------------------------------


def test_it_has_the_verbs_of_its_family(home, runs, others):
    rank = net(home, runs)
    assert hasattr(rank, "reconstruct") and hasattr(rank, "embed_genes") and not hasattr(rank, "deepen") and not hasattr(rank, "predict")
    predicted = rank.fit(others, seed=0).reconstruct(others)
    assert predicted.n_cells == 60 and predicted.gene_ids[0].startswith("ENSG")


def test_its_card_is_that_of_a_family_and_it_is_called_as_the_study_says(home, runs):
    rank, cells = net(home, runs), net(home, runs, {**RANK, "model": {"family": "cellplm"}})
    assert rank.called == "mine" and rank.card.independent and not rank.card.transductive
    assert cells.card.transductive and cells.card.reads == {"batch"} and not cells.card.independent


def test_facts_say_how_it_was_trained_which_genes_it_knows_and_whether_it_saw_the_cells(home, runs, others):
    rank = net(home, runs)
    rank.prepare(0)
    told = rank.facts(others)
    assert told["training"]["until"] == {"steps": 3} and told["training"]["objective"] == "masked_rank"
    assert told["training"]["corpus"]["files"] == ["cells"] and told["genes"]["n_found"] == 150
    assert told["exposure"]["answer"] == "not listed"
    seen = rank.facts(others.__class__(**{**vars_of(others), **corpus_cells(rank)}))
    assert seen["exposure"]["answer"] == "seen" and seen["exposure"]["n_seen"] > 50
    assert "exposure" not in net(home, runs, kind=UntrainedPretrained).facts(others)


def vars_of(data):
    return {name: getattr(data, name) for name in data.__dataclass_fields__}


def corpus_cells(rank):
    """The cells of the first shard."""
    corpus = rank.trainings.corpus()
    shard = corpus.read(corpus.train[0])
    return {"matrix": shard.matrix, "obs": shard.obs, "var": shard.var}


# What cannot be --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "more", "said"),
    [
        ({**RANK, "model": {"family": "pca"}}, {}, "mine: no family 'pca' can be trained; there are scgpt, geneformer"),
        (RANK, {"use": {"poling": "mean"}}, "the net 'mine': use has no option 'poling'; did you mean ['pooling']"),
        ({**RANK, "objective": {}}, {}, "the net 'mine': [objective] needs 'name'"),
        ({**RANK, "trainig": {}}, {}, "the net 'mine' has no option 'trainig'; did you mean ['training']"),
        ({**RANK, "training": {"steps": 3, "epochs": 2}}, {}, "ends after epochs, steps or teraflops, one of them"),
    ],
)
def test_errors_name_the_net_and_what_is_wrong(home, tmp_path, config, more, said):
    with pytest.raises(InputError) as caught:
        net(home, tmp_path, config, **more)
    assert said in str(caught.value)


def test_a_corpus_file_that_is_not_there_is_named_before_anything_runs(home, tmp_path):
    with pytest.raises(InputError, match="there is no file .*none.h5ad"):
        net(home, tmp_path, {**RANK, "corpus": {"files": ["none.h5ad"]}}).weights_key  # noqa: B018


# Time ------------------------------------------------------------------------------------------------------------------------------


def test_the_estimate_of_a_training_counts_its_operations(monkeypatch):
    monkeypatch.setattr(training_time, "_speed", lambda *size: 1e9 / training_time.REACHED)
    start = training_time.SECONDS_TO_START

    def seconds(**training):
        config = pretraining_of({**BINS, "training": training}, Path(), "here", default_name="mine")
        return seconds_of(config, 1_000, "cpu") - start

    assert seconds(teraflops=1.0) == pytest.approx(1e12 / 1e9)
    per_token = 6 * 1.5 * (4 * 16**2 + 2 * 16 * 32)  # a layer of width 16 with 32 inner ones, attention as half of that
    assert seconds(steps=10, tokens_per_batch=500, accumulate=2) == pytest.approx(10 * 500 * 2 * per_token / 1e9)
    assert seconds(epochs=3) == pytest.approx(3 * 1_000 * 32 * per_token / 1e9)


def test_the_speed_is_measured_on_this_machine():
    assert 1e6 < training_time._speed(16, 32, "cpu") < 1e14
