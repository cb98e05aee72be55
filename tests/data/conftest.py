"""A real web server on this machine, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Server:
    """Files by path, the ranges that were asked for, and how to misbehave."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header or '')."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next answers break off."""
    tagged: bool = True
    """Whether answers carry a strong ETag."""
    ranged: bool = True
    """Whether ranges are honoured."""
    seconds_per_answer: float = 0.0
    elsewhere: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Path -> (where it is redirected to, headers of the redirection)."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path -> further headers."""

    def serve(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_HEAD(self) -> None:
        if self.path in self.state.elsewhere:
            return self.redirect()
        content = self.state.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        for header in self.state.headers.get(self.path, {}).items():
            self.send_header(*header)
        return self.end_headers()

    def redirect(self) -> None:
        place, headers = self.state.elsewhere[self.path]
        self.send_response(302)
        for header in {"Location": place, "Content-Length": "0", **headers}.items():
            self.send_header(*header)
        self.end_headers()

    def do_GET(self) -> None:
        if self.path in self.state.elsewhere:
            return self.redirect()
        content = self.state.files.get(self.path)
        asked = self.headers.get("Range", "")
        self.state.asked.append((self.path, asked))
        if content is None:
            return self.send_error(404)
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        same = self.headers.get("If-Range", tag) == tag
        if asked and start >= len(content) and same:
            return self.send_error(416)
        partial = bool(asked) and same and self.state.ranged
        threading.Event().wait(self.state.seconds_per_answer)
        body = content[start:] if partial else content
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.state.tagged:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body[: self.state.cuts.pop(0)] if self.state.cuts else body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


class Hub:
    """As much of the Hugging Face hub as a download needs: small files in the repository, large ones elsewhere by their SHA-256."""

    COMMIT = "0" * 40

    def __init__(self, server: Server) -> None:
        self.server = server

    def hold(self, repo: str, path: str, content: bytes, *, revision: str = "main", large: bool = False) -> None:
        resolved = f"/{repo}/resolve/{revision}/{path}"
        about = {"X-Repo-Commit": self.COMMIT}
        if not large:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.server.files[resolved] = content
            self.server.headers[resolved] = about | {"ETag": f'"{git}"'}
            return
        sha256 = hashlib.sha256(content).hexdigest()
        self.server.serve(f"blobs/{sha256}", content)
        far = self.server.url.replace("127.0.0.1", "localhost")
        linked = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        self.server.elsewhere[resolved] = (f"{far}/blobs/{sha256}", about | linked)


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that huggingface_hub turns to in this process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}")
    return Hub(server)
