import re

import pytest

from scrutiny.core.errors import InputError
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.study import Study
from scrutiny.engine.studyfile import read_study_file, seconds_of

FULL = """
name = "mine"
seeds = [0, 1]
tasks = ["cell_types", "integration"]
methods = ["pca", { name = "scvi", options = { n_latent = 30 } }]
budget = "2h"

[[datasets]]
path = "data/cells.h5ad"
label = ["coarse", "fine"]
batch = "donor"
roles = { pseudotime = "time" }
cells = "all"
facts = { label_origin = "sorted" }

[[datasets]]
catalog = "pancreas"
label = "celltype"
cells = 2000
"""


def written(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_study(tmp_path):
    study = Study.from_toml(written(tmp_path, FULL))
    assert (study.name, study.seeds, study.budget, study.tasks) == ("mine", (0, 1), 7200.0, ("cell_types", "integration"))
    assert study.methods == (Chosen("pca"), Chosen("scvi", {"n_latent": 30}))
    first, second = study.datasets
    assert first.path == tmp_path / "data" / "cells.h5ad" and first.labels == ("coarse", "fine") and first.cells is None
    assert first.roles == {"pseudotime": "time", "batch": "donor"} and first.facts == {"label_origin": "sorted"} and not first.propose
    assert second.catalog == "pancreas" and second.path is None and second.labels == ("celltype",) and second.cells == 2000


def test_what_is_left_out_has_the_defaults_of_a_study(tmp_path):
    study = Study.from_toml(written(tmp_path, '[[datasets]]\npath = "a.h5ad"'))
    assert study.name == "study" and study.budget is None and "harmony" in study.methods and "control/shuffle" in study.methods


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seeds =", "seed ="), "the key 'seed' is not known; did you mean ['seeds']?"),
        (('batch = "donor"', 'bacth = "donor"'), "the key 'datasets[1].bacth' is not known; did you mean ['batch'"),
        (('path = "data/cells.h5ad"', ""), "the key 'datasets[1].path' is missing"),
        (("[0, 1]", "[0, true]"), "'seeds[2]' is True; expected a whole number"),
        (("[0, 1]", "[]"), "'seeds' is []; expected a list with at least one entry"),
        (("[0, 1]", "3"), "'seeds' is 3; expected a list"),
        (('"2h"', '"soon"'), "'budget': 'soon' is no time; expected e.g. '90m'"),
        (('"all"', '"some"'), "'datasets[1].cells' is 'some'; expected a number of cells"),
        (('"donor"', "7"), "'datasets[1].batch' is 7; expected text"),
        (("options =", "option ="), "the key 'methods[2].option' is not known; did you mean ['options']"),
        (("{ n_latent = 30 }", "30"), "'methods[2].options' is 30; expected a table of options"),
        (('{ pseudotime = "time" }', '["time"]'), "'datasets[1].roles' is ['time']; expected a table"),
        (('"sorted"', "3"), "'datasets[1].facts.label_origin' is 3; expected text"),
        (("[[datasets]]", "[[dataset]]"), "the key 'dataset' is not known"),
        (('name = "mine"', "name = mine"), "is no TOML"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path, change, said):
    path = written(tmp_path, FULL.replace(*change))
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_study_file(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_study_file(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400), (30, 30), ("45s", 45), ("1d", 86400)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "2h!", -3, True, "two hours"])
def test_what_is_no_time(text):
    with pytest.raises(InputError, match="no time"):
        seconds_of(text)


def test_what_can_search_gets_the_same_budget_unless_it_has_its_own(tmp_path):
    methods = 'methods = ["majority", "hvg_pca+knn", "hvg_pca+cluster", { name = "hvg_pca+logreg", options = { trials = 3 } }]'
    text = f'{methods}\nsearch = {{ trials = 20 }}\n[[datasets]]\npath = "cells.h5ad"\n'
    study = Study.from_toml(written(tmp_path, text))
    assert [dict(chosen.options) for chosen in study.methods] == [{}, {"trials": 20}, {}, {"trials": 3}]
    with pytest.raises(InputError, match=re.escape("'search.trials' is 0; expected a whole number of at least 1")):
        Study.from_toml(written(tmp_path, text.replace("20", "0")))
