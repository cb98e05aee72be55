"""Vocabularies and medians as pickles and JSON: the same dictionaries as `pickle` and `json` give, of plain values only."""

import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutiny.core.errors import InputError
from scrutiny.nets.dictionaries import from_json, read_dictionary, read_index, to_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
keys = st.text(max_size=5).filter(str.isascii) | st.integers() | st.sampled_from(["scrutiny:pairs", "scrutiny:tensor", "a/b", ""])
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12)


def alike(one, other):
    """Equal, in the same order, and of the same types."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [*map(repr, one)] == [*map(repr, other)] and all(map(alike, one.values(), other.values()))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, trees, max_size=4), st.integers(0, 5))
def test_pickles_are_read_as_pickle_reads_them(tmp_path_factory, tree, protocol):
    path = tmp_path_factory.getbasetemp() / "tree.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    assert alike(read_dictionary(path), tree)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_json_gives_back_what_it_was_given(tree):
    assert alike(from_json(to_json(tree)), tree)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), trees, max_size=4).map(lambda tree: json.loads(json.dumps(tree))))
def test_ordinary_json_is_read_as_json_reads_it(tree):
    if "scrutiny" not in json.dumps(tree):
        assert alike(from_json(json.dumps(tree)), tree)


def test_tensors_are_named_by_their_path():
    tree = {"state": {"a.weight": torch.ones(2), 1: [torch.zeros(1), "x"]}, "state/a.weight": torch.full((1,), 7.0), "n": 3}
    tensors = {}
    text = to_json(tree, tensors)
    assert list(tensors) == ["state/a.weight", "state/1/0", "state/a.weight_"]
    back = from_json(text, tensors)
    assert back["state"]["a.weight"] is tree["state"]["a.weight"] and back["state/a.weight"] is tree["state/a.weight"]
    assert back["state"][1][0] is tree["state"][1][0] and list(back) == list(tree)
    with pytest.raises(KeyError):
        from_json(text, {})
    with pytest.raises(TypeError, match="'a' is a tensor"):
        to_json({"a": torch.ones(1)})


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_numbers_and_names_become_those_of_python(tmp_path, protocol):
    values = {
        np.str_("ENSG0"): np.float64(2.25),
        np.str_("ENSG1"): np.float32(0.1),
        "float16": np.float16(1.5),
        "int8": np.int8(-1),
        "uint64": np.uint64(2**64 - 1),
        "bool": np.bool_(True),
        "big-endian": np.array([3.5], dtype=">f8")[0],
    }
    path = tmp_path / "medians.pkl"
    path.write_bytes(pickle.dumps(OrderedDict(values), protocol))
    assert alike(read_dictionary(path), {str(name): value.item() for name, value in values.items()})


def test_names_of_numpy_before_version_2(tmp_path):
    path = tmp_path / "medians.pkl"
    path.write_bytes(pickle.dumps({"a": np.float64(2.25)}, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_dictionary(path) == {"a": 2.25}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1], "holds a list; expected a dictionary"),
        ({"a": np.ones(3)}, r"numpy.*_reconstruct.*nothing was run"),
        ({"a": b"bytes"}, "bytes"),
        ({("a", 1): 2}, "has a tuple as key"),
        ({"a": {1, 2}}, "refused"),
        ({"a": 1j}, r"complex"),
        ({"a": np.complex64(1)}, "numpy value of type 'c8'"),
        ({"a": np.datetime64("2024-01-01")}, "numpy value of type 'M8'"),
        ({"a": 2**5000}, "whole number of 5,001 bits"),
    ],
)
def test_other_things_are_refused_by_name(tmp_path, value, match):
    path = tmp_path / "tokens.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(InputError, match=match) as error:
        read_dictionary(path)
    assert "tokens.pkl" in str(error.value)


def test_every_official_dictionary(shared):
    files = [path for path in (shared / "parity").rglob("*") if path.suffix in (".pkl", ".pickle")]
    assert len(files) >= 12
    for path in [*files, shared / "reference-data" / "geneformer" / "ensembl_mapping_dict_gc104M.pkl"]:
        found, expected = read_dictionary(path), pickle.loads(path.read_bytes())
        assert found == expected and list(found) == list(expected), path


def test_an_index_lists_the_tensors_of_each_file(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 9}, "weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}}))
    assert read_index(path) == {"2.bin": ["a", "c"], "1.bin": ["b"]}
