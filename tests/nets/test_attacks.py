"""Hostile and broken files: each is refused by name, nothing in it is run, and time and memory stay bounded."""

import gzip
import json
import os
import pickle
import resource
import shutil
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import Stored, Tensor, entry, write_legacy, write_safetensors, write_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from scrutiny.core.errors import InputError
from scrutiny.nets.convert import convert
from scrutiny.nets.dictionaries import read_dictionary
from scrutiny.nets.weights import read_checkpoint

SECONDS, MEGABYTES = 10, 400
FLOATS = Stored(torch.FloatStorage, "0", 4)
FOUR = struct.pack("<4f", 1, 2, 3, 4)
HUGE = 1 << 40


def refused(path, match=None, read=read_checkpoint):
    """The file is refused in bounded time and memory, by an error that names it."""
    began, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=match) as error:
        read(path)
    assert path.name in str(error.value) and len(str(error.value)) < 2000
    assert time.perf_counter() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MEGABYTES << 10


# Code in pickles -------------------------------------------------------------------------------------------------------------------------


class Calls:
    """Pickled, it is a call of this function; `pickle.loads` makes it."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def programs(canary):
    """Pickles that make the canary, or would if they could, each by another way."""
    touch, opens = f"touch {canary}".encode(), f'open("{canary}", "w")'
    return {
        "os.system": pickle.dumps(Calls(os.system, touch.decode()), 2),
        "os.system in a dictionary, protocol 5": pickle.dumps({"a": Calls(os.system, touch.decode())}, 5),
        "eval": pickle.dumps([Calls(eval, opens)], 2),
        "exec, protocol 0": pickle.dumps(Calls(exec, opens), 0),
        "INST": b"(S'" + touch + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + touch + b"'\no.",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'" + touch + b"'\ntR.",
        "numpy.load of objects": pickle.dumps(Calls(np.load, f"{canary}.npy", None, True), 2),
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(S'" + opens.encode() + b"'\n}tR.",
        "copyreg": b"ccopyreg\n_reconstructor\n(cos\n_wrap_close\ncbuiltins\nobject\nNtR.",
        "torch.load": b"\x80\x02ctorch.serialization\nload\n(S'" + f"{canary}.pt".encode() + b"'\nNNI00\ntR.",
        "as the state of a stand-in": b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00f8tRcos\nsystem\n(S'" + touch + b"'\ntRb.",
        "in place of a stand-in": b"\x80\x02cnumpy\ndtype\n(N}X\x08\x00\x00\x00__code__X\x01\x00\x00\x00xstb.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"\x80\x02cbuiltins\neval\nQ.",
    }


PROGRAMS = sorted(programs(Path("canary")))


@pytest.fixture
def canary(tmp_path):
    """A file that a successful attack makes; the files that two attacks load are there."""
    path = tmp_path / "canary"
    np.save(f"{path}.npy", np.array([Calls(os.system, f"touch {path}")], dtype=object), allow_pickle=True)
    Path(f"{path}.pt").write_bytes(pickle.dumps(Calls(os.system, f"touch {path}")))
    yield path
    assert not path.exists(), "the attack was run"


def test_these_programs_do_run_where_nothing_stops_them(tmp_path):
    """Else the tests below would show nothing."""
    for name in ("os.system", "eval", "exec, protocol 0", "INST", "OBJ", "getattr"):
        path = tmp_path / name.replace(" ", "")
        pickle.loads(programs(path)[name])
        assert path.exists(), name


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_place_of_a_dictionary(tmp_path, canary, name):
    path = tmp_path / "tokens.pkl"
    path.write_bytes(programs(canary)[name])
    refused(path, read=read_dictionary)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_in_place_of_weights(tmp_path, canary, name):
    program = programs(canary)[name]
    plain = tmp_path / "plain.bin"
    plain.write_bytes(program)
    refused(plain)
    refused(write_zip(tmp_path / "zip.pt", program))
    refused(write_zip(tmp_path / "zip.ckpt", b"\x80\x02}X\x01\x00\x00\x00a" + program.removeprefix(b"\x80\x02")))
    refused(write_legacy(tmp_path / "legacy.pth", program))
    whole = write_legacy(tmp_path / "legacy2.pth", {}).read_bytes()
    legacy = tmp_path / "legacy3.pth"
    legacy.write_bytes(whole[: whole.index(b".") + 1] + program)
    refused(legacy)


def test_the_message_says_what_was_wanted_and_what_to_do(tmp_path, canary):
    program = programs(canary)["os.system"]
    path = tmp_path / "tokens.pkl"
    path.write_bytes(program)
    refused(path, r"refused: it wants to run or build '(posix|nt|os)\.system'; nothing was run; expected text and numbers", read_dictionary)
    refused(write_zip(tmp_path / "w.pt", program), r"refused.*system'; nothing was run.*Ask the source for a state_dict")


def test_a_whole_net_and_a_torchscript_program(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", r"torch\.nn\.modules\.linear\.Linear.*state_dict")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    refused(tmp_path / "script.pt", "TorchScript")


# Bombs: little files that ask for much memory or time ------------------------------------------------------------------------------------


TWICE = b"2\x86"  # what is on the stack becomes a pair of itself and itself


SAME = b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R"  # the bytes of the text in memory
BOMBS = {
    "index of memory": b"\x80\x02}r\xff\xff\xff\xff",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b".",
    "length of a text": b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"}",
    "numpy void": b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x0b\x00\x00\x00V1099511627\x85R\x85R.",
    "numpy text": b"\x80\x02cnumpy\ndtype\nX\x0b\x00\x00\x00U1099511627\x85R.",
    "lists in lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 50_000 + b".",
    "twice in itself": b"\x80\x02}X\x01\x00\x00\x00aN" + TWICE * 60 + b"s.",
    "hash": b"\x80\x02}N" + TWICE * 60 + b"Ns.",
    "encoded over and over": b"\x80\x02" + b"c_codecs\nencode\n" * 40 + b"S'" + b"a" * 1000 + b"'\n" + b"S'hex'\n\x86R" * 40 + b".",
    "the same bytes over and over": b"\x80\x02X\xf0\x49\x02\x00" + b"a" * 150_000 + b"q\x00c_codecs\nencode\nq\x01" + SAME * 9_999 + b".",
    "number of 9 million digits": b"I" + b"9" * 9_000_000 + b"\n.",
    "tensor type": b"\x80\x02ctorch\nFloatTensor\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
    "bytes": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_in_pickles(tmp_path, name):
    for ending, read in ((".pkl", read_dictionary), (".bin", read_checkpoint)):
        path = tmp_path / f"bomb{ending}"
        path.write_bytes(BOMBS[name])
        refused(path, read=read)
    refused(write_zip(tmp_path / "bomb.pt", BOMBS[name]))
    refused(write_legacy(tmp_path / "bomb.pth", BOMBS[name]))


DEEP, LONG = '{"a": ' + "[" * 200 + "]" * 200 + "}", '{"a": ' + "9" * 100_000 + "}"


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 100_000, DEEP, LONG, '{"a": "\\ud800"}', "{'a': 1}", "[1]", "7"])
def test_bombs_and_nonsense_in_json(tmp_path, text):
    path = tmp_path / "vocab.json"
    path.write_text(text)
    refused(path, read=read_dictionary)


@pytest.mark.parametrize("name", ["vocab.json", "tokens.pkl"])
def test_a_dictionary_of_gigabytes(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"{}")
        file.truncate(1 << 33)
    refused(path, "8,589,934,592 bytes; expected at most", read_dictionary)


def test_zip_bombs(tmp_path):
    refused(write_zip(tmp_path / "a.pt", {"a": 1}, {"0": bytes(50 << 20)}, compressed=True), "compressed")
    refused(write_zip(tmp_path / "b.pt", b"\x80\x02" + b"N0" * (20 << 20) + b"}."), "more than 32 MB")
    path = write_zip(tmp_path / "c.pt", {"a": Tensor(FLOATS, (4,), (1,))}, {"0": FOUR})
    whole = path.read_bytes()
    entry_at = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"archive/data/0"))
    path.write_bytes(whole[: entry_at + 20] + struct.pack("<LL", 1 << 31, 1 << 31) + whole[entry_at + 28 :])
    refused(path, "larger together than the file")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (Tensor(FLOATS, (HUGE,), (0,)), "many times as large as the file"),
        (Tensor(FLOATS, (HUGE, HUGE), (0, 0)), "many times as large as the file"),
        (Tensor(FLOATS, (1 << 62, 4, 1 << 62), (0, 1, 0)), "many times as large"),
        (Tensor(FLOATS, (5,), (1,)), "beyond the numbers that are stored"),
        (Tensor(FLOATS, (2, 2), (3, 1)), "beyond the numbers"),
        (Tensor(FLOATS, (2,), (1,), offset=3), "beyond the numbers"),
        (Tensor(FLOATS, (2,), (1,), offset=HUGE), "beyond the numbers"),
        (Tensor(FLOATS, (-2,), (1,)), "a shape that no tensor has"),
        (Tensor(FLOATS, (2,), (-1,)), "a shape that no tensor has"),
        (Tensor(FLOATS, (2,), (1,), offset=-1), "a shape that no tensor has"),
        (Tensor(FLOATS, (1,) * 1000, (1,) * 1000), "a shape that no tensor has"),
        (Tensor(FLOATS, (2, 2), (1,)), "a shape that no tensor has"),
        (Tensor(FLOATS, ("2",), (1,)), None),
        (Tensor("0", (2,), (1,)), None),
        (Tensor(Stored(torch.FloatStorage, "0", HUGE), (4,), (1,)), None),
        (Tensor(Stored(torch.FloatStorage, "0", -4), (4,), (1,)), "not a storage"),
        (Tensor(Stored(torch.DoubleStorage, "0", 4), (4,), (1,)), None),
        (Tensor(Stored(torch.FloatStorage, "../../etc/passwd", 4), (4,), (1,)), None),
        (Tensor(Stored("FloatStorage", "0", 4), (4,), (1,)), "not a storage"),
    ],
)
def test_tensors_that_are_not_there(tmp_path, tensor, match):
    refused(write_zip(tmp_path / "a.pt", {"a": tensor}, {"0": FOUR}), match)
    refused(write_legacy(tmp_path / "a.pth", {"a": tensor}, {"0": FOUR}), None if match is None or "beyond" in match else match)


def test_many_names_for_one_tensor(tmp_path):
    ten_mb = Stored(torch.FloatStorage, "0", 5 << 19)
    tree = {str(number): Tensor(ten_mb, (5 << 19,), (1,)) for number in range(1000)}
    refused(write_zip(tmp_path / "a.pt", tree, {"0": bytes(10 << 20)}), "many times as large as the file")


@pytest.mark.parametrize("name", ["../../canary", "/tmp/canary", "archive/../../x", "archive\\..\\..\\x"])
def test_zip_entries_that_climb_out(tmp_path, name):
    refused(write_zip(tmp_path / "a.pt", {}, more=[(name, b"x")]), "climbs out")


def test_zip_archives_that_torch_does_not_write(tmp_path):
    refused(write_zip(tmp_path / "two.pt", {}, more=[("other/data.pkl", b"\x80\x02}.")]), "2 files data.pkl")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = write_zip(tmp_path / "twice.pt", {}, more=[("archive/data.pkl", b"\x80\x02}.")])
    refused(twice, "data.pkl|one name")
    with zipfile.ZipFile(tmp_path / "none.pt", "w") as archive:
        archive.writestr("x.npy", b"x")
    refused(tmp_path / "none.pt", "0 files data.pkl")
    refused(write_zip(tmp_path / "big.pt", {}, more=[("archive/byteorder", b"big")]), "big-endian")


def test_old_files_that_lie_about_their_storages(tmp_path):
    tree = {"a": Tensor(FLOATS, (4,), (1,))}
    refused(write_legacy(tmp_path / "short.pt", tree, {"0": FOUR[:-1]}), "ends within a tensor")
    refused(write_legacy(tmp_path / "none.pt", tree), "other storages than its tensors need")
    refused(write_legacy(tmp_path / "more.pt", tree, {"0": FOUR, "1": FOUR}), "other storages")
    two = {"a": Tensor(FLOATS, (4,), (1,)), "b": Tensor(Stored(torch.FloatStorage, "0", 9), (9,), (1,))}
    refused(write_legacy(tmp_path / "two.pt", two, {"0": FOUR}), "two lengths")


# Safetensors -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "content", "length"),
    [
        ({"a": entry([4], 0, 16)}, FOUR, 1 << 60),
        ({"a": entry([4], 0, 16)}, FOUR, 1 << 30),
        ({"a": entry([4], 0, 16)}, FOUR[:-1], None),
        ({"a": entry([4], 0, 16)}, FOUR * 2, None),
        ({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, FOUR + FOUR[:8], None),
        ({"a": entry([4], 16, 32)}, FOUR, None),
        ({"a": entry([4], HUGE, HUGE + 16)}, FOUR, None),
        ({"a": entry([HUGE, HUGE], 0, 16)}, FOUR, None),
        ({"a": entry([1 << 62, 4], 0, 16)}, FOUR, None),
        ({"a": entry([5], 0, 16)}, FOUR, None),
        ({"a": entry([-4], 0, 16)}, FOUR, None),
        ({"a": entry([4], 16, 0)}, FOUR, None),
        ({"a": entry([4], 0, 16, "F99")}, FOUR, None),
        ({"a": entry([4], 0, 16, "F6_E2M3")}, FOUR, None),
        ({"a": {"shape": [4]}}, FOUR, None),
        ({"a": entry([1] * 10_000, 0, 4)}, FOUR[:4], None),
        (b'{"a":' + b"[" * 100_000, FOUR, None),
        (b'{"\xff": 1}', FOUR, None),
        ({"__metadata__": {"scrutiny:tree": '{"x": {"scrutiny:tensor": "b"}}'}, "a": entry([4], 0, 16)}, FOUR, None),
        ({"__metadata__": {"scrutiny:tree": "[" * 100_000}, "a": entry([4], 0, 16)}, FOUR, None),
        ({"__metadata__": {"scrutiny:tree": '{"scrutiny:pairs": [[[], 1]]}'}, "a": entry([4], 0, 16)}, FOUR, None),
        ({"__metadata__": {"scrutiny:tree": "3"}, "a": entry([4], 0, 16)}, FOUR, None),
    ],
)
def test_safetensors_that_lie(tmp_path, header, content, length):
    refused(write_safetensors(tmp_path / "model.safetensors", header, content, length=length))


# Wrong files under right names -----------------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a2146" * 8 + b"\nsize 12345\n"
WRONG = {
    "web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "web page"),
    "web page in small letters": (b"\n  <html><body>Quota exceeded</body></html>", "web page"),
    "pointer": (POINTER, "git lfs pull"),
    "nothing": (b"", "is empty"),
    "one byte": (b"\x80", None),
    "compressed": (gzip.compress(b"x" * 100), None),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), None),
    "text": (b"hello", None),
    "zeros": (bytes(1000), None),
    "half a zip": (b"PK\x03\x04" + bytes(50), None),
    "tar": (b"storages".ljust(257, b"\0") + b"ustar\x0000", None),
}
NAMES = dict.fromkeys(["w.pt", "w.safetensors", "w.bin.index.json"], read_checkpoint) | dict.fromkeys(["d.pkl", "d.json"], read_dictionary)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_under_right_names(tmp_path, name, kind):
    content, match = WRONG[kind]
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, match, NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_no_file_a_folder_a_pipe_and_a_closed_file(tmp_path, name, monkeypatch):
    path = tmp_path / name
    refused(path, "there is no file", NAMES[name])
    path.mkdir()
    refused(path, "is a folder", NAMES[name])
    path.rmdir()
    os.mkfifo(path)
    refused(path, "there is no file", NAMES[name])
    path.unlink()
    path.write_bytes(b"x")

    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", closed)
    refused(path, "cannot be read: Permission denied; look at its permissions", NAMES[name])


def test_safetensors_and_torch_files_under_each_others_names(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", "named .safetensors but is none")
    save_file({"a": torch.ones(2)}, tmp_path / "model.bin")
    refused(tmp_path / "model.bin", "its kind is unknown")


CLIMBING = ["../secret.safetensors", "/etc/passwd", "sub/x.bin", "a\\b.bin", "C:x.bin", "..", ".", "", "x\0y"]


@pytest.mark.parametrize("part", [*CLIMBING, "model.safetensors.index.json"])
def test_an_index_that_climbs_out(tmp_path, part):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": part}}))
    refused(index, "expected the name of a file of weights beside it")


# Bytes changed at random -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """One small valid file of each kind: name to (content, function that reads it, what it gives)."""
    folder = tmp_path_factory.mktemp("valid")
    tree = {"state": {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.int64)}, "n": np.float64(0.5), "x": [1, "y", None]}
    torch.save(tree, folder / "new.pt")
    torch.save(tree, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(tree["state"], folder / "w.safetensors")
    names = {"GENE1": 0, "GENE2": 1.5, 3: "x", "nested": {"y": [np.float64(1), None, True]}}
    for protocol in (0, 2, 4):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(names, protocol))
    (folder / "d.json").write_text(json.dumps({"a": 1, "b": [2.5, {"c": None}]}))
    convert(folder, folder.parent / "converted")
    shutil.copy(folder.parent / "converted" / "new.safetensors", folder / "nested.safetensors")
    return {
        path.name: (path.read_bytes(), read_dictionary if path.suffix in (".pkl", ".json") else read_checkpoint)
        for path in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("name", ["new.pt", "old.pt", "w.safetensors", "nested.safetensors", "0.pkl", "2.pkl", "4.pkl", "d.json"])
@settings(max_examples=120, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_files_are_read_or_refused_and_cut_files_refused(valid, tmp_path, name, data):
    content, read = valid[name]
    path = tmp_path / name
    if data.draw(st.booleans(), "cut"):
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(InputError):
            read(path)
        return
    changed = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        assert isinstance(read(path), dict)
    except InputError as error:
        assert name in str(error)
