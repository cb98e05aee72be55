"""The TOML in the report is a study file that the engine reads."""

from dataclasses import replace

from made_stores import MadeStore, write

from scrutiny.engine.studyfile import read_study_file
from scrutiny.report.gather import gather
from scrutiny.report.reproduce import study_toml


def test_the_study_file_declares_the_same_study(tmp_path):
    found = gather([write(tmp_path, MadeStore(with_outputs=False))])
    (tmp_path / "study.toml").write_text(study_toml(found.runs, list(found.facts.values())))
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
    (tmp_path / "study.toml").write_text(study_toml(runs, list(found.facts.values())))
    chosen = next(c for c in read_study_file(tmp_path / "study.toml")["methods"] if c.name == "scvi")
    assert chosen.options == {"n_latent": 30, "rate": 0.1, "deep": True, "weights": "w.pt", "steps": ["a", "b"]}


def test_a_data_set_of_the_catalogue_goes_by_its_name(tmp_path):
    made = MadeStore(with_outputs=False, facts={"catalog": "pancreas"})
    found = gather([write(tmp_path, made)])
    assert 'catalog = "pancreas"' in study_toml(found.runs, list(found.facts.values()))
