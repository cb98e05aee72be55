"""Fetching checkpoints from real servers on this machine, and finding them again; the table of published ones."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.builtins import METHODS
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.data import checkpoints as module
from scrutiny.data import download as transfer
from scrutiny.data.checkpoints import MANIFEST, Checkpoint, File, Origin, default_folder, is_whole, located, manifest, origin, parse
from scrutiny.data.fetching import fetch

WEIGHTS = np.random.default_rng(0).bytes(1_500_000)
CONFIG, TOKENS = b'{"layers": 2}', b"tokens"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def tar(**members):
    """A tar.gz archive; in names a double underscore is a slash."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name.replace("__", "/"))
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return held.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda _: None)
    monkeypatch.setattr(module, "models_folder", lambda: tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def known(monkeypatch):
    """Declare checkpoints in place of the published ones."""

    def declare(*files, name="toy-base", family="toy", **others):
        entries = {name: Checkpoint(name, family, "a toy", "1 M", files, "made up")}
        entries |= {other: Checkpoint(other, family, "a toy", "1 M", listed, "made up") for other, listed in others.items()}
        monkeypatch.setattr(module, "checkpoints", lambda: entries)
        monkeypatch.setattr(module, "default_checkpoints", lambda: {family: name})

    return declare


@pytest.fixture
def on_hub(hub, known):
    """A checkpoint of the hub whose dictionary lies elsewhere in its repository."""
    hub.hold("lab/toy", "Toy-V2/model.safetensors", WEIGHTS, large=True, revision="abc")
    hub.hold("lab/toy", "Toy-V2/config.json", CONFIG, revision="abc")
    hub.hold("lab/toy", "toy/tokens.pkl", TOKENS)
    known(
        File("model.safetensors", repo="lab/toy", path="Toy-V2/model.safetensors", revision="abc"),
        File("config.json", repo="lab/toy", path="Toy-V2/config.json", revision="abc", sha256=sha256(CONFIG)),
        File("tokens.pkl", repo="lab/toy", path="toy/tokens.pkl"),
    )
    return hub


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".fetch.lock")


# Hugging Face ------------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_the_hub_becomes_one_folder_with_a_manifest(on_hub, cache):
    folder = fetch("toy-base")
    assert folder == cache / "toy-base"
    assert names(folder) == ["config.json", "model.safetensors", MANIFEST, "tokens.pkl"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert manifest(folder)["model.safetensors"] == {"size": len(WEIGHTS), "sha256": sha256(WEIGHTS)}
    assert is_whole(folder)
    before = len(on_hub.server.asked)
    assert fetch("toy-base") == folder and len(on_hub.server.asked) == before, "what is sound is not fetched again"


def test_a_cut_transfer_from_the_hub_goes_on_in_the_next_call(on_hub, cache):
    on_hub.server.cuts = [700_000, 0]
    with pytest.raises(InputError, match="run again to go on"):
        fetch("toy-base")
    assert not (cache / "toy-base" / MANIFEST).exists() and default_folder("toy") is None
    fetch("toy-base")
    assert any(asked.startswith("bytes=6") for _, asked in on_hub.server.asked), "it went on in the middle"
    assert is_whole(cache / "toy-base")


def test_large_files_are_checked_against_the_hash_that_the_hub_names(on_hub, cache):
    blob = f"blobs/{sha256(WEIGHTS)}"
    on_hub.server.serve(blob, WEIGHTS[::-1])
    with pytest.raises(InputError, match="does not have the checksum that was published; nothing of it was kept"):
        fetch("toy-base")
    assert not (cache / "toy-base" / "model.safetensors").exists() and default_folder("toy") is None


def test_a_file_that_was_replaced_on_the_hub_is_refused_before_it_is_fetched(hub, known, cache):
    hub.hold("lab/toy", "model.safetensors", WEIGHTS, large=True)
    known(File("model.safetensors", repo="lab/toy", sha256="0" * 64))
    with pytest.raises(InputError, match="expected 000"):
        fetch("toy-base")
    assert not any(path.startswith("/blobs") for path, _ in hub.server.asked)


@pytest.mark.parametrize("repo", ["lab/toy", "lab/none"])
def test_what_the_hub_has_not_is_named(hub, known, repo):
    hub.hold("lab/toy", "there.json", b"")
    known(File("model.safetensors", repo=repo))
    with pytest.raises(InputError, match=re.escape(f"{repo}/resolve/main/model.safetensors")):
        fetch("toy-base")


def test_without_a_hub_the_message_names_url_and_mirror(known, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}")
    known(File("config.json", repo="lab/toy"))
    with pytest.raises(InputError, match="cannot fetch http://127.0.0.1:9/lab/toy/resolve/main/config.json: .*HF_ENDPOINT"):
        fetch("toy-base")


def test_the_command_fetches_from_the_endpoint_of_the_environment(hub, server, tmp_path):
    """Through a real process and the real table: the dictionaries are not what was published, so the fetch is refused."""
    hub.hold("ctheodoris/Geneformer", "Geneformer-V1-10M/config.json", CONFIG, revision="04c2b2e84da7c0f385c3f9ad8f3ec24bab6650e5")
    environment = {**os.environ, "HF_ENDPOINT": server.url}
    command = [sys.executable, "-m", "scrutiny", "models", "fetch", "geneformer-v1-10m", "--folder", str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "config.json does not have the checksum that was published" in done.stderr


def test_two_at_once_fetch_once(on_hub, cache):
    on_hub.server.seconds_per_answer = 0.1
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: fetch("toy-base"), range(3))) == {cache / "toy-base"}
    assert len([path for path, _ in on_hub.server.asked if path.startswith("/blobs")]) == 1


# URLs, archives, by hand -------------------------------------------------------------------------------------------------------


def test_members_of_an_archive_come_from_one_download_and_only_under_their_declared_names(server, known, cache):
    url = server.serve("model.tar.gz", tar(model_v1__encoder=WEIGHTS, model_v1__index=b"large", **{"..__..__evil": b"!"}))
    known(File("encoder.ckpt", url=url, member="encoder"), File("deep/genes.tsv", url=url, member="evil"))
    folder = fetch("toy-base")
    assert names(folder) == ["deep/genes.tsv", "encoder.ckpt", MANIFEST]
    assert (folder / "deep/genes.tsv").read_bytes() == b"!"
    assert [path for path, _ in server.asked] == ["/model.tar.gz"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(tar(other=b""), "holds no encoder"), (tar(encoder=WEIGHTS)[:9999], "not a whole tar")],
    ids=["without the file", "cut"],  # an archive has the time in it, and with that as its name a test would be another one each second
)
def test_an_archive_that_is_not_what_it_should_be_is_named(server, known, content, said):
    known(File("encoder.ckpt", url=server.serve("model.tar.gz", content), member="encoder"))
    with pytest.raises(InputError, match=said):
        fetch("toy-base")


def test_what_only_a_person_can_get_is_listed_after_the_rest_was_fetched(server, known, cache):
    page = "https://example.org/drive/folder"
    known(File("genes.tsv", url=server.serve("genes.tsv", TOKENS)), File("part/model.pt", by_hand=page, sha256=sha256(WEIGHTS)))
    with pytest.raises(InputError, match="a person has to download") as caught:
        fetch("toy-base")
    for part in ("part/model.pt", page, str(cache / "toy-base"), "scrutiny models fetch toy-base"):
        assert part in str(caught.value)
    assert (cache / "toy-base/genes.tsv").read_bytes() == TOKENS and default_folder("toy") is None
    assert "--checkpoint" not in str(caught.value)
    (cache / "toy-base/part").mkdir()
    (cache / "toy-base/part/model.pt").write_bytes(WEIGHTS[:10])
    with pytest.raises(InputError, match="damaged or another version"):
        fetch("toy-base")
    (cache / "toy-base/part/model.pt").write_bytes(WEIGHTS)
    assert is_whole(fetch("toy-base")) and default_folder("toy") == cache / "toy-base"


def test_files_to_get_by_hand_are_named_although_another_cannot_be_fetched(known, cache):
    page = "https://example.org/drive/folder"
    known(File("genes.tsv", url="http://127.0.0.1:9/genes.tsv"), File("model.pt", by_hand=page))
    with pytest.raises(InputError, match=rf"(?s)there is no connection.*from {page}:\n +model.pt\n"):
        fetch("toy-base")
    assert not (cache / "toy-base").exists()
    (cache / "toy-base").mkdir()
    (cache / "toy-base/model.pt").write_bytes(WEIGHTS)
    with pytest.raises(InputError, match="there is no connection") as caught:
        fetch("toy-base")
    assert page not in str(caught.value) and (cache / "toy-base/model.pt").read_bytes() == WEIGHTS


def test_a_damaged_file_is_fetched_again_and_must_be_the_recorded_one(server, known):
    known(File("model.pt", url=server.serve("model.pt", WEIGHTS)), File("genes.tsv", url=server.serve("genes.tsv", TOKENS)))
    folder = fetch("toy-base")
    (folder / "model.pt").write_bytes(WEIGHTS[:-1])
    assert not is_whole(folder)
    assert (fetch("toy-base") / "model.pt").read_bytes() == WEIGHTS
    assert [path for path, _ in server.asked].count("/genes.tsv") == 1
    (folder / "model.pt").unlink()
    server.serve("model.pt", WEIGHTS[::-1])
    with pytest.raises(InputError, match="checksum"):
        fetch("toy-base")
    assert not (folder / "model.pt").exists() and not is_whole(folder)


def test_a_server_that_is_absent_and_a_folder_that_cannot_be_written(known, tmp_path):
    known(File("model.pt", url="http://127.0.0.1:9/model.pt"))
    with pytest.raises(InputError, match=r"there is no connection.*put it there as .*model\.pt, or name another.*--folder") as caught:
        fetch("toy-base")
    assert not re.search("--checkpoint|--data-folder", str(caught.value)), "the command has no such options"
    assert not (module.models_folder() / "toy-base").exists(), "no empty folder is left behind"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        fetch("toy-base", tmp_path / "file" / "inside")


# Finding them again ------------------------------------------------------------------------------------------------------------


def test_the_default_or_the_only_fetched_checkpoint_is_loaded_where_none_is_named(server, known, cache, tmp_path):
    one = File("model.pt", url=server.serve("model.pt", WEIGHTS))
    known(one, **{"toy-large": (one,), "toy-old": (one,)})
    with pytest.raises(NotApplicable, match=r"`scrutiny models fetch toy`, or .*--checkpoint FOLDER"):
        located("toy")
    fetch("toy-large")
    assert located("toy") == cache / "toy-large"
    fetch("toy-old")
    with pytest.raises(NotApplicable, match="several are fetched; name one of toy-large, toy-old"):
        located("toy")
    assert located("toy", "toy-old") == cache / "toy-old"
    fetch("toy")
    assert located("toy") == cache / "toy-base"
    assert located("toy", str(tmp_path)) == tmp_path
    assert located("toy", "Toy-Old") == cache / "toy-old" and module.checkpoint("TOY").name == "toy-base"
    (cache / "toy-old" / MANIFEST).unlink()
    with pytest.raises(NotApplicable, match="toy-old is known but not fetched: scrutiny models fetch toy-old; or"):
        located("toy", "toy-old")
    with pytest.raises(InputError, match=r"model\.pt is a file; name the folder it lies in"):
        located("toy", str(cache / "toy-old" / "model.pt"))
    with pytest.raises(InputError, match="toy-old is a checkpoint of toy, not of other"):
        located("other", "toy-old")
    with pytest.raises(InputError, match="no folder 'toy-lrge'.*did you mean"):
        located("toy", "toy-lrge")


def test_a_manifest_that_is_nonsense_counts_as_none(tmp_path):
    for text in ("", "[]", "{}", '{"files": {}}', '{"checkpoint": []}'):
        (tmp_path / MANIFEST).write_text(text)
        assert not is_whole(tmp_path)
        assert origin(tmp_path, {}) == Origin("a local folder", False, "")


def test_only_files_that_are_still_as_they_were_fetched_are_the_published_ones(server, known):
    known(File("model.pt", url=server.serve("model.pt", WEIGHTS)))
    folder = fetch("toy-base")
    as_fetched = {"model.pt": sha256(WEIGHTS)}
    assert origin(folder, as_fetched) == Origin("the published files of toy-base", True, "toy-base")
    changed = Origin("a folder of toy-base in which model.pt is not as it was fetched", False, "")
    assert origin(folder, {"model.pt": sha256(WEIGHTS[::-1])}) == changed, "of the same size"
    assert not origin(folder, as_fetched | {"model.safetensors": "0"}).published


# The published ones ------------------------------------------------------------------------------------------------------------


def test_every_published_checkpoint_is_of_a_known_family_and_says_where_its_facts_were_read():
    for name, entry in module.checkpoints().items():
        assert entry.family in METHODS and name.startswith(f"{entry.family}-"), name
        assert entry.source.endswith(".") and (not entry.unverified or entry.unverified.endswith((".", "browser."))), name
        assert len({file.name for file in entry.files}) == len(entry.files), name
        for file in entry.files:
            ways = [bool(file.repo), bool(file.url), bool(file.by_hand)]
            assert sum(ways) == 1 and (not file.member or file.url), f"{name}: {file.name}"
            assert re.fullmatch(r"[0-9a-f]{64}|", file.sha256) and not os.path.isabs(file.name) and ".." not in file.name
            assert file.revision == "main" or len(file.revision) == 40
    for family, default in module.default_checkpoints().items():
        assert module.checkpoints()[default].family == family


def test_checksums_are_those_of_the_files_at_hand(shared):
    """The dictionaries of Geneformer and the lists of others are in the reference material, with their official bytes."""
    checked = 0
    for entry in module.checkpoints().values():
        for file in entry.files:
            here = shared / "reference-data" / entry.family / file.name
            if here.is_file() and file.sha256:
                assert sha256(here.read_bytes()) == file.sha256 and here.stat().st_size == file.size, f"{entry.name}: {file.name}"
                checked += 1
    assert checked > 20


def test_shared_files_join_those_of_their_own():
    table = {"shared": {"d": [{"name": "dict"}]}, "checkpoints": {"a": {"family": "f", "about": "", "parameters": "", "source": ""}}}
    table["checkpoints"]["a"] |= {"shared": ["d"], "files": [{"name": "model"}]}
    assert [file.name for file in parse(table)["a"].files] == ["model", "dict"]
    assert replace(parse(table)["a"], files=(File("m", size=2), File("n", size=3))).size == 5
    assert json.dumps(parse(table)["a"].size) == "null"
