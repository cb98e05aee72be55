"""Terms of labels through a study: what its file says, what is keyed by them, what is recorded, and who sees them."""

from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS, TASKS
from scrutiny.data.synth import planted, planted_terms
from scrutiny.engine.embedding import Chosen, request
from scrutiny.engine.plan import Scored
from scrutiny.engine.sources import Source
from scrutiny.engine.study import Study
from scrutiny.engine.studyfile import read_study_file

SMALL = Path(__file__).parents[1] / "data" / "small.obo"
CELLS = planted(120, 40, n_labels=4, n_batches=2)
WITH_TERMS = replace(CELLS, terms=planted_terms(CELLS.role("label")))
OTHER_TERMS = replace(CELLS, terms=replace(WITH_TERMS.terms, by_label={**WITH_TERMS.terms.by_label, "type_0": "kin_1"}))
METHODS_ASKED = ("hvg_pca", "hvg_pca+knn", "majority", "control/shuffle", "control/label_oracle", "control/shuffled_labels")


def keys(data, task):
    runs = Study((Scored(data),), METHODS_ASKED, (task,)).plan("nowhere").runs
    return {run.spec.method: run.spec.key for run in runs}


@pytest.mark.parametrize(
    ("task", "reads"), [("annotation", True), ("type_relations", True), ("cell_types", False), ("label_transfer", False)]
)
def test_runs_of_tasks_that_read_terms_are_keyed_by_them(task, reads):
    assert TASKS.get(task).card.reads_terms is reads
    without, with_them, other = (keys(data, task) for data in (CELLS, WITH_TERMS, OTHER_TERMS))
    assert without.keys() == with_them.keys() and without
    assert all((without[name] != with_them[name] != other[name]) is reads for name in without)


class Curious:
    """May read the labels, and nothing else."""

    card = MethodCard("toy/curious", "looks for terms", kind="baseline", reads=frozenset({"label"}), supervised=True)


@pytest.mark.parametrize("task", ["annotation", "label_transfer", "type_relations"])
def test_methods_never_see_terms(task, monkeypatch):
    monkeypatch.setitem(METHODS._registered, "toy/curious", Curious)
    problem = TASKS.get(task)().pose(WITH_TERMS, np.random.default_rng(0))
    asked = request(Chosen("toy/curious"), 0, problem, WITH_TERMS)
    assert asked.train.terms is None and asked.query.terms is None


def test_a_type_that_is_held_out_is_held_out_by_all_of_its_names():
    """Half of the cells of each type have another name for it, as the labels of two studies have; one type is to be unseen."""
    cells = planted(900, 40, n_labels=5, n_batches=2)
    names = np.char.add(cells.role("label"), np.where(np.random.default_rng(0).random(900) < 0.5, "", " again"))
    plain = planted_terms(cells.role("label"))
    of = {name: plain.by_label[name.removesuffix(" again")] for name in {*names.tolist()}}
    data = replace(cells, obs=cells.obs.assign(cell_type=names), terms=replace(plain, by_label=of))

    def half_seen(given, seed):
        problem = TASKS.get("annotation_unseen_types")().pose(given, np.random.default_rng(seed))
        unseen = {of[label] for label in problem.truth["labels"][~problem.truth["seen"]]}
        assert unseen
        return bool(unseen & {of[label] for label in problem.train.role("label")})

    assert not any(half_seen(data, seed) for seed in range(5))
    assert any(half_seen(replace(data, terms=None), seed) for seed in range(5))


def test_scores_and_facts_of_a_study(tmp_path):
    store = Study((Scored(WITH_TERMS),), METHODS_ASKED, ("annotation", "type_relations")).run(tmp_path)
    scores = {(run.spec.task, run.spec.method, s.metric): s.value for run in store.runs() for s in run.scores}
    assert all(run.status == "ok" for run in store.runs())
    assert scores["annotation", "hvg_pca+knn", "lcad_all"] < scores["annotation", "control/shuffled_labels", "lcad_all"]
    assert scores["annotation", "control/label_oracle", "hierarchical_f1"] == 1
    assert scores["type_relations", "control/label_oracle", "ari_ontology"] == pytest.approx(1)
    facts = store.study()["datasets"]["planted"]["ontology"]
    assert facts["n_mapped"] == 4 and facts["unmapped"] == [] and facts["labels"]["type_3"]["id"] == "term_type_3"
    assert {branch["id"]: branch["parents"] for branch in facts["tree"]}["term_type_2"] == ["kin_1"]
    assert {branch["id"]: branch["labels"] for branch in facts["tree"]}["term_type_2"] == ["type_2"]


def test_without_terms_the_reason_names_the_command(tmp_path):
    store = Study((Scored(CELLS),), ("majority",), ("annotation",)).run(tmp_path)
    (run,) = store.runs()
    reasons = {score.metric: score.reason for score in run.scores}
    assert reasons["macro_f1"] == "" and "scrutiny ontology fetch" in reasons["lcad"] and "--ontology" in reasons["hierarchical_f1"]
    assert "ontology" not in store.study()["datasets"]["planted"]


# Sources and study files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    cells = planted(60, 40)
    names = {"type_0": "T cells", "type_1": "Monocytes", "type_2": "mine"}
    obs = cells.obs.assign(cell_type=[names[label] for label in cells.obs["cell_type"]])
    ad.AnnData(cells.values, obs, cells.var.copy()).write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "cl.obo").write_bytes(SMALL.read_bytes())
    (tmp_path / "terms.tsv").write_text("label\tcl_id\nmine\tCL:0000236\n")
    return tmp_path


def loaded(folder, text):
    (folder / "study.toml").write_text(text)
    return read_study_file(folder / "study.toml")["datasets"]


CELLS_OF = '[[datasets]]\npath = "cells.h5ad"\nlabel = "cell_type"\n'


def test_a_study_file_names_the_ontology_for_all_or_for_one(folder):
    (source,) = loaded(folder, f'ontology = "cl.obo"\n{CELLS_OF}terms = "terms.tsv"\n')
    assert source.ontology == folder / "cl.obo" and source.terms == folder / "terms.tsv"
    assert source.load().data.terms.by_label == {"Monocytes": "CL:0000576", "T cells": "CL:0000084", "mine": "CL:0000236"}
    first, second = loaded(folder, f'ontology = "cl.obo"\n{CELLS_OF}ontology = "other.obo"\n{CELLS_OF}name = "again"\n')
    assert (first.ontology, second.ontology) == (folder / "other.obo", folder / "cl.obo")


def test_without_any_there_are_no_terms_and_the_fetched_file_is_the_default(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    source = Source(folder / "cells.h5ad", labels=("cell_type",))
    assert source.load().data.terms is None
    with pytest.raises(InputError, match="there is no ontology"):
        replace(source, terms=folder / "terms.tsv").load()
    place = folder / "cache" / "scrutiny" / "ontology"
    place.mkdir(parents=True)
    (place / "cl-basic.obo").write_bytes(SMALL.read_bytes())
    data = source.load().data
    assert data.terms.ontology.version == "2026-03-26" and data.terms.by_label.keys() == {"Monocytes", "T cells"}
    assert data.notes[-1].startswith("2 of 3 labels of 'cell_type' are terms of the Cell Ontology (version 2026-03-26). Not mapped: 'mine'")
