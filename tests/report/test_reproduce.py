"""The TOML in the report is a study file that the engine reads."""

from dataclasses import replace

import pytest
from made_stores import MadeStore, write

from scrutiny.engine.studyfile import read_study_file
from scrutiny.report.gather import gather
from scrutiny.report.reproduce import study_toml


def test_the_study_file_declares_the_same_study(tmp_path):
    found = gather([write(tmp_path, MadeStore(with_outputs=False))])
    (tmp_path / "study.toml").write_text(study_toml(found.runs, list(found.facts.values()), {}))
    study = read_study_file(tmp_path / "study.toml")
    assert study["tasks"] == ("cell_types", "integration") and study["seeds"] == (0,)
    assert {chosen.name for chosen in study["methods"]} == {run.spec.method for run in found.runs}
    (source,) = study["datasets"]
    assert source.path == tmp_path / "made.h5ad" and source.labels == ("cell_type",) and source.roles == {"batch": "batch"}
    assert source.cells is None


def test_options_survive_and_folders_do_not(tmp_path):
    found = gather([write(tmp_path, MadeStore(methods={"scvi": 0.8}, with_outputs=False))])
    options = {"n_latent": 30, "rate": 0.1, "deep": True, "weights": "/home/ann/w.pt", "steps": ["a", "b"], "none": None}
    runs = [replace(run, spec=replace(run.spec, method_options=options if run.spec.method == "scvi" else {})) for run in found.runs]
    (tmp_path / "study.toml").write_text(study_toml(runs, list(found.facts.values()), {}))
    chosen = next(c for c in read_study_file(tmp_path / "study.toml")["methods"] if c.name == "scvi")
    assert chosen.options == {"n_latent": 30, "rate": 0.1, "deep": True, "weights": "w.pt", "steps": ["a", "b"]}


def test_a_data_set_of_the_catalogue_goes_by_its_name(tmp_path):
    made = MadeStore(with_outputs=False, facts={"catalog": "pancreas"})
    found = gather([write(tmp_path, made)])
    assert 'catalog = "pancreas"' in study_toml(found.runs, list(found.facts.values()), {})


def test_cells_that_were_left_or_held_out_are_so_again(tmp_path):
    facts = {"without": '{"batch": ["pbmc3k"]}', "hold_out": '{"condition": ["stim", "other"]}'}
    found = gather([write(tmp_path, MadeStore(with_outputs=False, facts=facts))])
    held = [replace(one, roles={**one.roles, "split": "held out"}) for one in found.facts.values()]
    (tmp_path / "study.toml").write_text(study_toml(found.runs, held, {}))
    (source,) = read_study_file(tmp_path / "study.toml")["datasets"]
    assert source.without == {"batch": ("pbmc3k",)} and source.hold_out == {"condition": ("stim", "other")}
    assert source.roles == {"batch": "batch"}, "the column of the split is made of what is held out"


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"key": "ab12", "checkpoint": "scgpt-human"}, "scgpt-human"),
        ({"key": "ab12", "checkpoint": ""}, "folder of the weights ab12"),
        (None, "folder of the weights ab12"),  # the run was not applicable and could not tell
    ],
)
def test_fetched_checkpoints_go_by_name_and_other_weights_by_their_key(tmp_path, weights, named):
    run = _run("scgpt", tmp_path, {"weights": "ab12", "layer": -1}, facts={"weights": weights} if weights else {})
    (tmp_path / "study.toml").write_text(study_toml([run], [], {"scgpt": {"model": {"title": "scGPT"}}}) + DATA)
    (chosen,) = read_study_file(tmp_path / "study.toml")["methods"]
    assert chosen.options == {"layer": -1, "checkpoint": named}


def test_the_seeds_that_a_method_has_beyond_those_of_the_study_are_not_asked_of_the_others(tmp_path):
    cards = {"twin": {"seeded": True, "least_seeds": 3}, "pca": {"seeded": False}, "scvi": {"seeded": True, "least_seeds": 1}}
    runs = [_run("twin", tmp_path, seed=seed) for seed in range(3)] + [_run("pca", tmp_path)]
    assert study_toml(runs, [], cards).startswith("seeds = [0, 1, 2]\n")
    assert study_toml([*runs, _run("scvi", tmp_path)], [], cards).startswith("seeds = [0]\n")


DATA = '[[datasets]]\npath = "a.h5ad"\n'


def _run(method, tmp_path, options=(), *, seed=0, facts=None):
    found = gather([write(tmp_path, MadeStore(with_outputs=False))])
    spec = replace(found.runs[0].spec, method=method, method_options=dict(options), seed=seed)
    return replace(found.runs[0], spec=spec, facts=facts or {})
