"""Adapters on disk: what fits is used with the same bits, and what is of another base, damaged or hostile is refused by name."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapted import adapted, cells, folder_of

from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.tuning.adaptation.files import ABOUT, TENSORS, read_about


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A method that learnt, and the folder of its adapter."""
    return adapted("geneformer", "lora", tmp_path_factory.mktemp("runs"), epochs=2, rank=4, learning_rate=1e-2).fit(cells(), seed=0)


@pytest.fixture
def folder(learnt, tmp_path):
    """A copy of the adapter, to be changed."""
    shutil.copytree(learnt.folder, tmp_path / "adapter")
    return tmp_path / "adapter"


def taken(folder, way="lora", family="geneformer", *, checkpoint=None, **options):
    method = METHODS.get(f"{family}+{way}")(checkpoint=checkpoint or folder_of(family), adapter=str(folder), device="cpu", **options)
    return method.fit(cells(), seed=7)


def changed(folder, change):
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / TENSORS).items()}
    change(tensors)
    save_file(tensors, folder / TENSORS)


def rewritten(folder, **fields):
    found = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**found, **fields}))


def test_an_adapter_holds_what_was_trained_and_is_small(learnt):
    held = load_file(learnt.folder / TENSORS)
    of_head = {"head/weight", "head/bias", "head/center", "head/scale"}
    assert held.keys() - of_head == learnt.opened.trained and all("lora_" in name for name in learnt.opened.trained)
    about = read_about(learnt.folder)
    assert (about.family, about.way, about.options["rank"], about.labels) == ("geneformer", "lora", 4, ["a", "b", "c"])
    assert not (learnt.folder / "snapshots").exists() and (learnt.folder / "log.csv").is_file()


def test_a_named_adapter_is_used_and_nothing_is_learnt(learnt, folder):
    """Whatever rank is asked for: that of the file counts."""
    query = cells(20, seed=1)
    method = taken(folder)
    np.testing.assert_array_equal(method.predict_labels(query).probabilities, learnt.predict_labels(query).probabilities)
    assert method.n_trainable == learnt.n_trainable
    assert method.weights_key != learnt.weights_key and {"adapter", "adapters"} <= method.outside_key


def test_what_a_named_adapter_has_seen_is_not_known(learnt, folder):
    """Whatever the corpus of its model was: it may have learnt from the very cells that it is scored on."""
    method = taken(folder)
    assert method.learnt_elsewhere and method.facts(cells())["exposure"]["answer"] == "unknown"
    assert not learnt.learnt_elsewhere and "exposure" not in learnt.facts(cells())


def test_another_base_is_refused_with_what_was_found_and_expected(folder):
    with pytest.raises(InputError, match="base weights: the adapter has '[0-9a-f]{16}', this model '[0-9a-f]{16}'"):
        taken(folder, checkpoint=folder_of("geneformer", 1))
    with pytest.raises(InputError, match="family: the adapter has 'geneformer', this model 'scgpt'"):
        taken(folder, family="scgpt")
    with pytest.raises(InputError, match="option layer: the adapter has None, this model 0"):
        taken(folder, layer=0)
    with pytest.raises(InputError, match=r"was made by 'lora'; take geneformer\+lora"):
        taken(folder, way="ia3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head/bias"), r"missing \['head/bias'\]"),
        (lambda t: t.update({"words.weight": torch.zeros(2, 2)}), r"left over \['words.weight'\]"),
        (lambda t: t.update({"head/weight": torch.zeros(4, 16)}), r"head/weight is \(4, 16\).*expected \(3, 16\)"),
        (lambda t: t.update({"head/weight": torch.full((3, 16), torch.nan)}), "head/weight has values that are not finite"),
        (lambda t: t.update({"head/weight": torch.zeros(3, 16, dtype=torch.float64)}), "torch.float64; expected"),
    ],
    ids=["missing", "more", "shape", "nan", "type"],
)
def test_tensors_that_do_not_fit_are_refused(folder, change, message):
    changed(folder, change)
    with pytest.raises(InputError, match=message):
        taken(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": ["a"]}, "at least two labels"),
        ({"labels": ["b", "a", "c"]}, "sorted, each once"),
        ({"labels": ["a", "b", ""]}, "at least two labels, sorted"),
        ({"format": 2}, "has the format 2"),
        ({"more": 1}, "'more'"),
        ({"seed": "0"}, "'seed'"),
        ({"options": {"rank": 10**9, "alpha": 16.0, "target": ""}}, "rank is 1000000000"),
        ({"options": {"rank": 8, "alpha": float("nan"), "target": ""}}, "alpha nan"),
        ({"options": {"rnk": 8}}, "no option 'rnk'"),
        ({"options": {"rank": 8, "alpha": 16.0, "target": "("}}, "no regular expression"),
        ({"options": {"rank": 8, "alpha": 16.0, "target": ""}}, "lora_a is"),
    ],
)
def test_records_that_cannot_be_are_refused(folder, fields, message):
    rewritten(folder, **fields)
    with pytest.raises(InputError, match=message):
        taken(folder)


def test_folders_without_an_adapter_and_damaged_files_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"no file adapter\.safetensors"):
        taken(tmp_path)
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-20])
    with pytest.raises(InputError, match="cut or damaged"):
        taken(folder)
    (folder / ABOUT).write_text("[]")
    with pytest.raises(InputError, match="expected a dictionary"):
        taken(folder)


def test_merged_weights_are_written_under_official_names(learnt, tmp_path):
    """The family itself then embeds as the adapted net does."""
    data = cells(20, seed=1)
    learnt.write_model(tmp_path / "model")
    vectors = METHODS.get("geneformer")(str(tmp_path / "model"), device="cpu").fit(data, seed=0).embed(data).values
    np.testing.assert_allclose(vectors, learnt.adapted.embed(data).values, rtol=0, atol=1e-6)
    plain = METHODS.get("geneformer")(folder_of("geneformer"), device="cpu").fit(data, seed=0).embed(data).values
    assert np.abs(vectors - plain).max() > 1e-3


def test_bottlenecks_have_no_official_names(tmp_path):
    method = adapted("geneformer", "adapters", tmp_path, epochs=1).fit(cells(), seed=0)
    with pytest.raises(InputError, match="adapters cannot be part of the model's own weights"):
        method.write_model(tmp_path / "model")
