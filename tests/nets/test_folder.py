"""Finding the files of a checkpoint, and the key that tells one from another."""

import json
import os
import shutil
from hashlib import sha256

import pytest

from scrutiny.core.errors import InputError
from scrutiny.nets.folder import Folder


def put(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(content)
    return folder


def test_the_first_pattern_that_anything_matches(tmp_path):
    put(tmp_path, a__pkl="1", config__json="2")
    folder = Folder(tmp_path)
    assert folder.file("b.pkl", "a*.pkl").name == "a.pkl"
    assert folder.find("missing.csv") is None
    with pytest.raises(InputError, match=r"no file weights\.pt or w\*\.bin; it has \['a\.pkl', 'config\.json'\]"):
        folder.file("weights.pt", "w*.bin")


@pytest.mark.parametrize(
    ("asked", "there"),
    [("m.ckpt", "m.safetensors"), ("*.best.pt", "x.best.safetensors"), ("t*.pkl", "tok.json"), ("t.pickle", "t.json"), ("m.bin", "m.bin")],
)
def test_a_converted_file_counts_as_the_file_and_comes_first(tmp_path, asked, there):
    put(tmp_path, **{asked.replace("*", "x"): "old", there: "new"})
    assert Folder(tmp_path).file(asked).name == there


def test_several_files_of_one_pattern_are_an_error(tmp_path):
    put(tmp_path, a__ckpt="", b__ckpt="")
    with pytest.raises(InputError, match=r"several files.*a\.ckpt.*b\.ckpt.*keep one"):
        Folder(tmp_path).find("*.ckpt")


def test_weights_in_several_files_are_found_by_their_index(tmp_path):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    put(tmp_path, **{"model.safetensors.index.json": json.dumps(index), "model-1.safetensors": "1", "model-2.safetensors": "2"})
    folder = Folder(tmp_path)
    assert folder.file("model.safetensors", "pytorch_model.bin").name == "model.safetensors.index.json"
    before = folder.key
    put(tmp_path, **{"model-2.safetensors": "changed"})
    assert folder.key != before, "the parts are part of the key"


def test_the_key_is_of_the_files_that_were_read_wherever_they_lie(tmp_path):
    put(tmp_path / "a", w__pt="weights", config__json="{}", readme__md="one")
    one = Folder(tmp_path / "a")
    one.file("w.pt")
    alone = one.key
    one.file("config.json")
    assert one.key != alone
    assert one.digests == {"w.pt": sha256(b"weights").hexdigest(), "config.json": sha256(b"{}").hexdigest()}
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    put(tmp_path / "b", readme__md="two")
    other = Folder(tmp_path / "b")
    other.file("config.json"), other.file("w.pt"), other.file("w*.pt")
    assert other.key == one.key, "neither the place, the order nor other files matter"
    put(tmp_path / "b", w__pt="weightS")
    os.utime(tmp_path / "b" / "w.pt", ns=(1, 1))
    assert other.key != one.key


def test_files_elsewhere_count_by_content_not_by_place(tmp_path):
    put(tmp_path / "a", w__pt="weights")
    keys = []
    for place in ("x", "z"):
        put(tmp_path / place, genes__tsv="A\nB")
        folder = Folder(tmp_path / "a")
        folder.file("w.pt")
        assert folder.also(tmp_path / place / "genes.tsv").name == "genes.tsv"
        keys.append(folder.key)
    assert keys[0] == keys[1]
    with pytest.raises(InputError, match=r"none\.tsv"):
        folder.also(tmp_path / "none.tsv")


def test_links_to_files_elsewhere_are_followed(tmp_path):
    """The cache of Hugging Face: snapshots/REVISION/NAME -> ../../blobs/SHA."""
    put(tmp_path / "blobs", abc123="weights")
    snapshot = put(tmp_path / "snapshot")
    (snapshot / "model.safetensors").symlink_to("../blobs/abc123")
    (snapshot / "gone.pkl").symlink_to("../blobs/nowhere")
    found = Folder(snapshot).file("model.safetensors")
    assert found.name == "model.safetensors" and found.read_text() == "weights"
    assert Folder(snapshot).find("gone.pkl") is None


def test_folders_that_are_none(tmp_path):
    put(tmp_path, file="x")
    (tmp_path / "sub.ckpt").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(InputError, match="there is no folder"):
            Folder(path)
    assert Folder(tmp_path).find("*.ckpt") is None, "a folder is no file"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_folder_that_may_not_be_read(tmp_path):
    closed = put(tmp_path / "closed", w__pt="x")
    closed.chmod(0)
    try:
        with pytest.raises(InputError, match="permissions"):
            Folder(closed)
    finally:
        closed.chmod(0o700)
