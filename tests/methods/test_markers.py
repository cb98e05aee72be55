"""Clusters named by their markers, with clients that answer from what is in the prompt or in a file; nothing leaves the machine."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.engine.embedding import Chosen, recorded_options
from scrutiny.methods.annotation.clients import Recorded, client_of
from scrutiny.methods.annotation.markers import UNMAPPED, Markers, marker_genes, prompt_for
from scrutiny.testing import check_label_predictor

HERE = __name__


class Knows:
    """Names a cluster by the first part of its first marker, as in ``Bcell-3``; notes what it was asked."""

    asked: list = []

    def __init__(self, wrong: str = "", prefix: str = "") -> None:
        self.wrong, self.prefix = wrong, prefix

    identity = {"model": "knows"}

    def check_ready(self):
        pass

    def ask(self, prompt, *, sample):
        type(self).asked.append((prompt, sample))
        if self.wrong and sample == 0:
            return self.wrong
        return self.prefix + re.search(r"first: (\w+)-", prompt)[1].replace("cell", " cells")


class PicksTheFirst(Knows):
    """Chooses the first label that it is offered."""

    def ask(self, prompt, *, sample):
        return re.search(r"names: ([^;.]*)", prompt)[1]


class Meanwhile(Knows):
    """While it is asked, another process records an answer of its own into the same file."""

    file = ""

    def ask(self, prompt, *, sample):
        if prompt == "mine":
            Recorded(self.file, f"{HERE}:Meanwhile").ask("theirs", sample=0)
        return prompt.upper()


@pytest.fixture
def blood():
    """Three types of 40 cells; each has ten genes of its own that carry its name."""
    rng = np.random.default_rng(0)
    types = np.repeat(["Bcell", "Tcell", "NKcell"], 40)
    genes = [f"{name}-{i}" for name in ("Bcell", "Tcell", "NKcell") for i in range(10)] + [f"other-{i}" for i in range(30)]
    means = np.ones((120, 60))
    for code, name in enumerate(("Bcell", "Tcell", "NKcell")):
        means[types == name, 10 * code : 10 * code + 10] = 8
    obs = pd.DataFrame({"type": np.char.replace(types, "cell", " cell")}, index=[f"c{i}" for i in range(120)])
    return from_arrays("blood", sparse.csr_matrix(rng.poisson(means)), obs, genes, roles={"label": "type"}, organism="human")


def told(method, data):
    return method.fit(data, seed=0).predict_labels(data.hide("label")).aligned_to(data.cell_ids)


def test_planted_markers_are_found_and_told(blood):
    _, clusters = np.unique(blood.role("label"), return_inverse=True)
    for name, genes in zip(("Bcell", "NKcell", "Tcell"), marker_genes(blood, clusters, 10)):
        assert {gene.split("-")[0] for gene in genes} == {name}
    named = replace(blood, var=blood.var.assign(symbol=["SYM" if i == 0 else "" for i in range(60)]))
    assert "SYM" in marker_genes(named, clusters, 10)[0] and "Bcell-1" in marker_genes(named, clusters, 10)[0]


def test_clusters_get_the_label_that_the_answer_means(blood):
    Knows.asked.clear()
    method = Markers(f"{HERE}:Knows", tissue="blood")
    found = told(method, blood)
    assert (found.labels == blood.role("label")).all() and (found.confidence == 1).all()
    prompt, sample = Knows.asked[0]
    assert "human cells from blood" in prompt and "B cell; NK cell; T cell." in prompt and sample == 0
    assert len(method.told["clusters"]) == len(Knows.asked)
    first = method.told["clusters"][0]
    assert len(first["markers"]) == 10 and first["answers"][0].endswith("cells") and sum(c["cells"] for c in method.told["clusters"]) == 120


def test_free_text_is_mapped_without_offering_the_labels(blood):
    Knows.asked.clear()
    found = told(Markers(f"{HERE}:Knows", {"prefix": "most likely "}, offer_labels=False, genes=3), blood)
    assert (found.labels == blood.role("label")).all()
    assert "NK cell;" not in Knows.asked[0][0] and len(re.search(r"first: (.*)\.", Knows.asked[0][0])[1].split(", ")) == 3


def test_what_means_no_label_is_wrong_and_its_text_is_kept(blood):
    method = Markers(f"{HERE}:Knows", {"wrong": "an eosinophil, surely\nIgnore the above"})
    found = told(method, blood)
    assert set(found.labels) == {UNMAPPED} and found.label_names.tolist() == sorted([UNMAPPED, "B cell", "NK cell", "T cell"])
    assert method.told["clusters"][0]["answers"] == ["an eosinophil, surely"]


def test_several_samples_vote(blood):
    found = told(Markers(f"{HERE}:Knows", {"wrong": "dunno"}, samples=4), blood)
    assert (found.labels == blood.role("label")).all()
    np.testing.assert_allclose(found.confidence, 0.75)
    np.testing.assert_allclose(found.probabilities[:, found.label_names == UNMAPPED], 0.25)


@pytest.mark.parametrize("name", ["os:getcwd", "subprocess:Popen", "collections:OrderedDict"])
def test_what_is_no_client_is_refused_before_it_is_called(name, tmp_path):
    with pytest.raises(InputError, match=f"'{name}' is no client: expected a class with"):
        client_of(name, {"args": ["touch", str(tmp_path / "made")]} if name == "subprocess:Popen" else {})
    assert not (tmp_path / "made").exists()


def test_what_another_process_records_meanwhile_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Meanwhile, "file", str(tmp_path / "answers.json"))
    assert Recorded(Meanwhile.file, f"{HERE}:Meanwhile").ask("mine", sample=0) == "MINE"
    offline = Recorded(Meanwhile.file)
    assert [offline.ask(prompt, sample=0) for prompt in ("mine", "theirs")] == ["MINE", "THEIRS"]


def test_answers_are_recorded_and_given_again(blood, tmp_path):
    file = tmp_path / "answers.json"
    Knows.asked.clear()
    recording = Markers("recorded", {"file": str(file), "source": f"{HERE}:Knows"}, samples=2)
    first = told(recording, blood)
    n_asked = len(Knows.asked)
    again, offline = told(recording, blood), Markers("recorded", {"file": str(file)}, samples=2)
    np.testing.assert_array_equal(told(offline, blood).probabilities, first.probabilities)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    assert len(Knows.asked) == n_asked == len(json.loads(file.read_text())["answers"]), "each prompt and sample is asked once"
    with pytest.raises(InputError, match="has no answer to the prompt .sample 0. that begins 'These genes"):
        told(Markers("recorded", {"file": str(file)}, genes=5), blood)


@pytest.mark.parametrize("content", ["{", "[]", '{"answers": [1]}', '{"answers": {"k": {"answer": 3}}}', '{"answers": {"k": "x"}}'])
def test_a_file_that_holds_no_answers_is_refused(tmp_path, content):
    file = tmp_path / "answers.json"
    file.write_text(content)
    with pytest.raises(InputError, match="holds no recorded answers"):
        Recorded(str(file)).ask("x", sample=0)


def test_the_key_holds_the_model_and_not_where_its_answers_lie(tmp_path):
    def options(**of_client):
        chosen = Chosen("markers", {"client": "http", "client_options": {"url": "https://x/v1", "model": "m", **of_client}})
        return recorded_options(chosen, chosen.make())

    assert options() == options(requests_per_minute=1, key_variable="ANY") != options(model="other")
    assert "client_options" not in options()


def test_nobody_to_ask_is_not_applicable(blood, tmp_path):
    with pytest.raises(NotApplicable, match="name a client"):
        Markers().check_applies(blood)
    with pytest.raises(NotApplicable, match="no recorded answers in"):
        Markers("recorded", {"file": str(tmp_path / "none.json")}).check_applies(blood)
    with pytest.raises(InputError, match="no client is called 'htp'; did you mean"):
        client_of("htp", {})
    with pytest.raises(InputError, match="cannot be loaded"):
        client_of("no.such.module:Client", {})
    with pytest.raises(InputError, match="has no option 'key'"):
        client_of("http", {"url": "http://x", "model": "m", "key": "secret"})


def test_the_prompt_says_what_is_known_and_no_more():
    told = prompt_for(["A", "B"], organism="unknown", tissue="", candidates=[])
    assert "one cluster of cells than in all others, the clearest first: A, B." in told and "these names" not in told


def test_the_contract_is_kept():
    check_label_predictor(lambda: Markers(f"{HERE}:PicksTheFirst"))
