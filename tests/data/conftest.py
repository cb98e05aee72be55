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

    def serve(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
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
