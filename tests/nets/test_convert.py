"""Checkpoints without pickles: the same numbers, read by the same functions; whole files only; nothing twice; no harm to the source."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_weights import in_parts, odd_tensors, same

import scrutiny
from scrutiny.core.errors import InputError
from scrutiny.core.registry import METHODS
from scrutiny.methods.foundation.recognise import family_of
from scrutiny.nets.convert import convert
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.folder import Folder
from scrutiny.nets.weights import read_checkpoint

MODELS = "cellplm genecompass geneformer_v1 geneformer_v2 langcell nicheformer scbert scfoundation scgpt scimilarity uce".split()


def read(path: Path):
    return read_dictionary(path) if path.suffix in (".pkl", ".pickle", ".json") else read_checkpoint(path)


def content(folder: Path):
    return {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", MODELS)
def test_official_layouts_become_the_same_without_pickles(shared, tmp_path, model):
    source = shared / "parity" / model
    result = convert(source, tmp_path / "out")
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert result.left_out.keys() == {"cells.h5ad", "expected.npz"} and all("sample data" in why for why in result.left_out.values())
    assert result.converted.keys() | result.copied.keys() == names - result.left_out.keys()
    assert all(Path(name).suffix in (".safetensors", ".json") for name in result.converted.values())
    for old, new in result.converted.items():
        assert same(read(tmp_path / "out" / new), read(source / old)), old
        assert Folder((tmp_path / "out" / new).parent).file(Path(old).name).name == Path(new).name, "asked for by its official name"
    for old, new in result.copied.items():
        assert (tmp_path / "out" / new).read_bytes() == (source / old).read_bytes() and old == new


@pytest.mark.parametrize("model", MODELS)
def test_the_model_gives_the_same_vectors(shared, tmp_path, model):
    source = tmp_path / "source"
    shutil.copytree(shared / "parity" / model, source, copy_function=shutil.copyfile)
    if model == "scfoundation":
        shutil.copy(shared / "reference-data" / "scfoundation" / "OS_scRNA_gene_index.19264.tsv", source)
    convert(source, tmp_path / "out")
    assert family_of(tmp_path / "out") == family_of(source)
    data = scrutiny.read(source / "cells.h5ad")
    make = METHODS.get(family_of(source))
    vectors = []
    for folder in (source, tmp_path / "out"):
        method = make(str(folder), device="cpu")
        vectors.append(method.fit(data, seed=0).embed(data) if hasattr(method, "fit") else method.fit_embed(data, seed=0))
    assert np.array_equal(vectors[0].values, vectors[1].values)


def test_odd_tensors_and_nested_values_come_back(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    tree = {"state_dict": odd_tensors(), "a/b": torch.ones(1), "a": {"b": torch.zeros(1), 7: {"x": None}}, "list": [1, torch.ones(2)]}
    torch.save(tree | {"n": np.float64(0.5)}, source / "last.ckpt")
    torch.save(torch.ones(3), source / "all_tokens.torch")
    torch.save({gene: torch.full((2,), float(i)) for i, gene in enumerate("zyxab")}, source / "genes.pt")
    convert(source, tmp_path / "out")
    assert same(read(tmp_path / "out" / "last.safetensors"), read(source / "last.ckpt"))
    assert same(read(tmp_path / "out" / "all_tokens.safetensors"), {"tensor": torch.ones(3)})
    assert list(read(tmp_path / "out" / "genes.safetensors")) == list("zyxab"), "the order of a dictionary may be what it says"
    assert load_file(tmp_path / "out" / "last.safetensors")["state_dict/view"].tolist() == odd_tensors()["view"].tolist()


def test_keys_that_are_numbers_come_back_as_numbers(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "homologues.pickle").write_bytes(pickle.dumps({3: 4, 1: {2: "x"}, "5": np.int64(6)}))
    convert(source, tmp_path / "out")
    assert same(read(tmp_path / "out" / "homologues.json"), {3: 4, 1: {2: "x"}, "5": 6})


def test_weights_in_several_files_become_one(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    index, tensors = in_parts(source, ".bin")
    result = convert(source, tmp_path / "out")
    assert result.converted == {index.name: "model.safetensors"}
    assert "part of model.bin.index.json" in result.left_out["model-0.bin"]
    found = read(Folder(tmp_path / "out").file("model.bin"))
    assert found.keys() == tensors.keys() and all(same(found[name], tensors[name]) for name in tensors)


def test_what_is_left_out_and_why(tmp_path):
    source = tmp_path / "source"
    (source / ".cache").mkdir(parents=True)
    for name in ("training_args.bin", "optimizer.pt", "rng_state_0.pth", ".cache/x.pkl", "setup.py"):
        (source / name).write_bytes(pickle.dumps(print))
    (source / "labelled_kNN.bin").write_bytes(bytes(8) + b"an index of hnswlib")
    (source / "MODEL_LICENSE").write_text("non-commercial")
    result = convert(source, tmp_path / "out")
    assert result.copied == {"MODEL_LICENSE": "MODEL_LICENSE"} and not result.converted
    assert result.left_out.keys() == {"training_args.bin", "optimizer.pt", "rng_state_0.pth", "setup.py", "labelled_kNN.bin"}
    assert "training" in result.left_out["optimizer.pt"] and "neither" in result.left_out["labelled_kNN.bin"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    torch.save({"a": torch.ones(3)}, folder / "a.pt")
    torch.save({"b": torch.ones(3)}, folder / "b.pt")
    (folder / "tokens.pkl").write_bytes(pickle.dumps({"x": 1}))
    (folder / "config.json").write_text(json.dumps({"d": 2}))
    return folder


def test_what_is_done_is_not_done_again_and_what_changed_is(source, tmp_path):
    out = tmp_path / "out"
    told = []
    convert(source, out, tell=told.append)
    assert told == ["a.pt -> a.safetensors", "b.pt -> b.safetensors", "config.json -> config.json", "tokens.pkl -> tokens.json"]
    before = content(out)
    (out / "b.safetensors").unlink()
    torch.save({"a": torch.zeros(3)}, source / "a.pt")
    (out / "config.json").write_text("cut")
    convert(source, out)
    assert same(read(out / "a.safetensors"), {"a": torch.zeros(3)}) and same(read(out / "b.safetensors"), {"b": torch.ones(3)})
    assert read(out / "config.json") == {"d": 2}
    again = content(out)
    convert(source, out)
    assert {name: state for name, state in content(out).items() if name.suffix == ".safetensors"} == {
        name: state for name, state in again.items() if name.suffix == ".safetensors"
    }
    assert again.keys() == before.keys()


def test_files_have_the_usual_mode(source, tmp_path):
    save_file({"c": torch.ones(1)}, source / "c.safetensors")
    (source / "config.json").chmod(0o600)
    before = os.umask(0o027)
    try:
        convert(source, tmp_path / "out")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {
        name: 0o640 for name in ("a.safetensors", "b.safetensors", "c.safetensors", "config.json", "tokens.json")
    }


def test_a_kill_leaves_whole_files_only(source, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scrutiny.nets.convert.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out")
    assert content(tmp_path / "out") == {}
    monkeypatch.undo()
    assert len(convert(source, tmp_path / "out").converted) == 3


def test_the_source_is_only_read(source, tmp_path):
    before = content(source)
    convert(source, tmp_path / "out")
    assert content(source) == before
    for out in (source, source / "converted", source / ".." / "source"):
        with pytest.raises(InputError, match="name one outside"):
            convert(source, out)
    with pytest.raises(InputError, match="there is no folder"):
        convert(source / "none", tmp_path / "other")
    assert content(source) == before


def test_hostile_files_stop_it_by_name(source, tmp_path):
    (source / "b.pt").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(InputError, match=r"b\.pt is refused.*getcwd"):
        convert(source, tmp_path / "out")
    assert same(read(tmp_path / "out" / "a.safetensors"), {"a": torch.ones(3)}), "what came before stays"


def test_two_files_for_one_name(source, tmp_path):
    save_file({"c": torch.ones(1)}, source / "a.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors and a\.pt would both become a\.safetensors"):
        convert(source, tmp_path / "out")


def test_links_become_files(source, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in source.iterdir():
        (linked / path.name).symlink_to(path)
    convert(linked, tmp_path / "out")
    shutil.rmtree(source)
    assert same(read(tmp_path / "out" / "a.safetensors"), {"a": torch.ones(3)})
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_a_place_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        convert(source, tmp_path / "file")
