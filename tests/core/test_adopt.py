"""What one task derived serves the next, as far as it rests on the same arrays."""

import numpy as np
import pytest

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import DERIVED, METHODS, Registry, derived

MADE = []


@pytest.fixture(autouse=True)
def three_kinds(monkeypatch):
    @derived("of_embedding")
    def of_embedding(embedding):
        MADE.append("of_embedding")
        return embedding.sum()

    @derived("of_both")
    def of_both(of_embedding, labels, batch=None):
        MADE.append("of_both")
        return of_embedding + len(np.unique(labels)) + (0 if batch is None else 100)

    @derived("refused")
    def refused(embedding):
        MADE.append("refused")
        raise NotApplicable("not for these cells")

    MADE.clear()
    monkeypatch.setattr(DERIVED, "_registered", {})
    for thing in (of_embedding, of_both, refused):
        DERIVED.register(thing.name, thing)


def evidence(labels=("a", "b"), **more):
    return Evidence({"embedding": np.arange(4.0).reshape(2, 2), "labels": np.array(labels), **more})


def test_equal_arrays_share_all_that_was_made_and_all_that_was_refused():
    first, second = evidence(), evidence()
    assert first["of_both"] == 8
    with pytest.raises(NotApplicable):
        first["refused"]
    second.adopt(first)
    assert second["of_both"] == 8
    with pytest.raises(NotApplicable, match="not for these cells"):
        second["refused"]
    assert MADE == ["of_embedding", "of_both", "refused"]


def test_what_rests_on_another_array_is_made_anew():
    first, second = evidence(), evidence(("a", "a"))
    first["of_both"]
    second.adopt(first)
    assert second["of_both"] == 7 and MADE == ["of_embedding", "of_both", "of_both"]


def test_optional_evidence_that_only_one_has_keeps_them_apart():
    first, second = evidence(), evidence(batch=np.array(["x", "y"]))
    first["of_both"]
    second.adopt(first)
    assert second["of_both"] == 108 and MADE.count("of_embedding") == 1


def test_a_registry_takes_over_what_another_process_registered():
    theirs, ours = Registry("method", {}), Registry("method", {})
    theirs.register("mine/a", Registry)
    ours.adopt(theirs.registered)
    ours.adopt(theirs.registered)
    assert ours.get("mine/a") is Registry and "pca" in METHODS
    with pytest.raises(InputError):
        ours.register("mine/a", Evidence)
