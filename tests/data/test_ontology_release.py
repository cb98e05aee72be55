"""Fetching the official file, against a real server on this machine."""

from pathlib import Path

import pytest

from scrutiny.core.errors import InputError
from scrutiny.data import download as transfer
from scrutiny.data import ontology_release as module
from scrutiny.data.ontology_release import NAME, fetch_ontology, fetched_ontology

SMALL = Path(__file__).with_name("small.obo").read_bytes()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda _: None)


def test_it_is_fetched_once(server, tmp_path):
    url = server.serve("cl-basic.obo", SMALL)
    path = fetch_ontology(tmp_path, url=url)
    assert path == tmp_path / NAME and path.read_bytes() == SMALL
    assert fetch_ontology(tmp_path, url=url) == path and len(server.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_a_redirection_is_followed(server, tmp_path):
    """As the official address does."""
    server.serve("releases/cl-basic.obo", SMALL)
    server.elsewhere["/obo/cl.obo"] = (f"{server.url}/releases/cl-basic.obo", {})
    assert fetch_ontology(tmp_path, url=f"{server.url}/obo/cl.obo").read_bytes() == SMALL


def test_a_cut_transfer_goes_on(server, tmp_path):
    long = SMALL + b"! a remark\n" * 50_000
    server.cuts = [300_000]
    assert fetch_ontology(tmp_path, url=server.serve("cl.obo", long)).read_bytes() == long
    assert [asked for _, asked in server.asked][1].startswith("bytes=")


def test_a_new_release_takes_the_place_of_the_old_one(server, tmp_path):
    newer = SMALL.replace(b"2026-03-26", b"2026-08-19")
    fetch_ontology(tmp_path, url=server.serve("cl.obo", SMALL))
    assert fetched_ontology(tmp_path).version == "2026-03-26"
    fetch_ontology(tmp_path, url=server.serve("cl.obo", newer), anew=True)
    assert fetched_ontology(tmp_path).version == "2026-08-19"


@pytest.mark.parametrize("content", [b"<html>busy</html>", SMALL[:200], b""])
def test_what_is_no_ontology_does_not_take_its_place(server, tmp_path, content):
    fetch_ontology(tmp_path, url=server.serve("cl.obo", SMALL))
    with pytest.raises(InputError):
        fetch_ontology(tmp_path, url=server.serve("cl.obo", content), anew=True)
    assert (tmp_path / NAME).read_bytes() == SMALL and [p.name for p in tmp_path.iterdir()] == [NAME]


def test_without_a_server_the_message_helps(tmp_path):
    with pytest.raises(InputError, match="name a file with --ontology FILE"):
        fetch_ontology(tmp_path, url="http://127.0.0.1:9/cl.obo")
    assert fetched_ontology(tmp_path) is None


def test_by_default_it_lies_in_the_cache_of_the_user(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "URL", server.serve("cl.obo", SMALL))
    assert fetch_ontology(url=module.URL) == tmp_path / "scrutiny" / "ontology" / NAME
    assert fetched_ontology().version == "2026-03-26"
