"""The studies in examples/ are valid and name what exists; those that train nets run from plan to report on made-up cells."""

from dataclasses import replace
from pathlib import Path

import pytest

import in_process
from scrutiny.core.registry import METHODS, TASKS
from scrutiny.data.catalog import catalog
from scrutiny.data.synth import planted
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.study import Study
from scrutiny.report.gather import gather
from scrutiny.report.page import LEVELS, render
from scrutiny.tuning.objectives.table import OBJECTIVES

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))
STUDIES = {path.stem: Study.from_toml(path) for path in EXAMPLES}
CONFIGS = {
    name: {c.options["name"]: c.options["config"] for c in study.methods if not isinstance(c, str) and c.name == "pretrained"}
    for name, study in STUDIES.items()
}
TRAINING = [name for name, nets in CONFIGS.items() if nets]
COMPARING = [name for name in TRAINING if len(CONFIGS[name]) > 1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_study_of_known_things(path):
    study = Study.from_toml(path)
    names = [method if isinstance(method, str) else method.name for method in study.methods]
    assert all(name in METHODS for name in names)
    assert all(name in TASKS for name in study.tasks)
    assert all(source.catalog in catalog() for source in study.datasets if source.catalog)
    assert f"scrutiny run examples/{path.name}" in path.read_text()


@pytest.mark.parametrize("name", COMPARING)
def test_an_example_that_compares_nets_does_so_at_equal_compute_with_three_seeds_beside_twins_and_baselines(name):
    study, nets = STUDIES[name], CONFIGS[name]
    assert len(nets) >= 3 and study.seeds == (0, 1, 2) and "demonstration size" in study.notes
    assert {config["training"]["teraflops"] for config in nets.values()} == {2}
    assert {config["objective"]["name"] for config in nets.values()} <= set(OBJECTIVES)
    assert {"control/untrained_pretrained", "hvg_pca", "pca", "control/shuffle"} <= {chosen.name for chosen in study.methods}
    assert all(chosen.make().called == chosen.options["name"] for chosen in study.methods if "config" in chosen.options)


@pytest.mark.parametrize("name", TRAINING)
def test_no_net_is_scored_on_cells_that_it_is_trained_on(name):
    study, nets = STUDIES[name], CONFIGS[name]
    corpus = {file for config in nets.values() for file in config["corpus"]["files"]}
    assert not corpus & {f"data/{source.path.name}" for source in study.datasets}
    together = [source for source in study.datasets if source.path.stem == "pbmc_multistudy" and "data/pbmc3k.h5ad" in corpus]
    assert all(source.without == {"batch": ("pbmc3k",)} for source in together)


def test_nets_that_examples_have_in_common_are_trained_once():
    shared = CONFIGS["objective_against_objective"]
    for study, net, same in (
        ("pretrained_against_random", "masked rank", "masked rank"),
        ("pretrained_against_random", "masked bins", "masked bins"),
        ("pretrained_against_random", "joint embedding on bins", "joint embedding on bins"),
        ("tokeniser_ablations", "masked rank", "masked rank"),
        ("tokeniser_ablations", "masked bins", "masked bins"),
        ("corpus_size_and_diversity", "blood with cell lines and pancreas", "masked rank"),
        ("input_length", "256 genes", "masked rank"),
        ("model_size", "64 wide", "masked rank"),
    ):
        assert CONFIGS[study][net] == shared[same], (study, net)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A folder with ``data``: small files under the names that the examples use."""
    from anndata import AnnData

    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").mkdir()
    named = {source.path.name for name in TRAINING for source in STUDIES[name].datasets}
    named |= {Path(file).name for nets in CONFIGS.values() for net in nets.values() for file in net["corpus"]["files"]}
    for seed, file in enumerate(sorted(named)):
        data = planted(60, 120, seed=seed)
        table = AnnData(data.values, obs=data.obs.assign(donor=data.obs["batch"]))
        table.var_names = [f"ENSG{i:011d}" for i in range(120)]
        table.var["ensembl_id"], table.var["symbol"] = table.var_names, [f"GENE{i}" for i in range(120)]
        table.write_h5ad(folder / "data" / file)
    return folder


def in_small(chosen, folder):
    """The same net at a fraction of its size, for a moment."""
    if "config" not in chosen.options:
        return chosen
    config, model = dict(chosen.options["config"]), dict(chosen.options["config"]["model"])
    sizes = {"width": model["width"] // 4, "heads": 2, "feed_forward": 16, "context": model["context"] // 8}
    small = {"genes": 100, "min_genes": 10, "min_counts": 10, "min_cells": 1, "validation": 0.1, "hold_out_cells_of": []}
    held = [str(folder / "data" / "kang_ifnb.h5ad")]
    config["corpus"] = {**config["corpus"], **small, "hold_out_cells_of": held}
    config["model"] = {**model, **sizes}
    if "training" in config:
        config["training"] = {"teraflops": 2e-5, "tokens_per_batch": 256, "validate": 1}
    where = {"folder": str(folder), "runs": str(folder / "runs"), "device": "cpu"}
    return Chosen(chosen.name, {**chosen.options, "config": config, **where})


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_an_example_that_trains_runs_from_plan_to_report(name, made_up, tmp_path, monkeypatch):
    declared = STUDIES[name]
    methods = tuple(in_small(chosen, made_up) for chosen in declared.methods if chosen.name not in ("pca", "control/random_projection"))
    source = replace(declared.datasets[0], path=made_up / "data" / declared.datasets[0].path.name, organism="human")
    study = replace(declared, methods=methods, datasets=(source,), seeds=(0,), tasks=("cell_types",))
    for training in study.plan(tmp_path).preparations():
        training.carry_out(lambda report: None)
    assert study.plan(tmp_path).preparations() == []
    store = in_process.run(study, tmp_path, monkeypatch)
    assert {run.status.value for run in store.runs() if run.facts["kind"] == "model"} == {"ok"}, [run.reason for run in store.runs()]
    found = gather([store])
    assert set(CONFIGS[name]) <= set(found.comparisons[0].values.index)
    page = render(found, {}, LEVELS[-1])
    assert "demonstration size" in page and "with equal numbers of operations" in page
