"""Names, plugins, evidence and keys."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from scrutiny.core import registry
from scrutiny.core.cards import MetricCard
from scrutiny.core.errors import InputError, MissingDependency, NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.keys import digest_of_array, digest_of_json, digest_of_strings
from scrutiny.core.registry import Registry, derived, metric, require
from scrutiny.core.scores import Measured, RunSpec


def test_a_misspelt_name_is_answered_with_near_matches():
    with pytest.raises(InputError, match=r"no method is called 'harmny'; did you mean \['harmony'\]"):
        registry.METHODS.get("harmny")


def test_a_second_thing_of_one_name_is_an_error():
    own = Registry("method", {"pca": "scrutiny.methods.linear:ScaledPca"})
    with pytest.raises(InputError, match="already registered"):
        own.register("pca", object())
    own.register("mine", "thing")
    own.register("mine", "thing")
    with pytest.raises(InputError, match="mine/mine"):
        own.register("mine", "other")


def test_two_packages_that_offer_one_name_are_reported(monkeypatch):
    points = [EntryPoint("acme/x", "a:X", "scrutiny.methods"), EntryPoint("acme/x", "b:X", "scrutiny.methods")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(InputError, match="two packages offer a method called 'acme/x'"):
        Registry("method", {}).names()


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingDependency, match=r"scvi needs no_such_module.*pip install 'scrutiny\[scvi\]'"):
        require(("no_such_module",), "scvi", needed_by="scvi")


@pytest.fixture
def graph_of_evidence(monkeypatch):
    """A derived thing and three metrics, one of which names another; with counts of how often each ran."""
    calls = {"doubled": 0}

    @derived("doubled")
    def doubled(embedding):
        calls["doubled"] += 1
        return embedding * 2

    @derived("guess", rowwise=True)
    def guess(embedding):
        return embedding[:, 0] + 100

    @metric(MetricCard("total", "overall", "higher", 0, 1, "sum"))
    def total(doubled, weights=None, *, power: int = 1):
        return Measured(float((doubled**power).sum() + (0 if weights is None else weights.sum())), details={"power": power})

    @metric(MetricCard("half", "overall", "higher", 0, 1, "half of total"))
    def half(total):
        return total / 2

    @metric(MetricCard("broken", "overall", "higher", 0, 1, "needs what is not there"))
    def broken(nowhere):
        raise AssertionError("must not be called")

    monkeypatch.setattr("scrutiny.core.evidence.DERIVED", _table("derived", doubled=doubled, guess=guess))
    monkeypatch.setattr("scrutiny.core.evidence.METRICS", _table("metric", total=total, half=half, broken=broken))
    return calls


def _table(kind, **things):
    table = Registry(kind, {})
    for name, thing in things.items():
        table.register(name, thing)
    return table


def test_evidence_is_derived_once_and_metrics_may_name_metrics(graph_of_evidence):
    evidence = Evidence({"embedding": np.ones((2, 2))})
    assert evidence["half"] == 4
    assert evidence["total"] == 8
    assert evidence.measure("total").details == {"power": 1}
    assert graph_of_evidence["doubled"] == 1


def test_optional_evidence_is_used_where_it_is_there(graph_of_evidence):
    assert Evidence({"embedding": np.ones((2, 2)), "weights": np.array([1.0, 1.0])})["total"] == 10


def test_optional_evidence_that_does_not_apply_is_left_out_but_a_failure_and_a_missing_package_are_not(monkeypatch):
    trouble = [NotApplicable("one batch"), MissingDependency("needs x"), ValueError("bug")]

    @derived("fickle")
    def fickle(embedding):
        raise trouble[0]

    @metric(MetricCard("rest", "overall", "higher", 0, 1, "what is left"))
    def rest(embedding, fickle=None):
        return 1.0 if fickle is None else 0.0

    monkeypatch.setattr("scrutiny.core.evidence.DERIVED", _table("derived", fickle=fickle))
    monkeypatch.setattr("scrutiny.core.evidence.METRICS", _table("metric", rest=rest))
    assert Evidence({"embedding": np.ones((2, 2))})["rest"] == 1.0
    for error in (MissingDependency, ValueError):
        trouble.pop(0)
        with pytest.raises(error):
            Evidence({"embedding": np.ones((2, 2))})["rest"]


def test_what_is_missing_is_named(graph_of_evidence):
    evidence = Evidence({"embedding": np.ones((2, 2))})
    assert not evidence.has("broken")
    with pytest.raises(NotApplicable, match="needs 'nowhere'"):
        evidence["broken"]


def test_a_part_cuts_predictions_and_derives_the_rest_again(graph_of_evidence):
    evidence = Evidence({"embedding": np.array([[1.0], [2.0], [3.0]]), "labels": np.array(["a", "b", "c"]), "note": "kept"})
    assert evidence["total"] == 12
    assert evidence["guess"].tolist() == [101, 102, 103]
    part = evidence.part(np.array([0, 2]))
    assert part["total"] == 8
    assert part["guess"].tolist() == [101, 103]
    assert part.given["labels"].tolist() == ["a", "c"]
    assert part.given["note"] == "kept"


def test_options_and_needs_are_read_off_the_signature():
    @metric(MetricCard("m", "overall", "higher", 0, 1, "x"))
    def m(embedding, labels, batch=None, *, k: int = 15):
        return 0.0

    assert m.needs == ("embedding", "labels", "batch")
    assert m.optional == {"batch"}
    assert m.card.options == {"k": 15}


def test_keys_are_the_same_in_another_process_and_follow_content():
    spec = RunSpec("pca", "toy", "cell_types", 0, "1", "1", "abc", {"n_dims": 50})
    code = (
        "from scrutiny.core.scores import RunSpec;"
        "print(RunSpec('pca', 'toy', 'cell_types', 0, '1', '1', 'abc', {'n_dims': 50}).key)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == spec.key
    assert RunSpec("pca", "copy", "cell_types", 0, "1", "1", "abc", {"n_dims": 50}).key != spec.key, "equal files of two names both show"
    assert RunSpec("pca", "toy", "cell_types", 1, "1", "1", "abc", {"n_dims": 50}).key != spec.key


def test_keys_tell_apart_what_differs():
    assert digest_of_strings(["ab"]) != digest_of_strings(["a", "b"])
    assert digest_of_array(np.zeros((2, 3))) != digest_of_array(np.zeros((3, 2)))
    assert digest_of_array(np.arange(4, dtype=">i4")) == digest_of_array(np.arange(4, dtype="<i4"))
    assert digest_of_json({"a": 1, "b": 2}) == digest_of_json({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        digest_of_json({"a": object()})
