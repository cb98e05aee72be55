"""Several stores, several states of a data set, and what is believed of them."""

from dataclasses import replace

import pytest
from made_stores import MadeStore, write

from scrutiny.core.errors import InputError
from scrutiny.report.facts import dataset_facts
from scrutiny.report.gather import gather
from scrutiny.report.page import write_report

SMALL = {"with_outputs": False, "tasks": ("cell_types",), "metrics": {}}


def test_one_store_twice_is_one_store(tmp_path):
    store = write(tmp_path, MadeStore(**SMALL))
    assert len(gather([store, store]).runs) == len(gather([store]).runs)
    assert list(gather([store, store]).facts) == ["made"]


def test_other_cells_under_the_same_name_get_a_number(tmp_path):
    one = write(tmp_path / "a", MadeStore(**SMALL))
    two = write(tmp_path / "b", MadeStore(**SMALL, n_cells=200))
    found = gather([one, two])
    assert list(found.facts) == ["made", "made (2)"]
    assert [c.key.dataset for c in found.comparisons] == ["made", "made (2)"]


def test_methods_of_two_stores_meet_in_one_comparison(tmp_path):
    one = write(tmp_path / "a", MadeStore(methods={"hvg_pca": 0.8}, **SMALL))
    two = write(tmp_path / "b", MadeStore(methods={"harmony": 0.7}, **SMALL))
    (comparison,) = gather([one, two]).comparisons
    assert set(comparison.contenders) == {"hvg_pca", "harmony"}


def test_runs_on_an_earlier_state_of_the_data_are_left_out(tmp_path):
    store = write(tmp_path, MadeStore(methods={"hvg_pca": 0.8, "old": 0.9}, n_cells=80, **SMALL))
    write(tmp_path, MadeStore(methods={"hvg_pca": 0.7}, dataset="made", **SMALL), seed=1)
    study = store.study()
    assert study["datasets"]["made"]["n_cells"] == 120
    assert "old" not in gather([store]).comparisons[0].contenders


def test_the_last_run_of_a_kind_counts(tmp_path):
    store = write(tmp_path, MadeStore(methods={"hvg_pca": 0.8}, **SMALL))
    (run,) = [run for run in store.runs() if run.spec.method == "hvg_pca"]
    later = replace(run.scores[0], value=0.5)
    store.put(replace(run, spec=replace(run.spec, method_version="2"), scores=(later,), finished="2030-01-01T00:00:00+00:00"))
    (comparison,) = gather([store]).comparisons
    assert comparison.value("hvg_pca", comparison.primary) == 0.5


def test_reasons_come_without_folders(tmp_path):
    store = write(tmp_path, MadeStore(failed={"scvi": "OSError: /home/ann/weights.pt is torn"}, **SMALL))
    (finding,) = [f for f in gather([store]).findings if f.code == "SCR007"]
    assert finding.title == "Failed: scvi" and finding.evidence == "OSError: weights.pt is torn"


def test_a_model_is_tested_and_what_it_saw_is_asked(tmp_path):
    store = write(tmp_path, MadeStore(methods={"hvg_pca": 0.8, "uce": 0.7}, kinds={"uce": "model"}, **SMALL))
    study = store.study()
    study["methods"]["uce"]["trained_on"] = None
    store.add_study(study)
    found = gather([store])
    assert "No evidence that uce beats the best cheap method, hvg_pca" in found.verdicts[0].sentence
    (leakage,) = [f for f in found.findings if f.code == "SCR003"]
    assert leakage.title == "Whether uce saw these cells in pretraining is unknown"


def test_nothing_scored_is_said(tmp_path):
    failed = dict.fromkeys(
        ["hvg_pca", "control/shuffle", "control/label_oracle", "control/random_projection", "control/no_integration"], "no"
    )
    store = write(tmp_path, MadeStore(methods={"hvg_pca": 0.8}, failed=failed, **SMALL))
    with pytest.raises(InputError, match="nothing to report"):
        write_report([store], tmp_path / "report.html")


def test_facts_that_nobody_recorded_are_unknown():
    found = dataset_facts("x", {}, None)
    assert (found.n_cells, found.label_origin, found.organism, found.notes) == (None, "unknown", "unknown", ())


def test_a_sample_is_known_by_the_note_that_sampling_leaves():
    from scrutiny.data.sample import sample
    from scrutiny.data.synth import planted

    drawn = sample(planted(n_cells=240, n_genes=20), 100)
    assert dataset_facts("x", {"n_cells": 100, "notes": list(drawn.notes)}, None).cells_before_sampling == 240
