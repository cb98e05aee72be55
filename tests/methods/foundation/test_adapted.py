"""Adaptations as methods: what they learn, from which cells, when they stop, and how they are found again."""

import multiprocessing
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from tiny_adapted import N_GENES, adapted, cells, folder_of, genes

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.methods.foundation.adapting import Learnt, subject_and_anatomy
from scrutiny.tuning.adaptation.files import TENSORS, read_about
from scrutiny.tuning.curves import read_log


def either_or(n_cells, seed):
    """Two sets of genes are up or down; the label says whether both are the same, which no linear function of them tells."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 2, (2, n_cells))
    rates = np.full((n_cells, N_GENES), 0.6)
    rates[:, :30], rates[:, 30:60] = np.where(one, 2.5, 0.1)[:, None], np.where(other, 2.5, 0.1)[:, None]
    counts = sparse.csr_matrix(rng.poisson(rates), dtype=np.float32)
    obs = pd.DataFrame({"type": np.where(one == other, "same", "other")}, index=[f"{seed}/{i}" for i in range(n_cells)])
    made = from_arrays("either or", counts, obs, list(genes().index), roles={"label": "type"}, organism="human")
    return replace(made, var=genes()[["symbol", "ensembl_id"]])


@pytest.mark.parametrize(("way", "rate"), [("lora", 1e-2), ("full", 1e-2)])
def test_what_no_probe_can_tell_is_learnt(way, rate, tmp_path):
    train, query = either_or(240, 0), either_or(120, 1)
    probed = METHODS.get("scgpt+logreg")(checkpoint=folder_of("scgpt"), device="cpu")
    model = METHODS.get("scgpt")(folder_of("scgpt"), device="cpu").fit(train, seed=0)
    probed.fit(model.embed(train), train.role("label"), seed=0)
    learnt = adapted("scgpt", way, tmp_path, epochs=20, learning_rate=rate, patience=0).fit(train, seed=0)
    right = [
        float((told.labels == query.role("label")).mean())
        for told in (probed.predict_labels(model.embed(query)), learnt.predict_labels(query))
    ]
    assert right[0] < 0.65 and right[1] >= 0.75


def test_the_best_weights_are_taken_where_training_ends_early(tmp_path):
    method = adapted("geneformer", "full", tmp_path, epochs=40, learning_rate=0.05, patience=2).fit(either_or(120, 0), seed=0)
    trained, log = read_about(method.folder).trained, read_log(method.folder / "log.csv").set_index("step")
    assert trained["best_step"] == log["validation"].idxmin() < trained["steps"] < 40 * 4
    assert method.told["adapted"] == trained


def test_cells_without_a_label_are_not_learnt_from(tmp_path):
    """Those of the labelled cells alone give the same bits."""
    shown = cells()
    hidden = shown.obs.assign(type=np.where(np.arange(60) < 40, shown.obs["type"], ""))
    few = replace(shown, obs=hidden)
    methods = [adapted("scgpt", "lora", tmp_path).fit(data, seed=0) for data in (few, shown.take(np.arange(40)))]
    assert methods[0].folder != methods[1].folder
    one, other = ((method.folder / TENSORS).read_bytes() for method in methods)
    assert one == other
    with pytest.raises(NotApplicable, match="at least two are needed"):
        adapted("scgpt", "lora", tmp_path).fit(replace(shown, obs=hidden.assign(type="")), seed=0)


def test_a_finished_adapter_is_found_again_and_its_seconds_count(tmp_path):
    data, query = cells(), cells(20, seed=1)
    first = adapted("scgpt", "lora", tmp_path).fit(data, seed=0)
    stamp = (first.folder / TENSORS).stat().st_mtime_ns
    again = adapted("scgpt", "lora", tmp_path).fit(data, seed=0)
    assert (again.folder / TENSORS).stat().st_mtime_ns == stamp
    assert first.seconds_earlier == 0 and again.seconds_earlier == again.told["adapted"]["seconds"]
    assert again.n_trainable == first.n_trainable
    told = [method.predict_labels(query).probabilities for method in (first, again)]
    np.testing.assert_array_equal(*told)
    others = [adapted("scgpt", "lora", tmp_path, rank=4), adapted("scgpt", "lora", tmp_path, epochs=5), adapted("scgpt", "ia3", tmp_path)]
    places = {method.place(data, seed) for method in (again, *others) for seed in (0, 1)} | {again.place(query, 0)}
    assert len(places) == 9


def test_a_seed_gives_the_same_bits(tmp_path):
    files = [
        adapted("geneformer", "lora", tmp_path / name).fit(cells(), seed=seed).folder / TENSORS
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    one, other, third = (file.read_bytes() for file in files)
    assert one == other != third


def test_another_version_of_the_model_learns_anew(tmp_path, monkeypatch):
    """Its tokens may be others, so an adapter in the cache is not for it."""
    model = METHODS.get("geneformer")
    before = adapted("geneformer", "lora", tmp_path).place(cells(), 0)
    monkeypatch.setattr(model, "card", replace(model.card, version=f"{model.card.version}x"))
    assert adapted("geneformer", "lora", tmp_path).place(cells(), 0) != before


def train_slowly(runs):
    torch.set_num_threads(1)
    adapted("geneformer", "lora", runs, epochs=40, patience=4, learning_rate=1e-2).fit(either_or(200, 0), seed=0)


def test_killed_it_goes_on_to_the_same_bits(tmp_path):
    """A snapshot follows each step that is better than those before, so that there is one to go on from."""
    context = multiprocessing.get_context("fork")
    folder_of("geneformer")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = adapted("geneformer", "lora", tmp_path / "whole", epochs=40, patience=4, learning_rate=1e-2).fit(either_or(200, 0), seed=0)
        process = context.Process(target=train_slowly, args=(tmp_path / "killed",))
        process.start()
        began = time.monotonic()
        while (
            not list((tmp_path / "killed").glob("*/snapshots/step-*/state.json")) and time.monotonic() - began < 30 and process.is_alive()
        ):
            time.sleep(0.005)
        process.kill()
        process.join()
        assert not list((tmp_path / "killed").glob("*/adapter.json"))
        assert list((tmp_path / "killed").glob("*/snapshots/step-*"))
        again = adapted("geneformer", "lora", tmp_path / "killed", epochs=40, patience=4, learning_rate=1e-2).fit(either_or(200, 0), seed=0)
    finally:
        torch.set_num_threads(threads)
    assert (again.folder / TENSORS).read_bytes() == (whole.folder / TENSORS).read_bytes()
    assert again.seconds_earlier > 0 and not (again.folder / "snapshots").exists()


def test_rare_labels_gain_by_their_weight(tmp_path):
    """Shares of 85, 10 and 5 percent, hardly told apart: the recall of the rarest rises with the power."""
    rng = np.random.default_rng(0)
    which = rng.choice(3, 400, p=[0.85, 0.1, 0.05])
    rates = np.where(np.arange(N_GENES) % 3 == which[:, None], 0.75, 0.5)
    counts = sparse.csr_matrix(rng.poisson(rates), dtype=np.float32)
    obs = pd.DataFrame({"type": np.array(["a", "b", "c"])[which]}, index=[f"cell {i}" for i in range(400)])
    data = from_arrays("rare", counts, obs, list(genes().index), roles={"label": "type"}, organism="human")
    data = replace(data, var=genes()[["symbol", "ensembl_id"]])
    train, query = data.take(np.arange(250)), data.take(np.arange(250, 400))
    rare = query.role("label") != "a"
    recalls = []
    for power in (0.0, 1.0):
        told = adapted("geneformer", "last", tmp_path, class_weights=power).fit(train, seed=0).predict_labels(query).labels
        recalls.append(float((told == query.role("label"))[rare].mean()))
    assert recalls[1] > recalls[0] + 0.1


def test_few_cells_train_fewer_layers_for_a_floor_of_steps(tmp_path):
    few, many = (adapted("geneformer", "full", tmp_path, epochs=1).fit(cells(n), seed=0) for n in (9, 90))
    trained = [read_about(method.folder).trained for method in (few, many)]
    assert trained[0]["held_out"] == {"cells": 0, "by": "nothing"} and trained[0]["steps"] == 60
    assert trained[1]["held_out"] == {"cells": 9, "by": "cell"} and trained[1]["steps"] < 10
    model = few.model.with_seed(0)
    _, found = subject_and_anatomy(model, cells(9))
    assert found.layers == ("layers.0",)  # the second to last layer is what Geneformer is used by
    assert few.opened.trained == found.of_last(1) < many.opened.trained == found.reached


@pytest.mark.parametrize(
    ("columns", "by"),
    [
        ({"donor": [f"d{i // 3 % 5}" for i in range(60)], "batch": [f"b{i // 3 % 4}" for i in range(60)]}, "donor"),
        ({"donor": ["one"] * 60, "batch": [f"b{i // 3 % 4}" for i in range(60)]}, "batch"),
        ({"donor": ["one"] * 30 + ["two"] * 30}, "cell"),
        ({"batch": [f"b{i % 3}" for i in range(60)]}, "cell"),
    ],
    ids=["donors", "one donor", "donors that are halves", "batches that are labels"],
)
def test_whole_donors_tell_when_to_stop(columns, by, tmp_path):
    data = cells(columns=columns)
    model = METHODS.get("scgpt")(folder_of("scgpt"), device="cpu").with_seed(0)
    learnt = Learnt(model, data, seed=0)
    assert learnt.held_by == by and 6 <= len(learnt.held) <= 20
    assert not set(learnt.rows) & set(learnt.held) and len(learnt.rows) + len(learnt.held) == 60
    assert set(data.role("label")[learnt.rows]) == {"a", "b", "c"}
    if by != "cell":
        assert not set(data.role(by)[learnt.rows]) & set(data.role(by)[learnt.held])


def test_twins_and_half_precision_are_adapted_too(tmp_path):
    data, query = cells(), cells(20, seed=1)
    twin = METHODS.get("control/untrained_scgpt+lora")(checkpoint=folder_of("scgpt"), adapters=str(tmp_path), device="cpu", epochs=2)
    assert twin.card.twin_of == "scgpt+lora" and twin.card.reads == {"label", "batch", "donor"} and twin.card.optional == {"batch", "donor"}
    folders = {twin.fit(data, seed=seed).folder for seed in (0, 1)}
    assert len({read_about(folder).base for folder in folders}) == 2
    half = adapted("scgpt", "lora", tmp_path, precision="bfloat16", epochs=2).fit(data, seed=0)
    whole = adapted("scgpt", "lora", tmp_path, precision="float32", epochs=2).fit(data, seed=0)
    assert half.told["adapted"]["precision"] == "bfloat16" and half.folder != whole.folder
    told = [method.predict_labels(query).probabilities for method in (half, whole)]
    np.testing.assert_allclose(*told, atol=0.1)


def test_options_are_searched_as_for_heads(tmp_path):
    pytest.importorskip("optuna")
    method = adapted("geneformer", "lora", tmp_path, trials=2, epochs=1)
    assert method.space["learning_rate"][0] == 1e-3 and method.space["epochs"][0] == 1 and method.space["rank"][0] == 8
    method.fit(cells(), seed=0)
    search = method.told["search"]
    assert (
        search["budget"] == 2
        and search["score"] >= search["score_of_defaults"]
        and set(search["chosen"]) == {"learning_rate", "epochs", "rank"}
    )
    assert method.way.rank == search["chosen"]["rank"] and method.recipe.epochs == search["chosen"]["epochs"]


def test_nets_that_a_study_trains_are_adapted_too(tmp_path):
    from anndata import AnnData

    data = cells(100)
    AnnData(data.values, obs=data.obs[["type"]].copy(), var=genes()[["symbol", "ensembl_id"]]).write_h5ad(tmp_path / "corpus.h5ad")
    config = {
        "corpus": {"files": ["corpus.h5ad"], "min_genes": 10, "min_counts": 10, "min_cells": 1, "validation": 0.1},
        "model": {"family": "scgpt", "width": 16, "layers": 1, "heads": 2, "feed_forward": 24, "context": 40},
        "objective": {"name": "masked_bins"},
        "training": {"steps": 2, "tokens_per_batch": 512, "validate": 1},
    }
    where = {"folder": str(tmp_path), "runs": str(tmp_path / "runs"), "adapters": str(tmp_path / "adapters"), "device": "cpu"}
    method = METHODS.get("pretrained+lora")(config=config, name="bins", epochs=1, **where)
    assert method.called == "bins+lora"
    query = cells(20, seed=1)
    told = method.fit(cells(), seed=0).predict_labels(query)
    assert told.probabilities.shape == (20, 3) and method.n_trainable > 0
    assert read_about(method.folder).family == "scgpt"
