"""Downloads against a real server on this machine: whole, cut, changed, forged, refused, and two at once."""

import hashlib
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from scrutiny.core.errors import InputError
from scrutiny.data import download as module
from scrutiny.data.download import Remote, Resuming, check, download, extract, write_whole

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def starts(server):
    """At which byte each answer was asked to start."""
    return [int(asked.removeprefix("bytes=").rstrip("-") or 0) for _, asked in server.asked]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)


def test_a_file_arrives_and_its_checksum_is_recorded_on_first_use(server, tmp_path):
    remote = Remote("cells.h5ad", server.serve("cells", CONTENT))
    path = download(remote, tmp_path / "cache", progress=True)
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "cache" / "cells.h5ad.sha256").read_text() == f"{SHA256}  cells.h5ad\n"
    assert download(remote, tmp_path / "cache") == path
    assert len(server.asked) == 1


def test_the_record_can_be_checked_with_sha256sum(server, tmp_path):
    download(Remote("cells.h5ad", server.serve("cells", CONTENT)), tmp_path)
    told = subprocess.run(["sha256sum", "-c", "cells.h5ad.sha256"], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout == "cells.h5ad: OK\n"


def test_a_cut_transfer_goes_on_where_it_was_cut(server, tmp_path):
    server.cuts = [1_000_000, 500_000]
    path = download(Remote("cells", server.serve("cells", CONTENT)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert starts(server)[0] == 0
    assert 1_000_000 - module.BLOCK <= starts(server)[1] <= 1_000_000 < 1_500_000 - 2 * module.BLOCK <= starts(server)[2] <= 1_500_000
    assert sorted(p.name for p in tmp_path.iterdir()) == [".cells.lock", "cells", "cells.sha256"]


def test_a_download_that_gave_up_is_continued_by_the_next_call(server, tmp_path):
    remote = Remote("cells", server.serve("cells", CONTENT))
    server.cuts = [1_000_000, 0]
    with pytest.raises(InputError, match="run again to go on"):
        download(remote, tmp_path)
    assert not (tmp_path / "cells").exists()
    have = (tmp_path / "cells.part").stat().st_size
    assert have > 900_000
    assert download(remote, tmp_path).read_bytes() == CONTENT
    assert starts(server)[-1] == have


def test_a_process_that_is_killed_leaves_a_part_and_no_file(server, tmp_path):
    server.cuts = [1_000_000]
    script = f"""
import os
from pathlib import Path
from scrutiny.data import download as module
module.time.sleep = lambda _: os.kill(os.getpid(), 9)
module.download(module.Remote("cells", "{server.serve("cells", CONTENT)}"), Path("{tmp_path}"))
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert not (tmp_path / "cells").exists()
    assert download(Remote("cells", f"{server.url}/cells"), tmp_path).read_bytes() == CONTENT
    assert starts(server)[-1] > 900_000


def test_a_file_that_changed_meanwhile_is_fetched_anew_and_not_glued_together(server, tmp_path):
    remote = Remote("cells", server.serve("cells", CONTENT))
    server.cuts = [1_000_000, 0]
    with pytest.raises(InputError):
        download(remote, tmp_path)
    server.serve("cells", CONTENT[::-1])
    assert download(remote, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("tagged", "ranged"), [(False, True), (True, False)])
def test_without_versions_or_ranges_a_cut_transfer_starts_anew(server, tmp_path, tagged, ranged):
    server.tagged, server.ranged, server.cuts = tagged, ranged, [1_000_000]
    assert download(Remote("cells", server.serve("cells", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_part_as_long_as_the_file_is_fetched_anew(server, tmp_path):
    remote = Remote("cells", server.serve("cells", CONTENT))
    (tmp_path / "cells.part").write_bytes(CONTENT)
    (tmp_path / "cells.part.version").write_text(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    assert download(remote, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=3000000-", ""]


@pytest.mark.parametrize("published", [f"sha256:{SHA256}", f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_published_checksum_binds(server, tmp_path, published):
    remote = Remote("cells", server.serve("cells", CONTENT), published)
    assert download(remote, tmp_path / "right").read_bytes() == CONTENT
    server.serve("cells", CONTENT + b"!")
    with pytest.raises(InputError, match="does not have the checksum that was published; nothing of it was kept"):
        download(remote, tmp_path / "forged")
    assert sorted(p.name for p in (tmp_path / "forged").iterdir()) == [".cells.lock"]


def test_a_recorded_checksum_binds_when_the_file_is_fetched_again(server, tmp_path):
    remote = Remote("cells", server.serve("cells", CONTENT))
    download(remote, tmp_path).unlink()
    server.serve("cells", CONTENT[::-1])
    with pytest.raises(InputError, match=r"recorded on first use in .*cells\.sha256"):
        download(remote, tmp_path)
    assert not (tmp_path / "cells").exists()


def test_a_damaged_file_of_the_cache_is_fetched_again(server, tmp_path):
    remote = Remote("cells", server.serve("cells", CONTENT))
    download(remote, tmp_path).write_bytes(CONTENT[:1000])
    assert download(remote, tmp_path).read_bytes() == CONTENT


def test_without_a_server_the_message_says_what_to_do_by_hand(tmp_path):
    remote = Remote("cells.h5ad", "http://127.0.0.1:9/cells.h5ad")
    with pytest.raises(InputError) as caught:
        download(remote, tmp_path)
    for part in (remote.url, "there is no connection", f"put it there as {tmp_path / 'cells.h5ad'}", "--data-folder"):
        assert part in str(caught.value)


def test_a_refusal_names_the_answer(server, tmp_path):
    with pytest.raises(InputError, match="the server answered 404"):
        download(Remote("cells", f"{server.url}/nothing"), tmp_path)


def test_a_file_put_into_the_cache_by_hand_is_taken_and_recorded(tmp_path):
    (tmp_path / "cells").write_bytes(CONTENT)
    download(Remote("cells", "http://127.0.0.1:9/cells"), tmp_path)
    assert (tmp_path / "cells.sha256").read_text().startswith(SHA256)


def test_a_path_that_is_a_file_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match="cannot store cells .* name another folder"):
        download(Remote("cells", server.serve("cells", CONTENT)), tmp_path / "cache")


def test_a_full_disk_keeps_what_has_arrived(server, tmp_path, monkeypatch):
    def full(self, url):
        self.partial.write_bytes(CONTENT[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Resuming, "_fetch_rest", full)
    with pytest.raises(InputError, match="No space left on device; free space or name another folder"):
        download(Remote("cells", server.serve("cells", CONTENT)), tmp_path)
    assert (tmp_path / "cells.part").exists()


def test_two_at_once_fetch_once(server, tmp_path):
    server.seconds_per_answer = 0.3
    remote = Remote("cells", server.serve("cells", CONTENT))
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: download(remote, tmp_path), range(4)))
    assert {p.read_bytes() for p in paths} == {CONTENT}
    assert len(server.asked) == 1


def test_two_processes_at_once_fetch_once(server, tmp_path):
    server.seconds_per_answer = 0.5
    url = server.serve("cells", CONTENT)
    script = f"""
from pathlib import Path
from scrutiny.data.download import Remote, download
print(len(download(Remote("cells", "{url}"), Path("{tmp_path}")).read_bytes()))
"""
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in running] == [f"{len(CONTENT)}\n"] * 2
    assert len(server.asked) == 1


def test_nothing_is_printed_without_progress(server, tmp_path, capfd):
    download(Remote("cells", server.serve("cells", CONTENT)), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_file_downloaded_by_hand_is_checked_where_a_checksum_is_published(tmp_path):
    (tmp_path / "cells").write_bytes(CONTENT)
    assert check(Remote("cells", "http://x", f"sha256:{SHA256}"), tmp_path / "cells") == tmp_path / "cells"
    assert check(Remote("cells", "http://x"), tmp_path / "cells") == tmp_path / "cells"
    with pytest.raises(InputError, match="it is damaged or another version: http://x"):
        check(Remote("cells", "http://x", "md5:" + "0" * 32), tmp_path / "cells")


def test_a_member_leaves_its_archive_whole_or_not_at_all(tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("deep/cells.h5ad", CONTENT)
    assert extract(tmp_path / "cells.zip", "deep/cells.h5ad", tmp_path / "cells.h5ad").read_bytes() == CONTENT
    with pytest.raises(InputError, match="holds no 'other.h5ad'"):
        extract(tmp_path / "cells.zip", "other.h5ad", tmp_path / "other.h5ad")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cells.zip").read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole zip archive"):
        extract(tmp_path / "cut.zip", "deep/cells.h5ad", tmp_path / "other.h5ad")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad", "cells.zip", "cut.zip"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "cells").write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_whole(tmp_path / "cells", fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("cells", "old")]
